"""Values that the ports take and return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bundler.format.content import Descriptor, Digest
    from bundler.format.metadata import Platform


@dataclass(frozen=True)
class EngineInfo:
    """Name and version of an engine; ``image_store`` is ``classic``, ``containerd`` or ``podman``, or empty without an engine."""

    name: str
    version: str
    image_store: str
    root: str
    """The engine's data directory on this host; empty for a remote engine."""


@dataclass(frozen=True)
class HealthCheck:
    """A container's health check. It is unhealthy after ``retries`` failures in a row; times are in seconds."""

    interval: float
    timeout: float
    retries: int


@dataclass(frozen=True)
class Container:
    """A container at the time of the lookup; ``addresses`` are its IPs, ``published`` its host endpoints by TCP port."""

    id: str
    name: str
    image_id: str
    image_name: str
    running: bool
    paused: bool
    addresses: tuple[str, ...]
    exposed: tuple[int, ...]
    published: Mapping[int, str]
    mounts: Mapping[str, str]
    """Mount destinations and their kinds: ``volume``, ``bind`` or ``tmpfs``."""
    instance: str = ""
    """Identifies one start of the container; opaque outside of the engine adapter."""
    health_check: HealthCheck | None = None
    restart_policy: str = ""
    """What the engine does when the container ends: ``always``, ``unless-stopped``, ``on-failure``, or empty for nothing."""
    labels: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    """The result of its health check: ``starting``, ``healthy`` or ``unhealthy``; empty without one."""
    anonymous_volumes: tuple[str, ...] = ()
    """Mount destinations of volumes without a name of their own."""
    auto_remove: bool = False
    """Whether the engine removes the container when it ends."""


@dataclass(frozen=True)
class Image:
    """An image of the engine; ``config`` is its OCI ``config`` object, as the engine reports it.

    ``id`` is a digest of the config, or in containerd's image store of a manifest or an index.
    """

    id: str
    names: tuple[str, ...]
    repo_digests: tuple[str, ...]
    platform: Platform
    diff_ids: tuple[Digest, ...]
    config: Mapping[str, Any]
    created: str
    """Creation time of the config (RFC 3339); empty if absent."""
    size: int

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}


@dataclass(frozen=True)
class PathInfo:
    """The type of a path; ``link_target`` is None unless it is a symlink."""

    link_target: str | None
    is_directory: bool


@dataclass(frozen=True)
class RunOptions:
    """Options of ``docker run``; an empty one leaves the engine's default."""

    network: str = ""
    memory: str = ""
    gpus: str = ""
    environment: Sequence[str] = ()


class Seen(NamedTuple):
    """The stat(2) data of an entry: mode with type, length, times in nanoseconds, inode.

    ``size`` is the number of bytes that a capture will read, 0 for the second name of a file; ``allocated`` is that without holes.
    An entry that is not part of the state, such as a FIFO, has only a type and an inode.
    """

    path: str
    mode: int
    length: int
    modified: int
    changed: int
    inode: int
    size: int
    allocated: int


@dataclass(frozen=True)
class Named:
    """A bundle in a store and its name there."""

    name: str
    manifest: Descriptor


@dataclass(frozen=True)
class Displaced:
    """A bundle that lost its name to another one; ``reference`` is its present reference, empty if it was removed."""

    digest: Digest
    reference: str = ""


@dataclass(frozen=True)
class Checked:
    """The result of checking a signature: principals, key, and in ``fault`` why the signature is not accepted.

    Without a ``fingerprint`` it is not a signature of the message.
    """

    key_type: str = ""
    fingerprint: str = ""
    principals: tuple[str, ...] = ()
    fault: str = ""
