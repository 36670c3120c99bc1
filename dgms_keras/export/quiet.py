"""Keeps the noise of TensorFlow, absl and the TFLite runtime off the terminal."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import IO

# File descriptor 2 belongs to the whole process: one holder at a time.
_LOCK = threading.RLock()
# How much of the captured text is kept, from its end.
_KEEP = 20_000


class _Switch(io.TextIOBase):
    """A stream that writes into the capture while it lasts and to the real stderr ever after.

    A logging handler made inside the block (TensorFlow makes its own on first use) keeps whatever `sys.stderr` is then: a
    plain file would be closed when the handler writes next.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.capture: IO[str] | None = stream

    def _target(self) -> IO[str] | None:
        if self.capture is not None:
            return self.capture
        return sys.stderr if sys.stderr is not self else sys.__stderr__

    def write(self, text: str) -> int:
        target = self._target()
        return target.write(text) if target is not None else len(text)

    def flush(self) -> None:
        target = self._target()
        if target is not None:
            target.flush()


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
            switch = _Switch(python_side)
            with contextlib.redirect_stderr(switch), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    yield captured
                finally:
                    python_side.flush()
                    switch.capture = None
        finally:
            if saved is not None:
                os.dup2(saved, 2)
                os.close(saved)
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _KEEP))
            captured.text = log.read().decode("utf-8", "replace")
