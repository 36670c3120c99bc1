"""Writing a file so that at every moment the path holds either the old file or the complete new one."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile

from dgms_keras.export.errors import FileWriteError


def check_target(path: str | os.PathLike[str]) -> str:
    """The path as a string, checked before any long work begins.

    Raises:
        FileWriteError: the path is a folder, or its folder does not exist or cannot be written to.
    """
    target = os.fspath(path)
    if isinstance(target, bytes):
        target = os.fsdecode(target)
    folder = os.path.dirname(target) or "."
    if not os.path.basename(target) or os.path.isdir(target):
        raise _error(errno.EISDIR, "`path` must be a file, not a folder", target)
    if not os.path.isdir(folder):
        raise _error(errno.ENOENT, f"the folder of `path` must exist: {folder!r} does not", target)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _error(errno.EACCES, f"the folder of `path` must be writable: {folder!r} is not", target)
    return target


def write_atomically(path: str, data: bytes) -> None:
    """Writes `data` to a temporary file in the same folder, syncs it to the disk, and renames it over `path`.

    A link is followed, so that it stays a link. The permissions of an old file are kept.

    Raises:
        FileWriteError: the disk is full, the folder is read-only, and so on; the old file is as it was and the temporary file
            is gone.
    """
    target = os.path.realpath(check_target(path))
    folder = os.path.dirname(target)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", suffix=".tmp", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _mode(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_folder(folder)
    except OSError as error:
        raise _error(
            error.errno or errno.EIO, f"the file could not be written: {error.strerror or error}", path
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _mode(target: str) -> int:
    """Permission bits of the old file, or what a new file gets under the process's umask."""
    try:
        return os.stat(target).st_mode & 0o777
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _sync_folder(folder: str) -> None:
    """Makes the rename itself durable, on systems and file systems that can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _error(number: int, message: str, path: str) -> FileWriteError:
    return FileWriteError(number, message, os.fspath(path))
