"""Which entries a layer may hold at all, each judged by itself."""

from __future__ import annotations

from bundler.format import paths, tar
from bundler.format.tar import Entry, Kind

_MAX_ID = 2**32 - 2
"""Largest user or group; the number above it means nobody in particular (chown(2))."""
_MAX_TIME = 2**63
_LAST_SECOND = (2**63 - 1) // 10**9
"""Latest time that engines set, in seconds since 1970; it is in the year 2262."""


def fault(entry: Entry) -> str:
    """What makes an entry one that no capture would have written; empty when nothing does."""
    if entry.kind not in tar.STATE_KINDS:
        return f"a {entry.kind.name.lower()}"
    gone = deleted(entry)
    return _path_fault(entry, gone) or _value_fault(entry) or ("" if gone is None else _whiteout_fault(entry, gone))


def unkept(entry: Entry) -> str:
    """What engines would change in an entry without an error when they unpack it; empty when nothing.

    The limits are measured with every engine (docs/spec/fidelity.md).
    """
    if not 0 <= entry.mtime <= _LAST_SECOND:
        return "has a time before 1970 or after 2262, which engines set to 1970"
    path = entry.path
    if 4 * len(path) > paths.MAX_PORTABLE and len(paths.to_bytes(deleted(entry) or path)) > paths.MAX_PORTABLE:
        return f"has a path of more than {paths.MAX_PORTABLE} bytes, which some engines leave out"
    return ""


def deleted(entry: Entry) -> str | None:
    """The path that a whiteout deletes; None for an entry that is none (OCI image spec, layer.md, "Whiteouts")."""
    directory, _, name = entry.path.rpartition("/")
    return f"{directory}/{name.removeprefix(tar.WHITEOUT)}" if name.startswith(tar.WHITEOUT) else None


def _path_fault(entry: Entry, gone: str | None) -> str:
    if not paths.is_clean(entry.path):
        return "which is not a clean path"
    # A whiteout's own name is made up, and never stands in a file system.
    if not paths.is_short(paths.to_bytes(entry.path if gone is None else gone)):
        return "which is longer than a file system takes"
    if entry.kind is Kind.HARD_LINK and not (paths.is_clean(entry.target) and paths.is_short(paths.to_bytes(entry.target))):
        return "a hard link to what is not a clean path"
    if entry.kind is Kind.SYMLINK and ("\0" in entry.target or not 0 < len(paths.to_bytes(entry.target)) <= paths.MAX_LENGTH):
        return "a symbolic link that no file system holds"
    return ""


def _value_fault(entry: Entry) -> str:
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        return "which belongs to nobody"
    if not -_MAX_TIME <= entry.mtime < _MAX_TIME:
        return "of a time that no file system knows"
    if entry.capability and entry.kind not in (Kind.FILE, Kind.HARD_LINK):
        return "with a capability that nothing can use"
    if not all(tar.is_tellable(name, value) for name, value in entry.xattrs):
        return "with an attribute that is no state"
    return ""


def _whiteout_fault(entry: Entry, gone: str) -> str:
    sound = paths.is_clean(gone) and not gone.rpartition("/")[2].startswith(tar.WHITEOUT)
    return "" if sound and entry == tar.whiteout(gone) else "a whiteout of another form than ours"
