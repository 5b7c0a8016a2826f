"""Rules for a single entry of a layer, whatever else the layer holds."""

from __future__ import annotations

from bundler.format import paths, tar
from bundler.format.faults import Fault, FaultCode
from bundler.format.tar import Entry, Kind

_MAX_ID = 2**32 - 2
"""Largest user or group ID; the number above it means "unchanged" (chown(2))."""
_MAX_TIME = 2**63
_LAST_SECOND = (2**63 - 1) // 10**9
"""Latest time that engines set, in seconds since 1970; it is in the year 2262."""


def fault(entry: Entry) -> Fault | None:
    """Return the rule that an entry breaks; no capture writes such an entry."""
    if entry.kind not in tar.STATE_KINDS:
        return Fault.at(entry.path, FaultCode.KIND, entry.kind.name.lower().replace("_", " "))
    path = deleted(entry)
    code = _path_fault(entry, path) or _value_fault(entry) or (None if path is None else _whiteout_fault(entry, path))
    return Fault.at(entry.path, code, _MAX_ID) if code else None


def unkept(entry: Entry) -> str:
    """What engines silently change in an entry when they unpack it, or an empty text.

    The limits are measured with every engine (docs/spec/fidelity.md).
    """
    if not 0 <= entry.mtime <= _LAST_SECOND:
        return "has a time before 1970 or after 2262, which engines set to 1970"
    path = entry.path
    if 4 * len(path) > paths.MAX_PORTABLE and len(paths.to_bytes(deleted(entry) or path)) > paths.MAX_PORTABLE:
        return f"has a path of more than {paths.MAX_PORTABLE} bytes, which some engines leave out"
    return ""


def deleted(entry: Entry) -> str | None:
    """The path that a whiteout deletes; None for an entry that is not a whiteout (OCI image spec, layer.md, "Whiteouts")."""
    directory, _, name = entry.path.rpartition("/")
    return f"{directory}/{name.removeprefix(tar.WHITEOUT)}" if name.startswith(tar.WHITEOUT) else None


def _path_fault(entry: Entry, deleted_path: str | None) -> FaultCode | None:
    if not paths.is_clean(entry.path):
        return FaultCode.PATH
    # The name of a whiteout exists only in the layer, never in a file system.
    if not paths.is_short(paths.to_bytes(entry.path if deleted_path is None else deleted_path)):
        return FaultCode.PATH_LENGTH
    if entry.kind is Kind.HARD_LINK and not (paths.is_clean(entry.target) and paths.is_short(paths.to_bytes(entry.target))):
        return FaultCode.LINK_PATH
    if entry.kind is Kind.SYMLINK and ("\0" in entry.target or not 0 < len(paths.to_bytes(entry.target)) <= paths.MAX_LENGTH):
        return FaultCode.SYMLINK_TARGET
    return None


def _value_fault(entry: Entry) -> FaultCode | None:
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        return FaultCode.OWNER
    if not -_MAX_TIME <= entry.mtime < _MAX_TIME:
        return FaultCode.TIME
    if entry.capability and entry.kind not in (Kind.FILE, Kind.HARD_LINK):
        return FaultCode.CAPABILITY
    if not all(tar.is_tellable(name, value) for name, value in entry.xattrs):
        return FaultCode.ATTRIBUTE
    return None


def _whiteout_fault(entry: Entry, deleted_path: str) -> FaultCode | None:
    is_valid = paths.is_clean(deleted_path) and not deleted_path.rpartition("/")[2].startswith(tar.WHITEOUT)
    return None if is_valid and entry == tar.whiteout(deleted_path) else FaultCode.WHITEOUT_FORM
