"""Types of command line arguments, and places of files, that several modules use."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def count(text: str) -> int:
    """An integer >= 0."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0. Received: {text!r}")
    return value


def given_names(arguments: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Which of them are on the command line: an absent option is None, an absent switch False, and 0 is neither."""
    return [n for n in names if getattr(arguments, n) is not None and getattr(arguments, n) is not False]


def check_new_file(file: Path, option: str) -> None:
    """Raises a ValueError where no file can be made: what takes minutes to compute must have a place before."""
    if not file.parent.is_dir() or file.is_dir():
        raise ValueError(f"{option} must name a file in a folder that exists. Received: {file}")
    if not os.access(file.parent, os.W_OK):
        raise ValueError(f"{option} must name a file in a folder that can be written to. Received: {file}")


def make_folder(folder: Path, option: str) -> None:
    """Makes a folder for files that come later; a ValueError where that or they cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{option} must be a folder, or not exist yet. Received: {folder}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option} must be a folder that can be written to. Received: {folder}")


def write_json(file: Path, data: Any) -> None:
    """In one step; to the screen if `file` is "-"."""
    text = json.dumps(data, indent=2) + "\n"
    if str(file) == "-":
        sys.stdout.write(text)
        return
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text)
    os.replace(temporary, file)
