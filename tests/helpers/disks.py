"""Disks that are small, that break, or that cannot be written; each is unmounted after the block."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from privateengine import ensure


@contextmanager
def mounted(directory: Path, *arguments: str) -> Iterator[Path]:
    """``mount ARGUMENTS`` on a new directory for the length of the block."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    directory.mkdir()
    run("mount", *arguments, str(directory))
    try:
        yield directory
    finally:
        run("umount", "--lazy", str(directory))


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Path]:
    """A file system in memory that holds so many bytes."""
    with mounted(directory, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as path:
        yield path


@contextmanager
def breaking_disk(directory: Path, size: int, backing: Path) -> Iterator[Path]:
    """An ext4 file system of so many bytes, whose medium is the sparse file ``backing``."""
    with backing.open("wb") as file:
        file.truncate(size)
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(backing))
    with mounted(directory, "-o", "loop,errors=continue", str(backing)) as path:
        yield path


def uncached(directory: Path) -> None:
    """Let everything below a directory be read from its medium the next time."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def run(program: str, *arguments: str) -> None:
    command = [ensure(program, "e2fsprogs" if program.startswith("mkfs") else "mount"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
