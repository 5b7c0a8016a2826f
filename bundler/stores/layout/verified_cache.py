"""Records of verified bundles (with the checks) and of verified, unchanged blob files.

Each is a small private file in the state directory. A store cannot keep them, because it may be on a disk from another
host. The record of a bundle is valid in any store, so it stays when the bundle is deleted.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bundler.errors import BundlerError
from bundler.format.content import Digest
from bundler.localfs import private_file, state_directory
from bundler.localfs.atomic_file import write_file
from bundler.streams import BLOCK

KEPT = 1000
"""Most records of one kind; the oldest are deleted first."""

LEAST_SIZE = 1 << 20
"""Bytes below which a blob file is always read: that is as quick as looking up its record."""

SETTLED = 2.5
"""Seconds after which a further change alters the file's timestamps; FAT has steps of two."""

_BUNDLES, _BLOBS = "verified", "verified-blobs"


def is_noted(manifest: Digest, checks: int) -> bool:
    """Whether there is a record of exactly these checks, in a private file."""
    return _is_recorded(_BUNDLES, manifest.hex, _checks(checks))


def note(manifest: Digest, checks: int) -> None:
    """Write a record; a failure is ignored, as it only costs another verification."""
    _record(_BUNDLES, manifest.hex, _checks(checks))


def is_sound(path: Path, digest: Digest, *, medium: bool = False, advance: Callable[[int], object] = lambda _: None) -> bool:
    """Whether a file has exactly the content of a blob: verified since its last change, or now.

    With ``medium`` it is always read from the medium, as a bad sector changes no timestamp. ``advance`` gets the count of
    each block. A link or another file that is not plain is not sound.
    """
    with suppress(OSError):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return False
        is_recorded = found.st_size >= LEAST_SIZE and not medium and _is_recorded(_BLOBS, _place(found), _state(found, digest))
        return is_recorded or _read(path, digest, advance, medium=medium)
    return False


def _read(path: Path, digest: Digest, advance: Callable[[int], object], *, medium: bool) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if medium:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # bypass the page cache
        content = hashlib.sha256()
        while block := file.read(BLOCK):
            content.update(block)
            advance(len(block))
        after = os.fstat(descriptor)
    if content.hexdigest() != digest.hex:
        return False
    is_settled = _state(before, digest) == _state(after, digest) and time.time() - after.st_ctime > SETTLED
    if is_settled and after.st_size >= LEAST_SIZE:
        _record(_BLOBS, _place(after), _state(after, digest))
    return True


def _place(found: os.stat_result) -> str:
    return f"{found.st_dev}-{found.st_ino}"


def _state(found: os.stat_result, digest: Digest) -> bytes:
    """Return the record of a file: its blob, size and timestamps."""
    return b"%s %d %d %d\n" % (str(digest).encode(), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _checks(checks: int) -> bytes:
    return b'{"checks":%d}\n' % checks


def _is_recorded(kind: str, name: str, content: bytes) -> bool:
    with suppress(BundlerError, FileNotFoundError):
        return private_file.read_private(_directory(kind) / name, "the record") == content
    return False


def _record(kind: str, name: str, content: bytes) -> None:
    with suppress(BundlerError, OSError):
        private_file.make_directory(_directory(kind))
        write_file(_directory(kind) / name, content, 0o600)
        for old in sorted(_directory(kind).iterdir(), key=lambda path: path.lstat().st_mtime, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)


def _directory(kind: str) -> Path:
    return state_directory.directory() / kind
