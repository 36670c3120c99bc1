"""Keeps the noise of TensorFlow, absl and the TFLite runtime off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

# File descriptor 2 belongs to the whole process: one holder at a time.
_LOCK = threading.RLock()
# How much of the captured text is kept, from its end.
_KEEP = 20_000


class Captured:
    """What was written to stderr inside `captured_stderr`; `text` is complete after the block."""

    text: str = ""


@contextlib.contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Redirects stderr of the whole process (C++ code included) and Python warnings while the block runs.

    The text is thrown away unless the caller passes it on, as it does on failure. Where stderr is no real file (closed, or
    replaced by an embedding program), only Python's side is redirected.
    """
    captured = Captured()
    with _LOCK, contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stderr.flush()
        saved = None
        try:
            saved = os.dup(2)
            os.dup2(log.fileno(), 2)
        except OSError:
            saved = None
        try:
            python_side = stack.enter_context(open(os.dup(log.fileno()), "w", errors="replace"))
            with contextlib.redirect_stderr(python_side), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    yield captured
                finally:
                    python_side.flush()
        finally:
            if saved is not None:
                os.dup2(saved, 2)
                os.close(saved)
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _KEEP))
            captured.text = log.read().decode("utf-8", "replace")
