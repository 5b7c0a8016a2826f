"""The errors of fps-bundle, and their exit codes, which are a stable interface for scripts.

BundlerError                 1   a bug in fps-bundle, when raised itself
├── UsageError               2   an invalid command line or reference
├── ModelError               3   the model, or state that cannot be exported
├── EngineError              4   Docker or Podman
├── StoreError               5   a registry, layout or archive, or the network to it
├── NotFoundError            6   a container, bundle or image does not exist
│   └── MissingSourceError   6   the source of a delta
├── AuthorizationError       7   a registry refused the credentials, or needs some
├── IntegrityError           8   damaged or hostile content
│   └── OtherCompressionError 8  a layer of a delta whose blob this libzstd cannot make again
├── TrustError               9   no trusted signature, or a downgrade
│   └── PrivilegeError       9   unsigned privileged files or launch settings
├── BaseMismatchError       10   the base image differs from the recorded one
├── NoSpaceError            11   a disk of this host or of the engine is full
└── BusyError               12   another fps-bundle holds a lock, or finished first

A signal ends a run with exit code 128 plus its number, as in shells: SIGINT 130, SIGTERM 143, SIGHUP 129.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from signal import SIGHUP, SIGINT, SIGTERM

INTERRUPTED = {SIGINT: 130, SIGTERM: 143, SIGHUP: 129}
"""The exit codes after a signal. The command cleans up first, as after an error."""


class BundlerError(Exception):
    """One sentence says what failed and where; ``hint`` says what to do next, ``command`` is a command to copy for that."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command = command


class UsageError(BundlerError):
    """The command line or a reference is invalid."""

    exit_code = 2


class ModelError(BundlerError):
    """The model cannot be reached, its call failed, or its state cannot be exported."""

    exit_code = 3
    log: str | None = None
    """The last lines of the container's log; None if the log was not read."""


class EngineError(BundlerError):
    """The container engine cannot be reached, refused a request, or sent an invalid answer."""

    exit_code = 4


class StoreError(BundlerError):
    """A registry, layout or archive failed, or the network to it."""

    exit_code = 5


class NotFoundError(BundlerError):
    """A container, bundle or image does not exist."""

    exit_code = 6


class MissingSourceError(NotFoundError):
    """The bundle that a delta was made from is not here."""


class AuthorizationError(BundlerError):
    """A registry requires credentials, or refused the given ones."""

    exit_code = 7


class IntegrityError(BundlerError):
    """Content is damaged or invalid."""

    exit_code = 8


class OtherCompressionError(IntegrityError):
    """A layer has the right content, but this version of libzstd compresses it to another blob."""


class TrustError(BundlerError):
    """No trusted signature, or a downgrade to an older bundle."""

    exit_code = 9


class PrivilegeError(TrustError):
    """A bundle without a trusted signature adds privileged files, or changes the launch settings of the image."""


@dataclass(frozen=True)
class Mismatch:
    """A property in which a local image differs from the recorded base."""

    what: str
    recorded: str
    found: str


class BaseMismatchError(BundlerError):
    """The base image differs from the one that the bundle was made on."""

    exit_code = 10

    def __init__(self, message: str, *, mismatches: Sequence[Mismatch] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.mismatches = tuple(mismatches)


class NoSpaceError(BundlerError):
    """A disk is full."""

    exit_code = 11


class BusyError(BundlerError):
    """Another fps-bundle holds a lock, or finished first; run the same command again later."""

    exit_code = 12


def joined(where: str, errors: Iterable[BundlerError]) -> str:
    """Join the messages of several errors about one place, and name the place once."""
    messages = dict.fromkeys(error.message.removeprefix(f"{where}: ") for error in errors)
    return f"{where}: {'; '.join(messages)}"


@contextmanager
def disk_errors(where: object) -> Iterator[None]:
    """Raise an ``OSError`` of the block as a `NoSpaceError` or `StoreError` about ``where``."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise NoSpaceError(
                f"no space left while writing {where}", hint="Free some space there, then run the same command again."
            ) from error
        hint = "Check the path, its medium and its permissions."
        if error.errno == EFBIG:
            hint = "Split the file, because it is too large for the file system: copy with --split fat32."
        raise StoreError(f"{where}: {error.strerror or error}", hint=hint) from error
