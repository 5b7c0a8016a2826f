"""Pausing of a container by its cgroup; it is resumed even if this process is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bundler.engines import pause_guard
from bundler.engines.process.freezer import Freezer
from bundler.engines.process.frozen_cgroup import FrozenCgroup
from bundler.engines.process.frozen_proof import FrozenProof
from bundler.engines.process.identity import ProcessId
from bundler.engines.proven_pause import proven
from bundler.errors import ModelError
from bundler.format.content import Digest
from bundler.localfs import state_directory
from bundler.ports import Container

_WATCHDOG = "bundler.engines.process.watchdog"


@contextmanager
def paused(container: Container, process: ProcessId, freezer: Freezer) -> Iterator[None]:
    """Freeze a container for the length of the block; raises `ModelError` after it unless the container stood still."""
    content = FrozenCgroup.of(freezer).write()
    with pause_guard.watched(state_directory.directory(), _name(freezer), content, _WATCHDOG) as note:
        if freezer.is_asked:
            note.settle()
            raise ModelError(
                f"the cgroup {freezer.path} is frozen already",
                hint="Resume the container first, for example with:",
                command=freezer.thawing,
            )
        try:
            freezer.freeze()
        except BaseException:
            if not freezer.is_asked:
                note.settle()  # it was not frozen, or is thawed again
            raise
        with proven(FrozenProof(process, freezer, container.name), freezer.thaw, note.settle):
            yield


def _name(freezer: Freezer) -> str:
    """The name of a note: the path of a cgroup is too long for it, and has slashes."""
    return f"cgroup-{Digest.of(str(freezer.directory).encode('utf-8', 'surrogateescape')).hex[:32]}"
