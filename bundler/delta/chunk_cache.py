"""Decompressed chunks of a delta's source: the last ones in memory, those that are needed again in a temporary file."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bundler.concurrency.pipeline import WORKERS
from bundler.delta.chunks import StoredLayer
from bundler.errors import disk_errors

_IN_MEMORY = 3
"""Chunks that are held in memory after they were read, of 4 MiB at most."""
_MOST_AHEAD = WORKERS + 4
"""Chunks that are held in memory until they are read: as many as a pipeline of readers is ahead."""
_LARGE = 64 << 10
"""Bytes of a chunk that is worth a place in the temporary file."""
_FILE = "the temporary copy of the source's files"


@dataclass(frozen=True)
class StoredChunk:
    """The frame of a chunk in the blob of a layer, from ``offset`` to ``end``, and the size of its content."""

    layer: int
    offset: int
    end: int
    size: int


class ChunkCache:
    """Reads chunks of layers; each is decompressed at most twice, and once more if it was prepared in vain."""

    def __init__(self, layers: Sequence[StoredLayer]) -> None:
        self._layers = layers
        self._lock = threading.Lock()
        self._in_memory: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._seen: set[tuple[int, int]] = set()
        self._in_file: dict[tuple[int, int], int] = {}
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self._size = 0
        self._reader = ThreadPoolExecutor(1, "read-ahead")
        self._ahead: OrderedDict[tuple[int, int], Future[bytes]] = OrderedDict()

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._file.close()

    def expect(self, chunk: StoredChunk) -> None:
        """Begin to decompress a chunk that the same thread will read next."""
        if self._is_wanted(chunk):
            self._put_ahead(chunk, self._reader.submit(self._content, chunk))

    def prepare(self, chunk: StoredChunk) -> None:
        """Decompress a chunk that another thread will read soon."""
        if self._is_wanted(chunk):
            ready: Future[bytes] = Future()
            ready.set_result(self._content(chunk))
            self._put_ahead(chunk, ready)

    def _is_wanted(self, chunk: StoredChunk) -> bool:
        key = chunk.layer, chunk.offset
        with self._lock:
            return not (key in self._in_memory or key in self._in_file or key in self._ahead)

    def _put_ahead(self, chunk: StoredChunk, content: Future[bytes]) -> None:
        with self._lock:
            self._ahead[chunk.layer, chunk.offset] = content
            if len(self._ahead) > _MOST_AHEAD:
                self._ahead.popitem(last=False)

    def _content(self, chunk: StoredChunk) -> bytes:
        return self._layers[chunk.layer].chunk(chunk.offset, chunk.end, chunk.size)

    def frame(self, chunk: StoredChunk) -> tuple[bytes, bytes]:
        """Return the frame of a chunk, and its content, which is not kept; raises `IntegrityError` for a damaged one."""
        layer = self._layers[chunk.layer]
        frame = layer.frame(chunk.offset, chunk.end)
        return frame, self._read_ahead(chunk) or layer.content(frame, chunk.size)

    def read(self, chunk: StoredChunk, start: int, size: int) -> bytes | memoryview:
        """Return up to ``size`` bytes of a chunk, from ``start`` on; raises `IntegrityError` for a damaged one.

        They can be part of a chunk in memory, which stays there as long as they are used.
        """
        key = chunk.layer, chunk.offset
        with self._lock:
            data = self._in_memory.get(key)
            if data is not None:
                self._in_memory.move_to_end(key)
            elif key in self._in_file:
                with disk_errors(_FILE):
                    return os.pread(self._file.fileno(), min(size, chunk.size - start), self._in_file[key] + start)
        if data is None:
            data = self._read_ahead(chunk) or self._content(chunk)
            self._keep(key, data)
        return data if not start and size >= len(data) else memoryview(data)[start : start + size]

    def _read_ahead(self, chunk: StoredChunk) -> bytes | None:
        """Take the content of a chunk that is prepared or expected, and wait for it if need be; None for another chunk."""
        with self._lock:
            ahead = self._ahead.pop((chunk.layer, chunk.offset), None)
        return ahead.result() if ahead else None

    def _keep(self, key: tuple[int, int], data: bytes) -> None:
        with self._lock:
            self._in_memory[key] = data
            if len(self._in_memory) > _IN_MEMORY:
                self._in_memory.popitem(last=False)
            if len(data) < _LARGE:
                return
            if key in self._seen and key not in self._in_file:
                with disk_errors(_FILE):
                    os.pwrite(self._file.fileno(), data, self._size)
                self._in_file[key] = self._size
                self._size += len(data)
            self._seen.add(key)
