"""The metadata entry of a DGMS file: FORMAT.md, section 5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dgms_keras._version import __version__

ENTRY_NAME = "dgms_keras"
MAJOR, MINOR = 1, 1
# The version that a file of these activations needs: older readers take float files of this version, too.
_NEEDED = {"float32": (1, 0), "int8": (1, 1)}

_HEADER = re.compile(r"DGMS (\d{1,9})\.(\d{1,9})")


class NewerVersionError(ValueError):
    """The entry's major version is newer than this package's."""


def encode(layers: list[dict[str, Any]], kept: list[dict[str, Any]], activations: str = "float32") -> bytes:
    """The entry's text: a version line (the lowest version that has all the file uses), then one JSON object."""
    major, minor = _NEEDED[activations]
    body = {"producer": f"dgms_keras {__version__}", "layers": layers, "kept": kept}
    if activations != "float32":
        body["activations"] = activations
    return f"DGMS {major}.{minor}\n{json.dumps(body, separators=(',', ':'), ensure_ascii=False)}".encode()


def decode(data: bytes) -> tuple[tuple[int, int], dict[str, Any]]:
    """Version and JSON object of an entry.

    Raises:
        NewerVersionError: its major version is newer than this package's. ValueError: not such an entry.
    """
    text = data.decode("utf-8", "replace")
    first, _, rest = text.partition("\n")
    header = _HEADER.fullmatch(first.strip())
    if header is None:
        raise ValueError(
            f"the metadata entry {ENTRY_NAME!r} must begin with 'DGMS major.minor'. Received: {first[:60]!r}"
        )
    version = (int(header[1]), int(header[2]))
    if version[0] > MAJOR:
        raise NewerVersionError(
            f"the file has DGMS format {version[0]}.{version[1]}; this version of dgms_keras ({__version__}) reads formats "
            f"up to {MAJOR}.x. Install a newer dgms_keras"
        )
    try:
        body = json.loads(rest)
    except ValueError as error:
        raise ValueError(f"the metadata entry {ENTRY_NAME!r} must hold a JSON object: {error}") from None
    if not isinstance(body, Mapping):
        raise ValueError(f"the metadata entry {ENTRY_NAME!r} must hold a JSON object. Received: {type(body).__name__}")
    return version, dict(body)
