"""Layers that travel while the rest of their bundle is still packed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from bundler.errors import BundlerError
from bundler.format.content import Descriptor
from bundler.format.reference import LocalReference
from bundler.ports import NOBODY, Progress, Spool, Store
from bundler.watched import WatchedOpener

_FAREWELL = 2.0
"""Seconds for which a transfer may end what it does."""
_PATIENCE = 60.0
"""Seconds that one chunk may take over a slow link; what takes longer is sent again by the copy, beside it."""


class Sender:
    """Brings blobs of the local store to another one, one after the other; no name there moves.

    Nobody watches, and whatever fails is left: the copy of the whole bundle, which comes later, tells of all of it.
    """

    def __init__(self, source: Store, target: Store) -> None:
        self._source = source
        self._target = target
        self._todo: queue.SimpleQueue[Descriptor | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        self.sent = 0
        """Bytes of the blobs that have arrived."""

    def add(self, blob: Descriptor) -> None:
        self._todo.put(blob)

    def stop(self, seconds: float) -> bool:
        """Break off, and say whether that was done in so many seconds; what has come of a blob is there for who goes on with it."""
        self._stop.set()
        self._todo.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _send(self) -> None:
        with suppress(BundlerError), self._target.upload("", self._source) as upload:
            while (blob := self._todo.get()) and not self._stop.is_set():
                if not upload.has(blob):
                    upload.put(blob, WatchedOpener(partial(self._source.open, blob), NOBODY, self._stop))
                    self.sent += blob.size


@contextmanager
def sender(spool: Spool, target: Store | LocalReference, progress: Progress, *, enabled: bool) -> Iterator[Sender | None]:
    """A sender for the length of the block, where the target is one that blobs may come to in any order, over a network."""
    if not enabled or isinstance(target, LocalReference) or target.ordered or target.rereadable:
        yield None
        return
    found = Sender(spool.open(LocalReference("")), target)
    try:
        yield found
    except BaseException:
        found.stop(_FAREWELL)
        raise
    if not found.stop(_FAREWELL):
        progress.note("a part of a layer is still on its way")
        found.stop(_PATIENCE)
