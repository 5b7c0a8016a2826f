"""Every way in which fps-bundle can fail, with the exit code that scripts rely on.

BundlerError                 1   a bug of ours, when raised bare
├── UsageError               2   the command line makes no sense
├── ModelError               3   the model, or state that cannot be exported
├── EngineError              4   Docker or Podman
├── StoreError               5   a registry, layout or archive, or the network to it
├── NotFoundError            6   a container, bundle or image that was named
├── AuthorizationError       7   a registry said no
├── IntegrityError           8   damaged or hostile content
├── TrustError               9   a signature, the policy for signers, an older bundle
│   └── PrivilegeError       9   no trusted signature for files with more rights, or for launch settings
├── BaseMismatchError       10   the base image is another one
├── NoSpaceError            11   a disk is full, ours or the engine's
└── BusyError               12   another fps-bundle holds a lock, or won a race

A run that a signal ended exits with 128 and the number of the signal, as shells do: SIGINT 130, SIGTERM 143, SIGHUP 129.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from signal import SIGHUP, SIGINT, SIGTERM

INTERRUPTED = {SIGINT: 130, SIGTERM: 143, SIGHUP: 129}
"""The exit code of a run that one of these signals ended; it cleans up first, as after an error."""


class BundlerError(Exception):
    """What failed and where, in one sentence; ``hint`` says what to do next, ``command`` is a command for that."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command = command


class UsageError(BundlerError):
    """The command line or a reference cannot be understood."""

    exit_code = 2


class ModelError(BundlerError):
    """The model cannot be reached, its call failed, or its state cannot be exported."""

    exit_code = 3
    log: str | None = None
    """What its container wrote last; None where nobody has asked."""


class EngineError(BundlerError):
    """The container engine cannot be reached, refused a request, or gave an answer that is not understood."""

    exit_code = 4


class StoreError(BundlerError):
    """A store, or the network to it, failed."""

    exit_code = 5


class NotFoundError(BundlerError):
    """A container, bundle or image that was named is not there."""

    exit_code = 6


class AuthorizationError(BundlerError):
    """A registry wants credentials, or refused those it got."""

    exit_code = 7


class IntegrityError(BundlerError):
    """Content is damaged, or is not what it says it is."""

    exit_code = 8


class TrustError(BundlerError):
    """Nobody who may vouches for the bundle, or an older one comes after a newer."""

    exit_code = 9


class PrivilegeError(TrustError):
    """A bundle without a trusted signature brings files with more rights than its base, or changes what the image runs."""


@dataclass(frozen=True)
class Mismatch:
    """One property in which a local image differs from the recorded base."""

    what: str
    recorded: str
    found: str


class BaseMismatchError(BundlerError):
    """The base image differs from the one the bundle was made on."""

    exit_code = 10

    def __init__(self, message: str, *, mismatches: Sequence[Mismatch] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.mismatches = tuple(mismatches)


class NoSpaceError(BundlerError):
    """A disk is full."""

    exit_code = 11


class BusyError(BundlerError):
    """Another fps-bundle holds a lock, or won a race; run the same command again later."""

    exit_code = 12


def joined(where: str, errors: Iterable[BundlerError]) -> str:
    """What several errors about one place say, with the place named once."""
    told = dict.fromkeys(error.message.removeprefix(f"{where}: ") for error in errors)
    return f"{where}: {'; '.join(told)}"


@contextmanager
def disk_errors(where: object) -> Iterator[None]:
    """Turn an ``OSError`` of the body into a `NoSpaceError` or a `StoreError` about ``where``."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise NoSpaceError(
                f"no space left while writing {where}", hint="Free some space there and run the same command again."
            ) from error
        hint = "Check the path, its medium and its permissions."
        if error.errno == EFBIG:
            hint = "The file system there takes no file so large; for FAT32 copy to a file with --split fat32."
        raise StoreError(f"{where}: {error.strerror or error}", hint=hint) from error
