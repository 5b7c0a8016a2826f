"""A layer's blob as a stream, while another thread rebuilds it."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable

from bundler.errors import IntegrityError
from bundler.format.content import Descriptor, Digest
from bundler.format.layer_writer import Blob
from bundler.streams import BLOCK, Stream, pieces

_PENDING = 2
"""Blocks that wait to be read; each is a compressed frame or a few of them."""


class _ClosedError(Exception):
    """The reader of the stream needs no more of it."""


class RebuiltStream(Stream):
    """The bytes of the ``expected`` blob, which ``produce`` writes in a thread that starts at the first read.

    `read` raises what the producer raises, and `IntegrityError` in place of the last bytes of another blob. The last bytes are
    given only after the producer has returned, and never more bytes than the expected blob has.
    """

    def __init__(self, expected: Descriptor, produce: Callable[[Blob], object]) -> None:
        self._expected = expected
        self._produce = produce
        self._blocks: queue.Queue[bytes | BaseException | None] = queue.Queue(_PENDING)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._block = memoryview(b"")
        self._is_ended = False

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if not self._block and not self._is_ended:
            self._block = memoryview(self._next())
        data = bytes(self._block[:size])
        self._block = self._block[size:]
        return data

    def close(self) -> None:
        self._closed.set()
        while self._thread and self._thread.is_alive():
            try:
                self._blocks.get(timeout=0.05)  # the producer may wait for room
            except queue.Empty:
                continue

    def _next(self) -> bytes:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="rebuild", daemon=True)
            self._thread.start()
        block = self._blocks.get()
        if isinstance(block, BaseException):
            self._is_ended = True
            raise block
        self._is_ended = block is None
        return block or b""

    def _run(self) -> None:
        try:
            blob = _QueuedBlob(self._expected, self._put_block)
            self._produce(blob)
            blob.deliver()
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _put_block(self, data: bytes) -> None:
        if self._closed.is_set():
            raise _ClosedError
        if data:
            self._blocks.put(data)

    def _put(self, end: BaseException | None) -> None:
        if not self._closed.is_set():
            self._blocks.put(end)


class _QueuedBlob:
    """A new blob whose bytes go to the reader of a `RebuiltStream`; the last ones by `deliver`."""

    def __init__(self, expected: Descriptor, put: Callable[[bytes], None]) -> None:
        self._expected = expected
        self._put = put
        self._hash = hashlib.sha256()
        self._size = 0
        self._last = b""

    def write(self, data: bytes) -> int:
        for piece in pieces(data):
            self._hash.update(piece)
        self._size += len(data)
        if data and self._size <= self._expected.size:
            self._put(self._last)
            self._last = data
        else:  # it is another blob, of any length
            self._put(b"")
        return len(data)

    def settle(self) -> None:
        """Do nothing, as no bytes are on a disk."""

    def finish(self, media_type: str) -> Descriptor:
        return Descriptor(media_type, Digest(self._hash.hexdigest()), self._size)

    def deliver(self) -> None:
        """Put the last bytes; raises `IntegrityError` for another blob than the expected one."""
        if (self._hash.hexdigest(), self._size) != (self._expected.digest.hex, self._expected.size):
            raise IntegrityError(
                f"the layer {self._expected.digest} should have {self._expected.size} bytes, and was rebuilt with {self._size}"
            )
        self._put(self._last)

    def discard(self) -> None:
        """Do nothing, as nothing is kept."""
