"""Mode, owner, time and extended attributes of a file, set and compared by descriptor."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from errno import EINVAL, ENOTSUP, EPERM
from pathlib import Path

from bundler.errors import UsageError

CAPABILITY = "security.capability"
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_SETFCAP = 0, 1, 31
"""Capabilities of a process (linux/capability.h): to give files away, to pass by their modes, and to give them capabilities."""

_COMPARED = (CAPABILITY, "user.")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file has beside its content; ``mtime_ns`` of None leaves the time as it is."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int | None
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def set(self, descriptor: int, *, mode: int | None = None) -> int:
        """Set all on an open file or directory; return the number of attributes that its file system does not take.

        ``mode`` replaces the recorded one. Raises `UsageError` for an owner that this user cannot set.
        """
        skipped = set_xattrs(descriptor, (it for it in self.xattrs if it[0] != CAPABILITY))
        try:
            os.fchown(descriptor, self.uid, self.gid)
        except OSError as error:
            raise _owner_error(error, self.uid, self.gid) from error
        os.fchmod(descriptor, self.mode if mode is None else mode)
        # After the owner, because a change of owner removes capabilities.
        skipped += set_xattrs(descriptor, (it for it in self.xattrs if it[0] == CAPABILITY))
        if self.mtime_ns is not None:
            os.utime(descriptor, ns=(self.mtime_ns, self.mtime_ns))
        return skipped

    def set_on_link(self, name: bytes, parent: int) -> None:
        """Set owner and time of a symbolic link."""
        try:
            os.chown(name, self.uid, self.gid, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            raise _owner_error(error, self.uid, self.gid) from error
        if self.mtime_ns is not None:
            os.utime(name, ns=(self.mtime_ns, self.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def equal(self, found: os.stat_result, *, is_link: bool = False) -> bool:
        """Whether a file has this mode, owner and time; the mode of a symbolic link does not count."""
        return (
            (is_link or found.st_mode & 0o7777 == self.mode)
            and (found.st_uid, found.st_gid) == (self.uid, self.gid)
            and self.mtime_ns in (None, found.st_mtime_ns)
        )

    def equal_xattrs(self, descriptor: int) -> bool:
        """Whether a file has these extended attributes, as far as its file system has any."""
        try:
            names = [name for name in os.listxattr(descriptor) if name.startswith(_COMPARED)]
            return {name: os.getxattr(descriptor, name) for name in names} == dict(self.xattrs)
        except OSError as error:
            return error.errno == ENOTSUP


def set_xattrs(descriptor: int, xattrs: Iterable[tuple[str, bytes]]) -> int:
    """Set extended attributes; return the number of those that the file system does not take."""
    skipped = 0
    for name, value in xattrs:
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno != ENOTSUP:
                raise
            skipped += 1
    return skipped


def _owner_error(error: OSError, uid: int, gid: int) -> Exception:
    """Return what a failed change of the owner means."""
    if error.errno not in (EPERM, EINVAL):
        return error
    return UsageError(
        f"the owner {uid}:{gid} cannot be set: {error.strerror}", hint="To give all files to this user, use --owner me."
    )


def has_capability(number: int) -> bool:
    """Whether this process has a capability (proc_pid_status(5), ``CapEff``); without /proc, whether it is root's."""
    with suppress(OSError):
        if found := re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE):
            return bool(int(found[1], 16) >> number & 1)
    return os.geteuid() == 0
