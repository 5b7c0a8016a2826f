"""Blob uploads to a registry (distribution spec, "Pushing blobs")."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import requests

from bundler.concurrency.pipeline import ahead
from bundler.errors import IntegrityError, NotFoundError, StoreError
from bundler.format.content import Descriptor
from bundler.stores.registry.client import RegistryClient, number_in
from bundler.stores.registry.limits import Limits, throttle
from bundler.stores.registry.retry import ATTEMPTS, TransientError
from bundler.stores.registry.session import SEND_BLOCK
from bundler.stores.registry.upload_record import UploadRecord
from bundler.streams import BLOCK, Opener, Readable, read_exactly, skip

SMALLEST_CHUNK = 1 << 20
LARGEST_CHUNK = 8 << 20
"""Bytes of one PATCH; each upload holds two chunks in memory: the current one, for retries, and the next one."""
QUICK, SLOW = 2.0, 20.0
"""Seconds for a chunk: after a quicker one the chunk size is doubled, after a slower one halved."""
SYNC_AFTER = 0.2
"""Seconds for a chunk after which its record is synced to disk, to survive a power failure."""
_PIECES = 64
"""Steps in which a chunk is sent, each with the connection's timeout; only quick links get large chunks."""
SMALLEST_PIECE = 64 << 10
"""Smallest piece of a chunk, in bytes, after larger pieces failed."""
SESSIONS = 3
"""Lost upload sessions of one blob, without progress between them, after which the upload fails."""
ADVISED_PARTS = {"4MiB": 4 << 20, "1MiB": 1 << 20}
"""Part sizes to advise when larger blobs cannot be uploaded."""

_BYTES = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


class _SessionLostError(Exception):
    """The registry lost an upload session."""


class _NoChunksError(Exception):
    """The registry accepts a blob in one request only, or in chunks too large for memory."""


@dataclass(frozen=True)
class _UploadSession:
    """An upload session: its URL, the bytes that the registry has, and the minimum chunk size."""

    location: str
    offset: int = 0
    least: int = 0


class BlobUpload:
    """Uploads one blob in chunks, retries each chunk, and resumes the upload of an earlier run.

    distribution 2.8.2 keeps complete chunks; a connection that breaks inside a chunk loses the session.
    """

    def __init__(self, client: RegistryClient, repository: str, blob: Descriptor, where: str, has: Callable[[], bool]) -> None:
        self._client = client
        self._repository = repository
        self._blob = blob
        self._where = where
        self._has = has
        self._record = UploadRecord(client.registry, blob.digest, blob.size)
        self._chunk = SMALLEST_CHUNK
        self._piece = LARGEST_CHUNK
        self._position = 0
        self._furthest = 0
        self._sent = 0

    def send(self, opened: Opener) -> int:
        """Upload the blob; returns the bytes sent, with those of lost sessions. Raises `StoreError` when all attempts failed."""
        with self._record.held():
            try:
                self._send_in_sessions(opened)
            except IntegrityError:
                self._record.remember(self._repository, "")
                raise
            self._record.arrived(self._repository)
        return self._sent

    def _send_in_sessions(self, opened: Opener) -> None:
        lost = 0
        while lost < SESSIONS:
            before = self._furthest
            try:
                self._send_in_chunks(self._resume_session() or self._start_session(), opened)
                return
            except _NoChunksError:
                self._client.retried(self._send_whole, opened)
                return
            except _SessionLostError as error:
                reason = str(error)
                self._record.remember(self._repository, "")
                if self._has():  # only the answer was lost
                    return
            lost = 1 if self._furthest > before else lost + 1
        raise self._give_up(f"{self._where}: the registry lost the upload of {self._blob.digest} {SESSIONS} times: {reason}")

    def _give_up(self, message: str, hint: str = "") -> StoreError:
        """Return the error for a blob that cannot be uploaded; advises smaller parts where that can help."""
        size = next((size for size, count in ADVISED_PARTS.items() if self._blob.size > count), None)
        if not size:
            return StoreError(message, hint=hint or "Check the link, then run the same command again.")
        hint = "The link breaks too often for a blob of this size. Send it in parts:"
        return StoreError(message, hint=hint, command=f"fps-bundle copy … --split {size}")

    def _start_session(self) -> _UploadSession:
        url = self._client.url(f"{self._repository}/blobs/uploads/")
        response = self._client.request("POST", url, self._where, (202,))
        return self._reached(_UploadSession(self._location(response, url), 0, number_in(response, "OCI-Chunk-Min-Length") or 0))

    def _reached(self, session: _UploadSession) -> _UploadSession:
        """Note the position of the upload."""
        self._position = session.offset
        self._furthest = max(self._furthest, session.offset)
        return session

    def _resume_session(self) -> _UploadSession | None:
        """Return the session of an earlier run, if the registry still has it."""
        location = self._record.session(self._repository)
        if not location:
            return None
        try:
            session = _UploadSession(self._client.follow(location, location), least=self._record.least())
            resumed = self._client.retried(self.status, session)
        except (StoreError, _SessionLostError):
            return None
        return resumed if resumed.offset < self._blob.size else None

    def status(self, session: _UploadSession) -> _UploadSession:
        """Ask the registry for the position of an upload; raises `_SessionLostError`."""
        try:
            response = self._client.request_once("GET", session.location, self._where, (200, 202, 204), {})
        except NotFoundError as error:
            raise _SessionLostError(error.message) from error
        return self._reached(replace(session, location=self._location(response, session.location), offset=_offset(response) or 0))

    def _send_in_chunks(self, session: _UploadSession, opened: Opener) -> None:
        if session.least > LARGEST_CHUNK:
            raise _NoChunksError
        with opened() as content:
            skip(content, session.offset)
            with ahead(self._chunks(content, session)) as chunks:
                for chunk in chunks:
                    session = self._send_next(session, chunk)

    def _chunks(self, content: Readable, session: _UploadSession) -> Iterator[bytearray]:
        left = self._blob.size - session.offset
        while left:
            chunk = read_exactly(content, min(left, max(self._chunk, session.least)), f"the blob {self._blob.digest}")
            left -= len(chunk)
            yield chunk

    def _send_next(self, session: _UploadSession, data: bytearray) -> _UploadSession:
        """Send the next chunk; returns the session after it."""
        started = time.monotonic()
        chunk = _Chunk(self, session, data, self._piece)
        is_last = session.offset + len(data) == self._blob.size
        try:
            sent = self._client.retried_with_progress(chunk.finish if is_last else chunk.send, lambda: self._position)
        except TransientError as error:
            message = f"{error.message}; no progress of {self._blob.digest} after byte {self._position} in {ATTEMPTS} attempts"
            raise self._give_up(message, error.hint) from error
        self._sent += len(data)
        self._piece = min(chunk.piece * 2, LARGEST_CHUNK)
        seconds = time.monotonic() - started
        if not is_last:
            self._record.remember(self._repository, sent.location, sent.least, sync=seconds > SYNC_AFTER)
        self._adapt(seconds)
        return sent

    def _adapt(self, seconds: float) -> None:
        if seconds < QUICK:
            self._chunk = min(self._chunk * 2, LARGEST_CHUNK)
        elif seconds > SLOW:
            self._chunk = max(self._chunk // 2, SMALLEST_CHUNK)

    def upload_chunk(self, session: _UploadSession, data: memoryview) -> _UploadSession:
        """Upload a chunk (PATCH); returns the session after it."""
        end = session.offset + len(data)
        headers = {"Content-Type": _BYTES, "Content-Range": f"{session.offset}-{end - 1}"}
        options = {"headers": headers, "data": _ChunkBody(data, self._client.limits)}
        response = self._client.request_once("PATCH", session.location, self._where, (202, 404, 405, 416, 501), options)
        if response.status_code in (405, 501) or (response.status_code == 404 and not session.offset):
            raise _NoChunksError("the registry does not accept chunks")
        if response.status_code == 404:
            raise _SessionLostError("the registry does not know it")
        if response.status_code == 416 or (_offset(response) or end) != end:
            raise TransientError(f"{self._where}: the registry has another range of the blob than was sent")
        return self._reached(replace(session, location=self._location(response, session.location), offset=end))

    def commit(self, session: _UploadSession, data: memoryview | _BlobBody) -> None:
        """Send the last bytes and complete the upload (PUT)."""
        mark = "&" if "?" in session.location else "?"
        url = f"{session.location}{mark}digest={self._blob.digest}"
        body = _ChunkBody(data, self._client.limits) if isinstance(data, memoryview) else data
        options = {"headers": {"Content-Type": _BYTES}, "data": body}
        response = self._client.request_once("PUT", url, self._where, (201, 400, 404, 416), options)
        if response.status_code != 201:
            raise _SessionLostError(f"it answered {response.status_code} to the last bytes")

    def _send_whole(self, opened: Opener) -> None:
        try:
            self.commit(self._start_session(), _BlobBody(opened, self._blob.size, self._client.limits))
            self._sent += self._blob.size
        except _SessionLostError as error:
            raise TransientError(f"{self._where}: {error}") from error

    def _location(self, response: requests.Response, known: str) -> str:
        return self._client.follow(response.headers.get("Location", known), known)


class _Chunk:
    """One chunk with its position after a failed attempt; after a failure smaller pieces are sent."""

    def __init__(self, upload: BlobUpload, session: _UploadSession, data: bytearray, piece: int) -> None:
        self._upload = upload
        self._session = session
        self._data = memoryview(data)
        self._tried = False
        self.piece = piece
        """Bytes per request; halved after each attempt without progress."""

    def send(self) -> _UploadSession:
        self._resume()
        while self._data:
            self._send_piece()
        return self._session

    def finish(self) -> _UploadSession:
        """Send the last chunk and complete the upload."""
        self._resume()
        while len(self._data) > self.piece:
            self._send_piece()
        self._upload.commit(self._session, self._data)
        return self._session

    def _send_piece(self) -> None:
        fits = len(self._data) - self.piece >= self._session.least
        piece = self._data[: self.piece] if fits else self._data
        self._session = self._upload.upload_chunk(self._session, piece)
        self._data = self._data[len(piece) :]

    def _resume(self) -> None:
        """Before a retry, ask for the position of the upload; raises `_SessionLostError`."""
        if not self._tried:
            self._tried = True
            return
        current = self._upload.status(self._session)
        arrived = current.offset - self._session.offset
        if not 0 <= arrived <= len(self._data):
            raise _SessionLostError(f"it reports {current.offset} bytes, which were not all sent")
        if not arrived:
            self.piece = max(min(self.piece, len(self._data)) // 2, SMALLEST_PIECE, self._session.least)
        self._session, self._data = current, self._data[arrived:]


class _ChunkBody:
    """A request body from memory that can be sent several times, with the rate limit."""

    def __init__(self, data: memoryview, limits: Limits) -> None:
        self._data = data
        self._limits = limits

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[memoryview]:
        step = max(SEND_BLOCK, len(self._data) // _PIECES)
        for start in range(0, len(self._data), step):
            piece = self._data[start : start + step]
            if self._limits.rate:
                throttle(self._limits.rate).take(len(piece))
            yield piece


class _BlobBody:
    """A request body of a whole blob, which is opened again for each attempt."""

    def __init__(self, opened: Opener, size: int, limits: Limits) -> None:
        self._opened = opened
        self._size = size
        self._limits = limits

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        with self._opened() as content:
            while data := content.read(BLOCK):
                yield from _ChunkBody(memoryview(data), self._limits)


def _offset(response: requests.Response) -> int | None:
    """Return the bytes that the registry reports; for distribution 2.8.2 ``0-0`` means no byte or one byte."""
    found = _RANGE.fullmatch(response.headers.get("Range", ""))
    if not found:
        return None
    return int(found[1]) + 1 if int(found[1]) else 0
