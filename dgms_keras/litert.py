"""The TFLite runtime in use: ai-edge-litert, or TensorFlow's own (deprecated there) where only that is installed."""

from __future__ import annotations

try:
    from ai_edge_litert.interpreter import Interpreter as RuntimeInterpreter
    from ai_edge_litert.interpreter import OpResolverType
    from ai_edge_litert.interpreter import load_delegate as load_external_delegate

    RUNTIME = "ai-edge-litert"
except ImportError:  # pragma: no cover - covered by the test that hides ai_edge_litert in a child process
    from tensorflow.lite.python.interpreter import Interpreter as RuntimeInterpreter
    from tensorflow.lite.python.interpreter import OpResolverType
    from tensorflow.lite.python.interpreter import load_delegate as load_external_delegate

    RUNTIME = "tensorflow.lite"

__all__ = ["RUNTIME", "OpResolverType", "RuntimeInterpreter", "load_external_delegate", "runtime_version"]


def runtime_version() -> str:
    """Name and version of the runtime, e.g. `"ai-edge-litert 2.3.0"`."""
    from importlib import metadata

    package = "ai-edge-litert" if RUNTIME == "ai-edge-litert" else "tensorflow"
    try:
        return f"{RUNTIME} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return RUNTIME
