"""The child process of `convert`: loads a `.keras` file with the TensorFlow backend and writes the converter's `.tflite`.

Run as `python -m dgms_keras.export.convert_child JOB.json`; the job is written by `convert._convert_in_child`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
import types
from typing import Any


def _from_json(part: Any) -> Any:
    if part is None:
        return None
    if "dict" in part:
        return {k: _from_json(v) for k, v in part["dict"].items()}
    if "list" in part:
        return [_from_json(v) for v in part["list"]]
    return types.SimpleNamespace(shape=tuple(part["shape"]), dtype=part["dtype"], name=None)


def _cause(error: Exception) -> str:
    """The reason in one line; Keras hides a class that it does not find behind pages of its own."""
    text = str(error).strip()
    missing = re.search(r"Could not locate [^.\n]*", text)
    line = missing.group() if missing else (text.splitlines() or [""])[0]
    return f"{type(error).__name__}: {line}"


def main(job_file: str) -> int:
    """Does one job; on failure writes the reason to the job's error file and returns 1."""
    with open(job_file) as file:
        job = json.load(file)
    try:
        import keras

        for module in job["modules"]:  # they may register custom layers
            if module != "__main__":
                with contextlib.suppress(Exception):
                    importlib.import_module(module)
        from dgms_keras.export.convert import convert

        # The parent just wrote this file from its own model, so its lambdas are as trusted as the parent itself.
        model = keras.saving.load_model(job["model"], compile=False, safe_mode=False)
        data = convert(model, _from_json(job["input_signature"]))
    except Exception as error:
        with open(job["error"], "w") as file:
            file.write(_cause(error))
        return 1
    with open(job["output"], "wb") as file:
        file.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
