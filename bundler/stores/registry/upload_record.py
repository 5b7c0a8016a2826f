"""Records of uploads across runs: open upload sessions, and the repositories that have a blob."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from bundler.errors import BusyError, IntegrityError, NoSpaceError, StoreError
from bundler.format import strict_json
from bundler.format.content import Digest
from bundler.localfs import locks, private_file
from bundler.stores.layout import local
from bundler.stores.layout.removable import UPLOADS

LEAST_SIZE = 1 << 20
"""Bytes below which a blob gets no record."""
_MOST_REPOSITORIES = 3
_REPLACE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class UploadRecord:
    """The record of one blob in one registry; small blobs have none.

    The record is optional: a damaged one counts as none, and on a full disk there is none. Only the process that holds
    its lock changes it.
    """

    def __init__(self, registry: str, digest: Digest, size: int) -> None:
        name = hashlib.sha256(f"{registry} {digest}".encode()).hexdigest()
        self._path = directory() / f"{name}.json" if size >= LEAST_SIZE else None
        self._is_ours = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of the record, so that no other process resumes or records the same upload."""
        if self._path is None:
            yield
            return
        with ExitStack() as held:
            with suppress(BusyError, StoreError, NoSpaceError):  # then this upload is not recorded
                private_file.make_directory(self._path.parent)
                held.enter_context(locks.locked(self._path.with_suffix(".lock"), "an upload", limit=0))
                self._is_ours = True
            try:
                yield
            finally:
                self._is_ours = False

    def session(self, repository: str) -> str:
        """Return the URL of the upload session for a repository, or an empty string."""
        found = self._read().get("sessions", {}) if self._is_ours else {}
        return str(found.get(repository, "")) if isinstance(found, dict) else ""

    def least(self) -> int:
        """Return the minimum chunk size in bytes that the registry announced."""
        found = self._read().get("least", 0)
        return found if isinstance(found, int) else 0

    def remember(self, repository: str, session: str, least: int = 0, *, sync: bool = True) -> None:
        """Record the URL of an upload session; an empty one removes it.

        Only with ``sync`` the record survives a power failure; waiting for the disk would slow down a quick link.
        """
        content = self._read()
        sessions = {**_table(content), repository: session} if session else _without(content, repository)
        self._write({**content, "sessions": sessions, "least": least}, sync=sync)

    def repositories(self) -> list[str]:
        """Return the repositories that had the blob, the newest first."""
        found = self._read().get("places", [])
        return [place for place in found if isinstance(place, str)] if isinstance(found, list) else []

    def arrived(self, repository: str) -> None:
        """Record that a repository has the blob."""
        content = self._read()
        places = [repository, *(place for place in self.repositories() if place != repository)][:_MOST_REPOSITORIES]
        self._write({**content, "sessions": _without(content, repository), "places": places})

    def _read(self) -> dict[str, Any]:
        try:
            return strict_json.load(_content(self._path), str(self._path)) if self._path else {}
        except (FileNotFoundError, IntegrityError, StoreError):
            return {}

    def _write(self, content: dict[str, Any], *, sync: bool = True) -> None:
        if self._path and self._is_ours:
            with suppress(OSError, StoreError, NoSpaceError), os.fdopen(private_file.open_file(self._path, _REPLACE), "wb") as file:
                file.write(json.dumps(content, sort_keys=True).encode())
                if sync:
                    file.flush()
                    os.fsync(file.fileno())


def directory() -> Path:
    """Return the directory of the records, in the local store."""
    return local.use() / UPLOADS


def _content(path: Path) -> bytes:
    with os.fdopen(private_file.open_file(path, os.O_RDONLY), "rb") as file:
        return file.read(strict_json.MAX_SIZE + 1)


def _table(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("sessions")
    return found if isinstance(found, dict) else {}


def _without(content: dict[str, Any], repository: str) -> dict[str, Any]:
    return {name: session for name, session in _table(content).items() if name != repository}
