"""Processes confined to AVX2, so that XNNPACK, which has no switch for it, can be timed on the same instruction set as ours.

Builds delegate/bench/cpuid_mask.c with the system's C compiler; that file says how it works and what it needs.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import dgms_keras

_SOURCE = Path(dgms_keras.__file__).resolve().parent.parent / "delegate" / "bench" / "cpuid_mask.c"
LIBRARY = "cpuid_mask.so"


class CannotMask(RuntimeError):
    """This machine, or this installation, cannot hide instruction sets; the message says why."""


def make_mask(folder: Path) -> Path:
    """Builds the library in a folder, and makes sure that it works here.

    Raises:
        CannotMask: no x86-64 Linux, no source tree, no compiler, or no CPUID faulting.
    """
    from dgms_keras.recipes.table4 import child

    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise CannotMask(f"it takes Linux on x86-64. Received: {platform.system()} {platform.machine()}")
    if not _SOURCE.exists():
        raise CannotMask(f"it takes a source tree. Not found: {_SOURCE}")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder.resolve() / LIBRARY
    command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMask(f"{_SOURCE.name} must compile. Received: {getattr(error, 'stderr', None) or error}") from None
    try:
        sets = child.run("kernel_sets", {}, mask=library, show=False)
    except child.MeasurementError as error:
        raise CannotMask(str(error)) from None
    if sets[-1:] != ["avx2"]:
        raise CannotMask(f"a confined process must see AVX2 and nothing above. Received: {', '.join(sets)}")
    return library
