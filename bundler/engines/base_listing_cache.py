"""Cache of the files that clean bases have at exported paths; layers do not change, so a listing stays valid."""

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
from bundler.localfs import private_file, recently_used
from bundler.localfs.atomic_file import PartFile, sweep

KEPT = 32
"""Number of listings that are kept; the least recently used is deleted first."""


class BaseListingCache:
    """A directory of listings, one file for each pair of a chain ID and the requested exports."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, chain_id: Digest, exports: Iterable[str]) -> Iterator[Listed] | None:
        """Return a cached listing, which is read lazily, or None; raises `TrustError` if another user can have written it."""
        path = self._path(chain_id, exports)
        with contextlib.suppress(OSError, StoreError):
            private_file.check_directory(self._directory)
            file = _opened(path)
            os.utime(file.fileno())
            return _read(file)
        return None

    def keep(self, chain_id: Digest, exports: Iterable[str], listing: Iterable[Listed]) -> Iterator[Listed]:
        """Cache a whole listing and return it; raises `NoSpaceError` or `StoreError` when it cannot be written."""
        path = self._path(chain_id, exports)
        private_file.make_directory(self._directory)
        sweep(self._directory)
        with PartFile(self._directory) as part:
            for listed in listing:
                part.write(f"{listed.kind.value.decode()} {paths.encode(listed.path)}\n".encode())
            part.publish(path, 0o600)
        recently_used.keep_newest(self._directory, "*.list", KEPT)
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
