"""The delegate's shared library: where it is, and how a TFLite runtime loads it.

Options are text for the library (its own list and rules: delegate/include/dgms/); what it refuses becomes a ValueError with
the library's own message.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).resolve().parent.parent / "libdgms_delegate.so"


def delegate_path() -> str:
    """Path of `libdgms_delegate.so`, for a runtime's own `load_delegate(path, options)`.

    Raises:
        FileNotFoundError: the library was not built (a source tree in which nothing was installed).
    """
    if not _LIBRARY.exists():
        raise FileNotFoundError(
            f"the delegate's library must be built first: `pip install .` (or `pip install -e .`) in the source tree. "
            f"Not found: {_LIBRARY}"
        )
    return str(_LIBRARY)


def load_delegate(**options: Any) -> Any:
    """Loads the delegate into this process's TFLite runtime.

    Args:
        **options: `num_threads` (an integer >= 1), `activations` ("float32", or "dynamic_int8": float layers quantise
            their inputs to int8 as they run; depthwise ones stay float but between maps that RELU6 bounds),
            `cache_filters` (True: float 3x3 convolutions over large maps keep transformed filters in memory, 16 bytes
            for each weight), `claim` ("graph", or "codebook": nothing but the layers with shared weights), `profile`
            and `log` (True or False), `isa` (a name as in `portable`, `avx2`, `avx512_vnni`, `neon_dotprod`; for
            tests). Values are passed on as text.

    Returns:
        A delegate for `experimental_delegates=[...]` of `ai_edge_litert.interpreter.Interpreter` or `tf.lite.Interpreter`.

    Raises:
        ValueError: the library refuses an option; the message is the library's.
        FileNotFoundError: the library was not built.
    """
    from dgms_keras.litert import load_external_delegate

    texts = {name: _text(value) for name, value in options.items() if value is not None}
    path = delegate_path()
    try:
        return load_external_delegate(path, texts)
    except ValueError as error:
        raise ValueError(f"the delegate refused its options. Received: {texts} ({error})") from None


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
