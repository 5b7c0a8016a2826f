"""Layers that travel while the rest of their bundle is still packed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

from bundler.format.content import Descriptor, Digest
from bundler.format.reference import LocalReference
from bundler.ports import Spool, Store, Upload
from bundler.streams import NULL_PROGRESS, Progress, WatchedOpener

_FAREWELL = 2.0
"""Seconds for which a transfer that is not wanted any more may end what it does."""


class Sender:
    """Brings blobs of a store into an upload, one after the other; the copy of their bundle goes on with both.

    Nobody watches before that, and what fails is left: the copy tries it again, and tells of it.
    """

    def __init__(self, source: Store, upload: Upload) -> None:
        self.upload = upload
        self.stop = threading.Event()
        """Breaks off what is under way, when it is set."""
        self._source = source
        self._todo: queue.SimpleQueue[Descriptor | None] = queue.SimpleQueue()
        self._blobs: dict[Digest, Future[None]] = {}
        self._come = 0  # bytes of the blob under way
        self._progress: Progress = NULL_PROGRESS
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def add(self, blob: Descriptor) -> None:
        self._blobs[blob.digest] = Future()
        self._todo.put(blob)

    def begin_no_more(self) -> Digest | None:
        """Leave what has not been begun to others; gives the blob that is under way."""
        self._todo.put(None)
        for future in self._blobs.values():
            future.cancel()
        return next((digest for digest, future in self._blobs.items() if future.running()), None)

    def finish(self, digest: Digest, progress: Progress) -> bool:
        """Wait for the blob that is under way, tell ``progress`` how far it comes, and say whether it has arrived."""
        with self._lock:
            self._progress = progress
            progress.advance(self._come)
        if not self._blobs[digest].exception():
            return True
        progress.advance(-self._come)
        return False

    def advance(self, count: int) -> None:
        with self._lock:
            self._come += count
            self._progress.advance(count)

    def close(self) -> None:
        self.stop.set()
        self._todo.put(None)
        self._thread.join(_FAREWELL)

    def _send_all(self) -> None:
        while blob := self._todo.get():
            future = self._blobs[blob.digest]
            if not future.set_running_or_notify_cancel():
                return
            try:
                self._send(blob)
            except BaseException as error:
                future.set_exception(error)
                return
            future.set_result(None)

    def _send(self, blob: Descriptor) -> None:
        self._come = 0
        if self.upload.has(blob):
            self.advance(blob.size)
            return
        self.upload.put(blob, WatchedOpener(partial(self._source.open, blob), self, self.stop))


@contextmanager
def sender(spool: Spool, target: Store | LocalReference, *, enabled: bool) -> Iterator[Sender | None]:
    """A sender for the length of the block, where the target is one that blobs may come to in any order, over a network."""
    if not enabled or isinstance(target, LocalReference) or target.ordered or target.rereadable:
        yield None
        return
    source = spool.open(LocalReference(""))
    with target.upload("", source) as upload:
        found = Sender(source, upload)
        try:
            yield found
        finally:
            found.close()
