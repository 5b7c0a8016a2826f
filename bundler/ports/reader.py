"""The files of one container, as a capture reads them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from bundler.format.tar import Entry
    from bundler.ports.values import PathInfo, Seen
    from bundler.streams import Readable


class Reader(Protocol):
    """The file system of one container; all readers yield the same entries."""

    @property
    def sees_all(self) -> bool:
        """Whether it fails at an entry that it cannot read. An engine's archive may omit one without an error."""
        ...

    def stat(self, path: str) -> PathInfo | None:
        """Return the type of a path, or None; symlinks among its parents are followed."""
        ...

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        """Yield everything at and below these topmost resolved paths, and the directories above them, in walking order.

        Raises `ModelError` for a mount that cannot be read exactly. Read a content before the next entry is requested.
        Send no request about this container until the generator is used up or closed: an engine locks a container
        while it streams it.
        """
        ...


@runtime_checkable
class Surveyor(Protocol):
    """A `Reader` with access to stat(2) data."""

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        """Yield everything at and below these paths except ignored paths, in walking order, without reading any content."""
        ...

    def capacity(self) -> int:
        """Size of the container's file system in bytes, used and free."""
        ...
