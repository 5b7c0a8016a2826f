"""Which bundles were verified on this host, and by which checks: a small file for each, named by the digest of its manifest.

What it says is true of a bundle wherever that lies, so the file need not go when the bundle does. It lies with the other files
by which this host decides, and not in the local store, which may be on a disk that somebody brought.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from bundler import ownfiles, statefiles
from bundler.errors import BundlerError
from bundler.format.content import Digest
from bundler.partfile import write_file

KEPT = 1000
"""Records that are kept; the oldest go first."""


def is_noted(manifest: Digest, checks: int) -> bool:
    """Whether there is a record of just these checks, that nobody else could have written."""
    with suppress(BundlerError, FileNotFoundError):
        return ownfiles.read_private(_directory() / manifest.hex, "the record") == _content(checks)
    return False


def note(manifest: Digest, checks: int) -> None:
    """Write a record; one that cannot be written costs no more than the time to verify again."""
    with suppress(BundlerError, OSError):
        ownfiles.make_directory(_directory())
        write_file(_directory() / manifest.hex, _content(checks), 0o600)
        for old in sorted(_directory().iterdir(), key=lambda path: path.lstat().st_mtime, reverse=True)[KEPT:]:
            old.unlink(missing_ok=True)


def _directory() -> Path:
    return statefiles.directory() / "verified"


def _content(checks: int) -> bytes:
    return b'{"checks":%d}\n' % checks
