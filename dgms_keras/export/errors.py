"""The exceptions of export, inspection and verification. All are `ExportError`s, so one `except` is enough."""

from __future__ import annotations


class ExportError(RuntimeError):
    """A model could not be exported. No file was written, and an old file at the path is as it was."""


class ConversionError(ExportError):
    """TensorFlow's converter refused the model, or a child process could not load it."""


class CompressionError(ExportError):
    """With `strict=True`: a quantised weight could not be compressed. The message lists each with its reason."""


class VerificationError(ExportError):
    """The file that was about to be offered does not compute what the Keras model computes."""


class InvalidFileError(ExportError, ValueError):
    """The bytes are not a TensorFlow Lite model, or a damaged one."""


class FormatVersionError(InvalidFileError):
    """The file's DGMS format has a newer major version than this package reads."""


class FileWriteError(OSError, ExportError):
    """The file could not be written (disk full, read-only, the path is a folder); `errno` and `filename` are set."""
