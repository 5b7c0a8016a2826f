"""Faults of entries and layers: a code for programs and a complete sentence for users."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bundler.format import paths

_MAX_SHOWN = 1000
"""Most characters of a path that a sentence shows."""


class FaultCode(Enum):
    """A rule that an entry, a layer or a bundle breaks; the value is the predicate of the sentence, ``{}`` a detail."""

    KIND = "is a {}, which a bundle cannot hold"
    PATH = "is not a clean path"
    PATH_LENGTH = "is longer than a file system allows"
    LINK_PATH = "is a hard link whose target is not a clean path"
    SYMLINK_TARGET = "is a symbolic link whose target no file system can hold"
    OWNER = "has a user or group ID outside of 0 to {}"
    TIME = "has a time that no file system supports"
    CAPABILITY = "has a capability, but is not a file"
    ATTRIBUTE = "has an extended attribute that is not part of the state"
    WHITEOUT_FORM = "is a whiteout that is not in canonical form"

    ENTRY_LIMIT = "is one entry more than a bundle may have"
    AFTER_WHITEOUTS = "comes after the whiteouts"
    ORDER = "comes twice or out of order"
    NO_DIRECTORY = "comes without its directory"
    OUTSIDE = "lies outside of the exported paths"
    DATED_DIRECTORY = "is a directory with a time or attributes, which only the last layer may hold"
    EARLY_SYMLINK = "is a symbolic link, which only the last layer may hold"
    LINK_TARGET = "is a hard link whose target does not come before it in its export"
    LINK_RIGHTS = "is a hard link with other rights than its file"
    UNLISTED_PRIVILEGED = "is a privileged file that the metadata does not list"
    OTHER_LAYER = "differs from the entry of this path in another layer"
    REMOVED = "is removed according to the metadata"
    UNLISTED_WHITEOUT = "is a whiteout that the metadata does not list at this position"
    WHITEOUT_PARENT = "comes twice, or differs from the metadata"

    NOT_REMOVED = "must not hold {}, but must hold its directory"
    MISSING_WHITEOUT = "lacks the whiteout of {}"
    LINK_TO_NO_FILE = "has a hard link to an entry that is not a file in it"
    EXPORTS = "holds other exports than the metadata lists"
    FILE_COUNT = "holds {}; every layer but the last must hold one file"
    MISSING_DIRECTORY = "lacks a directory of the state that another layer holds"
    MISSING_PRIVILEGED = "lacks the privileged file {}, as do all other layers"
    TOTALS = "is the last one, and {} has {}, which the metadata contradicts"


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule."""

    code: FaultCode
    sentence: str

    @classmethod
    def at(cls, path: str, code: FaultCode, *details: object) -> Fault:
        """The fault of the entry with this path."""
        return cls(code, f"{shown(path)} {code.value.format(*details)}")

    @classmethod
    def of(cls, layer: str, code: FaultCode, *details: object) -> Fault:
        """The fault of a whole layer."""
        return cls(code, f"{layer} {code.value.format(*details)}")


def shown(path: str) -> str:
    """A path for a message, in quotes."""
    return repr(paths.encode(path)[:_MAX_SHOWN])
