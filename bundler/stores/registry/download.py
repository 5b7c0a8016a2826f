"""Blob downloads that resume over new connections."""

from __future__ import annotations

import re

import requests

from bundler.format.content import Descriptor
from bundler.stores.registry.client import RegistryClient
from bundler.stores.registry.limits import throttle
from bundler.stores.registry.response_body import RECEIVE_BLOCK, RateWatch, body_blocks
from bundler.stores.registry.retry import LEAST_PROGRESS, TransientError
from bundler.streams import Stream

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Download(Stream):
    """The unverified bytes of a blob from ``start`` to ``end``.

    After a broken connection a new request resumes at the break (RFC 9110, section 14, "Range Requests"). When the server
    returns no range, or another range, the blob is read from the beginning.
    """

    def __init__(
        self, client: RegistryClient, url: str, blob: Descriptor, where: str, start: int = 0, end: int | None = None
    ) -> None:
        self._client = client
        self._url = url
        self._blob = blob
        self._where = where
        self._position = start
        self._end = blob.size if end is None else end
        self._whole = False
        self._response: requests.Response | None = None
        self._pending = bytearray()
        self._client.retried(self._connect)

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._end - self._position if size < 0 else size
        if self._position >= self._end:
            return self._surplus(wanted)
        data = self._client.retried(self._some, max(1, min(wanted, self._end - self._position)))
        self._position += len(data)
        return data

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _some(self, size: int) -> bytes:
        """Return up to ``size`` next bytes; after a broken connection the received bytes are kept, or returned if enough."""
        watch = RateWatch(self._client.limits.timeout, self._where)
        try:
            while len(self._pending) < size:
                data = self._receive(size - len(self._pending))
                if not data:
                    break
                self._pending += data
                watch.saw(len(data))
        except TransientError:
            self.close()
            if watch.is_slow or len(self._pending) < min(size, LEAST_PROGRESS):
                raise
        given, self._pending = bytes(self._pending[:size]), self._pending[size:]
        return given

    def _receive(self, size: int) -> bytes:
        response = self._response or self._connect()
        with self._client.network_errors():
            data: bytes = response.raw.read1(min(size, RECEIVE_BLOCK))
        self._throttle(len(data))
        return data

    def _throttle(self, count: int) -> None:
        if rate := self._client.limits.rate:
            throttle(rate).take(count)

    def _connect(self) -> requests.Response:
        begin = 0 if self._whole else self._position + len(self._pending)
        headers = {"Accept-Encoding": "identity"} | self._range(begin)
        options = {"headers": headers, "stream": True}
        response = self._client.request_once("GET", self._url, self._where, (200, 206, 416), options)
        if self._gives(response, begin):
            self._response = response
            return response
        response.close()
        self._whole = True
        raise TransientError(f"{self._where}: the registry returned another range of the blob {self._blob.digest} than requested")

    def _range(self, begin: int) -> dict[str, str]:
        if self._end < self._blob.size and not self._whole:
            return {"Range": f"bytes={begin}-{self._end - 1}"}
        return {"Range": f"bytes={begin}-"} if begin else {}

    def _gives(self, response: requests.Response, begin: int) -> bool:
        """Whether a response starts at the next byte, or was read up to it."""
        if response.status_code == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            return found is not None and int(found[1]) == begin and int(found[2]) == self._end - 1
        if response.status_code == 200:
            with self._client.network_errors():
                for block in body_blocks(response, self._position + len(self._pending), self._client.limits.timeout):
                    self._throttle(len(block))
            return True
        return False

    def _surplus(self, size: int) -> bytes:
        """Return a byte after the last one, if the server sends any; a verifying reader then fails."""
        if self._response is None or not size:
            return b""
        try:
            with self._client.network_errors():
                return bytes(self._response.raw.read(1))
        except TransientError:
            return b""
        finally:
            self.close()
