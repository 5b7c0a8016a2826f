"""A blob on its way into a registry (distribution spec, "Pushing blobs")."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import requests

from bundler.concurrency.pipeline import ahead
from bundler.errors import IntegrityError, NotFoundError, StoreError
from bundler.format.content import Descriptor
from bundler.stores.archive.multi_file import skip
from bundler.stores.registry.client import RegistryClient, number_in
from bundler.stores.registry.limits import Limits, throttle
from bundler.stores.registry.retry import ATTEMPTS, TransientError
from bundler.stores.registry.session import SEND_BLOCK
from bundler.stores.registry.upload_record import Memory
from bundler.streams import BLOCK, Opener, Readable, read_exactly

SMALLEST_CHUNK = 1 << 20
LARGEST_CHUNK = 8 << 20
"""Bytes of one PATCH; each upload holds one chunk in memory, for the case that it has to be sent again, and the next one."""
QUICK, SLOW = 2.0, 20.0
"""Seconds for a chunk: after a quicker one the next is twice as large, after a slower one half as large."""
DEAR = 0.2
"""Seconds for a chunk that nobody wants to send twice, so that its record is to outlive a power failure."""
_PIECES = 64
"""In how many steps a chunk is handed to the network, each with the connection's timeout; only quick links get large chunks."""
SMALLEST_PIECE = 64 << 10
"""Bytes of a chunk that are still sent at once when larger pieces of it broke off."""
SESSIONS = 3
"""How many uploads of one blob may be lost one after the other, none of which came further than those before."""
ADVISED_PARTS = {"4MiB": 4 << 20, "1MiB": 1 << 20}
"""The parts to split a bundle into whose blobs do not get through, for those that are larger."""

_BYTES = "application/octet-stream"
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


class _SessionLostError(Exception):
    """The registry knows nothing of an upload any more."""


class _NoChunksError(Exception):
    """The registry takes a blob in one request only, or in chunks that are too large to be held."""


@dataclass(frozen=True)
class _Session:
    """An upload as the registry knows it: where to go on, how many bytes it has, and the fewest it takes at a time."""

    location: str
    offset: int = 0
    least: int = 0


class BlobUpload:
    """Sends one blob, in chunks that may each be lost and sent again, and goes on where an earlier run was cut off.

    distribution 2.8.2 keeps what whole chunks have brought; a connection that breaks inside one costs the session.
    """

    def __init__(self, client: RegistryClient, repository: str, blob: Descriptor, where: str, has: Callable[[], bool]) -> None:
        self._client = client
        self._repository = repository
        self._blob = blob
        self._where = where
        self._has = has
        self._memory = Memory(client.registry, blob.digest, blob.size)
        self._chunk = SMALLEST_CHUNK
        self._piece = LARGEST_CHUNK
        self._come = 0
        self._furthest = 0
        self._sent = 0

    def send(self, opened: Opener) -> int:
        """Give the bytes that were sent, those of lost uploads included; raises `StoreError` when the blob does not get through."""
        with self._memory.held():
            try:
                self._send_somehow(opened)
            except IntegrityError:
                self._memory.remember(self._repository, "")
                raise
            self._memory.arrived(self._repository)
        return self._sent

    def _send_somehow(self, opened: Opener) -> None:
        lost = 0
        while lost < SESSIONS:
            before = self._furthest
            try:
                self._send_in_chunks(self._resumed() or self._begin(), opened)
                return
            except _NoChunksError:
                self._client.retried(self._send_whole, opened)
                return
            except _SessionLostError as error:
                reason = str(error)
                self._memory.remember(self._repository, "")
                if self._has():  # only the answer was lost
                    return
            lost = 1 if self._furthest > before else lost + 1
        raise self._too_large(f"{self._where}: the registry lost the upload of {self._blob.digest} {SESSIONS} times: {reason}")

    def _too_large(self, message: str, hint: str = "") -> StoreError:
        """That this blob does not get through; smaller ones may."""
        size = next((size for size, count in ADVISED_PARTS.items() if self._blob.size > count), None)
        if not size:
            return StoreError(message, hint=hint or "Check the link, then run the same command again.")
        hint = "The link breaks too often for so large a blob. Send it in parts:"
        return StoreError(message, hint=hint, command=f"fps-bundle copy … --split {size}")

    def _begin(self) -> _Session:
        url = self._client.url(f"{self._repository}/blobs/uploads/")
        response = self._client.request("POST", url, self._where, (202,))
        return self._at(_Session(self._location(response, url), 0, number_in(response, "OCI-Chunk-Min-Length") or 0))

    def _at(self, session: _Session) -> _Session:
        """Remember how far the upload has come."""
        self._come = session.offset
        self._furthest = max(self._furthest, session.offset)
        return session

    def _resumed(self) -> _Session | None:
        """The upload of an earlier run, if the registry still has it."""
        known = self._memory.session(self._repository)
        if not known:
            return None
        try:
            session = _Session(self._client.follow(known, known), least=self._memory.least())
            found: _Session = self._client.retried(self.ask, session)
        except (StoreError, _SessionLostError):
            return None
        return found if found.offset < self._blob.size else None

    def ask(self, session: _Session) -> _Session:
        """How far an upload has come; raises `_SessionLostError`."""
        try:
            response = self._client.request_once("GET", session.location, self._where, (200, 202, 204), {})
        except NotFoundError as error:
            raise _SessionLostError(error.message) from error
        return self._at(replace(session, location=self._location(response, session.location), offset=_offset(response) or 0))

    def _send_in_chunks(self, session: _Session, opened: Opener) -> None:
        if session.least > LARGEST_CHUNK:
            raise _NoChunksError
        with opened() as content:
            skip(content, session.offset)
            with ahead(self._chunks(content, session)) as chunks:
                for chunk in chunks:
                    session = self._send_next(session, chunk)

    def _chunks(self, content: Readable, session: _Session) -> Iterator[bytearray]:
        left = self._blob.size - session.offset
        while left:
            chunk = read_exactly(content, min(left, max(self._chunk, session.least)), f"the blob {self._blob.digest}")
            left -= len(chunk)
            yield chunk

    def _send_next(self, session: _Session, data: bytearray) -> _Session:
        """Send one more chunk; gives the upload as it is then."""
        started = time.monotonic()
        chunk = _Chunk(self, session, data, self._piece)
        is_last = session.offset + len(data) == self._blob.size
        try:
            sent: _Session = self._client.retried(chunk.finish if is_last else chunk.send, come=lambda: self._come)
        except TransientError as error:
            message = f"{error.message}; {self._blob.digest} came no further than byte {self._come} in {ATTEMPTS} attempts"
            raise self._too_large(message, error.hint) from error
        self._sent += len(data)
        self._piece = min(chunk.piece * 2, LARGEST_CHUNK)
        seconds = time.monotonic() - started
        if not is_last:
            self._memory.remember(self._repository, sent.location, sent.least, safely=seconds > DEAR)
        self._adapt(seconds)
        return sent

    def _adapt(self, seconds: float) -> None:
        if seconds < QUICK:
            self._chunk = min(self._chunk * 2, LARGEST_CHUNK)
        elif seconds > SLOW:
            self._chunk = max(self._chunk // 2, SMALLEST_CHUNK)

    def patch(self, session: _Session, data: memoryview) -> _Session:
        """Send a chunk; gives the upload as it is then."""
        end = session.offset + len(data)
        headers = {"Content-Type": _BYTES, "Content-Range": f"{session.offset}-{end - 1}"}
        options = {"headers": headers, "data": _Body(data, self._client.limits)}
        response = self._client.request_once("PATCH", session.location, self._where, (202, 404, 405, 416, 501), options)
        if response.status_code in (405, 501) or (response.status_code == 404 and not session.offset):
            raise _NoChunksError("the registry takes no chunks")
        if response.status_code == 404:
            raise _SessionLostError("it is unknown there")
        if response.status_code == 416 or (_offset(response) or end) != end:
            raise TransientError(f"{self._where}: the registry has another part of the blob than it was sent")
        return self._at(replace(session, location=self._location(response, session.location), offset=end))

    def put(self, session: _Session, data: memoryview | _Whole) -> None:
        """Send the last bytes, and have the registry take the blob in."""
        mark = "&" if "?" in session.location else "?"
        url = f"{session.location}{mark}digest={self._blob.digest}"
        body = _Body(data, self._client.limits) if isinstance(data, memoryview) else data
        options = {"headers": {"Content-Type": _BYTES}, "data": body}
        response = self._client.request_once("PUT", url, self._where, (201, 400, 404, 416), options)
        if response.status_code != 201:
            raise _SessionLostError(f"it answered {response.status_code} to the last bytes")

    def _send_whole(self, opened: Opener) -> None:
        try:
            self.put(self._begin(), _Whole(opened, self._blob.size, self._client.limits))
            self._sent += self._blob.size
        except _SessionLostError as error:
            raise TransientError(f"{self._where}: {error}") from error

    def _location(self, response: requests.Response, known: str) -> str:
        return self._client.follow(response.headers.get("Location", known), known)


class _Chunk:
    """One chunk, and how far it has come after an attempt that failed; what broke off is sent in smaller pieces."""

    def __init__(self, upload: BlobUpload, session: _Session, data: bytearray, piece: int) -> None:
        self._upload = upload
        self._session = session
        self._data = memoryview(data)
        self._tried = False
        self.piece = piece
        """Bytes that are sent at once; fewer after each attempt that brought nothing."""

    def send(self) -> _Session:
        self._find_out()
        while self._data:
            self._send_piece()
        return self._session

    def finish(self) -> _Session:
        """Send it as the last one, and have the registry take the blob in."""
        self._find_out()
        while len(self._data) > self.piece:
            self._send_piece()
        self._upload.put(self._session, self._data)
        return self._session

    def _send_piece(self) -> None:
        fits = len(self._data) - self.piece >= self._session.least
        piece = self._data[: self.piece] if fits else self._data
        self._session = self._upload.patch(self._session, piece)
        self._data = self._data[len(piece) :]

    def _find_out(self) -> None:
        """Before another attempt, ask what the last one has brought; raises `_SessionLostError`."""
        if not self._tried:
            self._tried = True
            return
        found = self._upload.ask(self._session)
        come = found.offset - self._session.offset
        if not 0 <= come <= len(self._data):
            raise _SessionLostError(f"it has {found.offset} bytes of it, which were not all sent")
        if not come:
            self.piece = max(min(self.piece, len(self._data)) // 2, SMALLEST_PIECE, self._session.least)
        self._session, self._data = found, self._data[come:]


class _Body:
    """Bytes as the body of a request that can be sent several times, at the rate that is granted."""

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


class _Whole:
    """A whole blob as the body of a request; it is opened anew each time that it is sent."""

    def __init__(self, opened: Opener, size: int, limits: Limits) -> None:
        self._opened = opened
        self._size = size
        self._limits = limits

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        with self._opened() as content:
            while data := content.read(BLOCK):
                yield from _Body(memoryview(data), self._limits)


def _offset(response: requests.Response) -> int | None:
    """How many bytes a registry says it has; an upload with none is ``0-0`` to distribution 2.8.2, as is one with one."""
    found = _RANGE.fullmatch(response.headers.get("Range", ""))
    if not found:
        return None
    return int(found[1]) + 1 if int(found[1]) else 0
