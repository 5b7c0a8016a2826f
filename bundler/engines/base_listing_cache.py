"""What clean bases have at exported paths, kept from one push to the next: layers do not change."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from bundler.errors import StoreError, disk_errors
from bundler.format import paths
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed
from bundler.localfs import private_file
from bundler.localfs.atomic_file import PartFile, sweep

KEPT = 32
"""Listings that are kept; the one that was used longest ago goes first."""


class Listings:
    """A directory of listings, one file for each pair of a chain ID and the exports that were asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, chain_id: Digest, exports: Iterable[str]) -> Iterator[Listed] | None:
        """The kept listing, read while it is used; or None. Raises `TrustError` where another user can have written it."""
        path = self._path(chain_id, exports)
        with contextlib.suppress(OSError, StoreError):
            private_file.check_directory(self._directory)
            file = _opened(path)
            os.utime(file.fileno())
            return _read(file)
        return None

    def keep(self, chain_id: Digest, exports: Iterable[str], listing: Iterable[Listed]) -> Iterator[Listed]:
        """Write a whole listing down, and give it back; raises `NoSpaceError` or `StoreError` when that cannot be done."""
        path = self._path(chain_id, exports)
        private_file.make_directory(self._directory)
        sweep(self._directory)
        with PartFile(self._directory) as part:
            for listed in listing:
                part.write(f"{listed.kind.value.decode()} {paths.encode(listed.path)}\n".encode())
            part.publish(path, 0o600)
        for old in sorted(self._directory.glob("*.list"), key=_last_use, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)
        with disk_errors(path):
            return _read(_opened(path))

    def _path(self, chain_id: Digest, exports: Iterable[str]) -> Path:
        key = Digest.of("\0".join((str(chain_id), *exports)).encode("utf-8", "surrogateescape"))
        return self._directory / f"{key.hex}.list"


def _opened(path: Path) -> TextIO:
    return os.fdopen(private_file.open_file(path, os.O_RDONLY), encoding="ascii")


def _read(file: TextIO) -> Iterator[Listed]:
    with file:
        for line in file:
            yield Listed(paths.decode(line[2:-1]), Kind(line[:1].encode()))


def _last_use(path: Path) -> float:
    with contextlib.suppress(OSError):  # another process may have taken it away
        return path.stat().st_mtime
    return 0.0
