"""What a benchmark ran on: processor, the delegate's kernel sets, memory of this process."""

from __future__ import annotations

import os
import platform
import re
from typing import Any


def machine_info() -> dict[str, Any]:
    """`machine` of a benchmark's result (report/bench.schema.json)."""
    processor = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Hardware"))]
        processor = names[0] if names else processor
    except OSError:
        pass
    features, kernel_set = kernel_sets()
    return {
        "kind": "desktop",
        "name": platform.node() or "unnamed",
        "processor": processor,
        "architecture": platform.machine() or "unknown",
        "cores": os.cpu_count() or 1,
        "features": features,
        "kernel_set": kernel_set,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def kernel_sets() -> tuple[list[str], str | None]:
    """The delegate's kernel sets that this processor runs, and the one that the delegate takes; `([], None)` where the native
    library was not built."""
    try:
        from dgms_keras import _native
    except ImportError:
        return [], None
    sets = _native.kernel_sets()
    return [s["isa"] for s in sets], next((s["isa"] for s in sets if s["best"]), None)


def peak_memory_bytes() -> int | None:
    """The largest resident memory that this process ever had; None where the system does not tell."""
    return _status_bytes("VmHWM")


def resident_bytes() -> int | None:
    """This process's resident memory now; None where the system does not tell."""
    return _status_bytes("VmRSS")


def memory_bytes() -> dict[str, int]:
    """This process's resident memory now: `resident` in all, `anonymous` (what it allotted) and `mapped` (pages of files and shared
    memory).

    Raises:
        OSError: the system does not tell.
    """
    found = {name: _status_bytes(field) for name, field in (("resident", "VmRSS"), ("anonymous", "RssAnon"))}
    if any(value is None for value in found.values()):
        raise OSError("resident memory is read from /proc/self/status, which this system does not have")
    return {**found, "mapped": found["resident"] - found["anonymous"]}


def _status_bytes(field: str) -> int | None:
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            found = re.search(rf"^{field}:\s*(\d+) kB$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
