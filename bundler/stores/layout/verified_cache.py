"""What was verified on this host: bundles, by which checks, and files of blobs that have not changed since.

Each is a small private file in the state directory, with the other files by which this host decides, and not in a store, which
may be on a disk from elsewhere. What a record says of a bundle is true wherever that lies, so the record need not go when the
bundle does.
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
"""Records of one kind that are kept; the oldest go first."""

LEAST_SIZE = 1 << 20
"""Bytes below which the file of a blob is read each time: that takes no longer than to look for its record."""

SETTLED = 2.5
"""Seconds after which another change shows in the times of a file; FAT counts in steps of two."""

_BUNDLES, _BLOBS = "verified", "verified-blobs"


def is_noted(manifest: Digest, checks: int) -> bool:
    """Whether there is a record of just these checks, that no other user could have written."""
    return _is_recorded(_BUNDLES, manifest.hex, _checks(checks))


def note(manifest: Digest, checks: int) -> None:
    """Write a record; one that cannot be written costs no more than the time to verify again."""
    _record(_BUNDLES, manifest.hex, _checks(checks))


def is_sound(path: Path, digest: Digest, *, medium: bool = False, advance: Callable[[int], object] = lambda _: None) -> bool:
    """Whether a file is a blob, byte for byte: verified since it last changed, or now.

    With ``medium`` it is read in any case, from its medium, as a bad sector changes no time. ``advance`` is told how many
    more bytes were read. A link and whatever else is no plain file are no blob.
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
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # so that not the kernel's memory answers
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
    """What is recorded of a file: the blob that it is, and all that a change of it changes."""
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
