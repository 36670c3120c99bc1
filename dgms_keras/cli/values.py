"""Types of command line arguments that several modules use."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def count(text: str) -> int:
    """An integer >= 0."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0. Received: {text!r}")
    return value


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
