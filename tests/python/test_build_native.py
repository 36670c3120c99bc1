"""android_demo/scripts/build_native.sh without an NDK: how it finds one, its arguments, its failures; and what it demands of a library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "android_demo" / "scripts"
TOOLCHAIN = "build/cmake/android.toolchain.cmake"
NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT")


def build_native(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in NDK_VARIABLES} | variables
    command = [str(SCRIPTS / "build_native.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def make_ndk(folder: Path, revision: str) -> Path:
    """An NDK as far as the script looks before it compiles; its toolchain file stops CMake, saying who it is."""
    (folder / TOOLCHAIN).parent.mkdir(parents=True)
    (folder / TOOLCHAIN).write_text(
        f'message(FATAL_ERROR "toolchain {revision} for ${{ANDROID_ABI}}, ${{ANDROID_PLATFORM}}, ${{ANDROID_STL}}")\n'
    )
    (folder / "source.properties").write_text(f"Pkg.Desc = Android NDK\nPkg.Revision = {revision}\n")
    tools = folder / "toolchains/llvm/prebuilt/linux-x86_64/bin"
    tools.mkdir(parents=True)
    for tool in ("llvm-strip", "llvm-readelf"):
        (tools / tool).write_text("#!/bin/sh\nexit 1\n")
        (tools / tool).chmod(0o755)
    return folder


def test_without_an_ndk_it_says_so_and_is_skipped() -> None:
    result = build_native()
    assert result.returncode == 77
    assert "an NDK is needed" in result.stderr and "Received: none" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_sdk_without_an_ndk_is_none(tmp_path: Path) -> None:
    assert build_native(ANDROID_HOME=str(tmp_path)).returncode == 77


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--abi", "mips"], "an ABI must be arm64-v8a, armeabi-v7a, x86_64 or x86. Received: 'mips'"),
        (["--abi"], "--abi needs a value. Received: none"),
        (["--ndk"], "--ndk needs a value. Received: none"),
        (["--release"], "unknown argument '--release'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    result = build_native(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


@pytest.mark.parametrize("how", ["--ndk", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"])
def test_a_folder_that_is_no_ndk_is_an_error(how: str, tmp_path: Path) -> None:
    result = build_native(how, str(tmp_path)) if how == "--ndk" else build_native(**{how: str(tmp_path)})
    assert result.returncode == 1
    source = how if how == "--ndk" else f"${how}"
    assert f"an NDK's folder must have {TOOLCHAIN} in it. Received: {tmp_path} (from {source})" in result.stderr


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("ninja")), reason="needs CMake and Ninja")
def test_it_takes_the_newest_and_shows_why_a_build_failed(tmp_path: Path) -> None:
    for revision in ("9.1.0", "27.3.13750724", "28.2.13676358"):  # as text, "9" would be the newest
        make_ndk(tmp_path / "an sdk/ndk" / revision, revision)
    output = tmp_path / "out"
    result = build_native("--output", str(output), ANDROID_HOME=str(tmp_path / "an sdk"))
    assert result.returncode == 1
    assert f"NDK 28.2.13676358: {tmp_path}/an sdk/ndk/28.2.13676358" in result.stdout
    assert "toolchain 28.2.13676358 for arm64-v8a, android-24, c++_static" in result.stderr
    assert "dgms_delegate must build for arm64-v8a" in result.stderr
    assert not list(output.glob("*/*.so"))
    other = make_ndk(tmp_path / "other", "29.0.1")
    chosen = build_native(
        "--ndk", str(other), "--abi", "armeabi-v7a", "--output", str(output), ANDROID_HOME=str(tmp_path / "an sdk")
    )
    assert "toolchain 29.0.1 for armeabi-v7a" in chosen.stderr


def test_an_incomplete_ndk_is_an_error(tmp_path: Path) -> None:
    ndk = make_ndk(tmp_path / "ndk", "28.0.1")
    shutil.rmtree(ndk / "toolchains")
    result = build_native("--ndk", str(ndk))
    if result.returncode != 77:  # 77: no CMake or no Ninja, which is looked for first
        assert result.returncode == 1
        assert "the NDK must have llvm-strip" in result.stderr


def check_library(library: Path, abi: str) -> str:
    """The complaint; empty if there is none."""
    result = subprocess.run([str(SCRIPTS / "check_library.sh"), str(library), abi], capture_output=True, text=True)
    assert (result.returncode == 0) == (result.stderr == ""), result.stderr
    return result.stderr


@pytest.mark.skipif(not (shutil.which("gcc") and os.uname().machine == "x86_64"), reason="needs gcc for x86-64")
def test_what_is_demanded_of_a_library(tmp_path: Path) -> None:
    source = tmp_path / "empty.c"
    source.write_text("int nothing;\n")

    def link(name: str, *options: str) -> Path:
        library = tmp_path / name
        subprocess.run(["gcc", "-shared", "-fPIC", "-nostdlib", str(source), "-o", str(library), *options], check=True)
        return library

    pages, named = "-Wl,-z,max-page-size=16384", "-Wl,-soname,libgood.so"
    good = link("libgood.so", pages, named)
    assert check_library(good, "x86_64") == ""
    assert "must be for arm64-v8a (AArch64)" in check_library(good, "arm64-v8a")
    small = link("libgood.so", "-Wl,-z,max-page-size=4096", named)
    assert "aligned to 16 KB (0x4000) at least. Received: 0x1000" in check_library(small, "x86_64")
    needy = link("libgood.so", pages, named, "-Wl,--no-as-needed", "-lm")
    assert "must need no library but" in check_library(needy, "x86_64")
    assert "as SONAME. Received: libgood.so" in check_library(link("libother.so", pages, named), "x86_64")
    assert "as SONAME. Received: none" in check_library(link("libnone.so", pages), "x86_64")
    assert "must be an ELF file" in check_library(source, "x86_64")
