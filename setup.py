"""Builds `libdgms_delegate.so` and the test bindings with CMake and puts both inside the package. Metadata: pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
DELEGATE = "dgms_keras._delegate"  # not a Python module: the library that TFLite loads
BINDINGS = "dgms_keras._native"


class CMakeBuild(build_ext):
    """One CMake build for both libraries; setuptools decides where they go (wheel or source tree)."""

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.rpartition(".")[2] == DELEGATE.rpartition(".")[2]:
            return os.path.join(*fullname.split(".")[:-1], "libdgms_delegate.so")
        return super().get_ext_filename(fullname)

    def run(self) -> None:
        if shutil.which("c++") is None and shutil.which("g++") is None and "CXX" not in os.environ:
            raise RuntimeError(
                "a C++17 compiler is needed to build the delegate. Received: no c++, g++ or $CXX on the PATH"
            )
        super().run()

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        if ext.name == DELEGATE:  # the first of the two: builds both
            self._cmake_build()
        built = next((Path(self.build_temp).resolve() / "out").glob(f"*{ext.name.rpartition('_')[2]}*.so"))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")  # a running process may have the old library mapped
        shutil.copy2(built, temporary)
        os.replace(temporary, target)

    def _cmake_build(self) -> None:
        build = Path(self.build_temp).resolve() / "cmake"
        output = Path(self.build_temp).resolve() / "out"
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake",
            "-S",
            str(ROOT / "delegate"),
            "-B",
            str(build),
            f"-DDGMS_OUTPUT_DIR={output}",
            "-DDGMS_BUILD_PYTHON=ON",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        cache = build / "CMakeCache.txt"
        if cache.exists():  # pip builds in a new environment each time: paths in an old cache may be gone
            cache.unlink()
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 2)], check=True)


# The Makefile installs first and builds afterwards, where a changed source costs one file and not all.
without_libraries = os.environ.get("DGMS_BUILD_LIBRARIES") == "0"

setup(
    ext_modules=[] if without_libraries else [Extension(DELEGATE, sources=[]), Extension(BINDINGS, sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
