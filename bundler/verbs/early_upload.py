"""Early upload: layers are sent while the rest of their bundle is still being packed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

from bundler.format.content import Descriptor, Digest
from bundler.ports import Store, Upload
from bundler.streams import NULL_PROGRESS, Progress, WatchedOpener

_JOIN_TIMEOUT = 2.0
"""Seconds to wait for the sending thread when the upload ends."""


class Sender:
    """Sends blobs from a store into an upload, one at a time, in a thread; the copy of their bundle continues the upload.

    ``blobs`` may block until the next blob is packed, and must end. The first failure ends the sending without an error:
    the copy sends that blob again and reports the failure.
    """

    def __init__(self, source: Store, upload: Upload, blobs: Iterable[Descriptor]) -> None:
        self.upload = upload
        self.stop = threading.Event()
        """Aborts the transfer under way when it is set."""
        self._source = source
        self._blobs = blobs
        self._is_open = True
        self._under_way: tuple[Digest, Future[None]] | None = None
        self._position = 0  # bytes of the blob under way
        self._progress: Progress = NULL_PROGRESS
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def begin_no_more(self) -> Digest | None:
        """Start no further blob; return the digest of the blob under way."""
        with self._lock:
            self._is_open = False
            return self._under_way[0] if self._under_way and not self._under_way[1].done() else None

    def finish(self, digest: Digest, progress: Progress) -> bool:
        """Wait for the blob under way, report its bytes to ``progress``, and return whether it was sent."""
        assert self._under_way, "begin_no_more has returned its digest"
        under_way, sent = self._under_way
        assert under_way == digest
        with self._lock:
            self._progress = progress
            progress.advance(self._position)
        if not sent.exception():
            return True
        progress.advance(-self._position)
        return False

    def advance(self, count: int) -> None:
        with self._lock:
            self._position += count
            self._progress.advance(count)

    def close(self) -> None:
        """Abort the transfer under way and end the thread."""
        self.stop.set()
        self.begin_no_more()
        self._thread.join(_JOIN_TIMEOUT)

    def _send_all(self) -> None:
        for blob in self._blobs:
            sent: Future[None] = Future()
            with self._lock:
                if not self._is_open:
                    return
                self._under_way, self._position = (blob.digest, sent), 0
            try:
                self._send(blob)
            except BaseException as error:
                sent.set_exception(error)
                return
            sent.set_result(None)

    def _send(self, blob: Descriptor) -> None:
        if self.upload.has(blob):
            self.advance(blob.size)
            return
        self.upload.put(blob, WatchedOpener(partial(self._source.open, blob), self, self.stop))


@contextmanager
def sending(source: Store, target: Store, blobs: Iterable[Descriptor]) -> Iterator[Sender | None]:
    """Send blobs for the length of the block; None where the target is on a disk, or needs its blobs in one order."""
    if target.ordered or target.rereadable:
        yield None
        return
    with target.upload("", source) as upload:
        sender = Sender(source, upload, blobs)
        try:
            yield sender
        finally:
            sender.close()
