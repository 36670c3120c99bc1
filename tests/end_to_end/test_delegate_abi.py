"""delegate/tflite/tflite_abi.h against TFLite's official headers, for 64-bit and 32-bit layouts.

The headers are in the AAR org.tensorflow:tensorflow-lite:2.16.1 on Maven Central. It is taken from DGMS_TFLITE_AAR, from Maven's
local repository, or fetched by `mvn`; where none of that works the tests are skipped and say so. The operators' parameter
structs are not in it: the random graphs check those, since a field read from a wrong place gives wrong results.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = "2.16.1"

# For -ffreestanding, which has no C++ library: all that the official headers want of it.
UTILITY = """
namespace std {
template <typename T> struct remove_reference { using type = T; };
template <typename T> struct remove_reference<T&> { using type = T; };
template <typename T> T&& forward(typename remove_reference<T>::type& t) { return static_cast<T&&>(t); }
}
inline void* operator new(decltype(sizeof(0)), void* place) noexcept { return place; }
"""


def find_aar() -> Path | None:
    chosen = os.environ.get("DGMS_TFLITE_AAR")
    if chosen:
        return Path(chosen)
    name = f"org/tensorflow/tensorflow-lite/{VERSION}/tensorflow-lite-{VERSION}.aar"
    local = Path.home() / ".m2" / "repository" / name
    if not local.exists() and shutil.which("mvn"):
        artifact = f"org.tensorflow:tensorflow-lite:{VERSION}:aar"
        command = ["mvn", "-q", "-B", "dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false"]
        try:
            subprocess.run(command, capture_output=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            return None
    return local if local.exists() else None


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    aar = find_aar()
    if aar is None:
        pytest.skip(
            f"TFLite's headers are not here: set DGMS_TFLITE_AAR to tensorflow-lite-{VERSION}.aar (Maven Central)"
        )
    folder = tmp_path_factory.mktemp("headers")
    with zipfile.ZipFile(aar) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith("headers/") and n.endswith(".h")])
    return folder / "headers"


TARGETS = {
    "this machine": ["c++"],
    "aarch64": ["aarch64-linux-gnu-g++"],
    # i386 aligns 64-bit integers to 4 bytes; with -malign-double to 8, as 32-bit ARM does.
    "32 bits, 4-byte int64": ["g++", "-m32", "-ffreestanding"],
    "32 bits, 8-byte int64": ["g++", "-m32", "-ffreestanding", "-malign-double"],
}


@pytest.mark.parametrize("target", TARGETS)
def test_layouts(target: str, headers: Path, tmp_path: Path) -> None:
    compiler = TARGETS[target]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no {compiler[0]}")
    (tmp_path / "utility").write_text(UTILITY)
    include = [
        ROOT / "tests" / "cpp",
        ROOT / "delegate",
        headers,
        *([tmp_path] if "-ffreestanding" in compiler else []),
    ]
    flags = [
        "-std=c++17",
        "-Wno-invalid-offsetof",
        "-fsyntax-only",
        "-x",
        "c++",
        "-",
        *(f"-I{path}" for path in include),
    ]

    def compiles(source: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*compiler, *flags], input=source, capture_output=True, text=True, check=False)

    if "-m32" in compiler and compiles("int x;").returncode != 0:
        pytest.skip("this compiler makes no 32-bit code")
    done = compiles('#include "tflite/official_abi_check.h"\n')
    assert done.returncode == 0, done.stderr[-3000:]
    # And the check can fail: a field too few in front of the one compared.
    broken = compiles(
        '#include "tflite/official_abi_check.h"\n'
        "static_assert(offsetof(dgms::tfl::Tensor, bytes) == offsetof(TfLiteTensor, allocation));\n"
    )
    assert broken.returncode != 0
