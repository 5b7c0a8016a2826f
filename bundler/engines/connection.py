"""The connection to an engine, and what becomes of its errors; the only importer of ``docker``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import docker
import requests
import urllib3
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound, NullResource, TLSParameterError
from docker.transport.unixconn import UnixHTTPAdapter
from docker.utils import parse_bytes

from bundler.engines import unixstream
from bundler.engines.address import Address
from bundler.errors import BundlerError, EngineError, NoSpaceError, UsageError
from bundler.format.content import BLOCK, Readable

__all__ = [
    "TIMEOUT",
    "Client",
    "NotFound",
    "NullResource",
    "connect",
    "errors",
    "failure",
    "gpus",
    "memory",
    "message",
    "patience",
    "refused",
    "stream",
    "url",
]

TIMEOUT = 60
"""Seconds for which an engine may leave a request without an answer, and a stream without a byte."""

LEAST_RATE = 10 << 20
"""Bytes per second that an engine is expected to load, save or commit, for which it sends nothing until it is done."""

_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
_PLAIN = {"Accept-Encoding": "identity"}  # the engine would spend its time on gzip


class Client(APIClient):
    """A client that refuses a request about a container while a stream of that container is open.

    An engine locks a container that it streams (Docker, and Podman from 4.4 on): such a request would wait for the end of the
    stream, and the stream for the caller that reads it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._streamed: set[str] = set()

    @contextmanager
    def streaming(self, container: str) -> Iterator[None]:
        """Refuse requests about a container for the length of the block; an empty name is of none."""
        self._check_idle(container)
        self._streamed.add(container)
        try:
            yield
        finally:
            self._streamed.discard(container)

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        parts = urlsplit(str(url)).path.split("/")
        if "containers" in parts[:-1]:
            self._check_idle(unquote(parts[parts.index("containers") + 1]))
        return super().request(method, url, *arguments, **options)

    def _check_idle(self, container: str) -> None:
        if container and container in self._streamed:
            raise RuntimeError(f"a request about the container {container} while it is streamed would never be answered")


def connect(address: Address) -> Client:
    """A client for an engine on this host, or one that speaks TCP, with TLS where there are certificates."""
    with errors("connecting to the engine"):
        return Client(base_url=address.url, version="auto", timeout=TIMEOUT, tls=_tls(address) or False)


def patience(size: int) -> float:
    """Seconds for which an engine may be silent while it works on so many bytes."""
    return TIMEOUT + size / LEAST_RATE


def _tls(address: Address) -> docker.tls.TLSConfig | None:
    if not address.certificates:
        return None
    ca, certificate, key = (str(path) if path.is_file() else None for path in map(address.certificates.joinpath, _CERTIFICATES))
    pair = (certificate, key) if certificate and key else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=address.verify)


def url(api: Client, endpoint: str) -> str:
    """Where an endpoint of the engine's API is."""
    return f"{api.base_url}/v{api.api_version}{endpoint}"


@contextmanager
def stream(
    api: Client, doing: str, endpoint: str, *, container: str = "", silence: float = TIMEOUT, **parameters: bytes
) -> Iterator[Readable]:
    """The body of a GET, as it comes; the engine may be silent for ``silence`` seconds at a time.

    A stream of a ``container`` excludes all requests about that container (see `Client`).
    """
    address = url(api, endpoint)
    adapter = api.get_adapter(address)
    with errors(doing):
        if isinstance(adapter, UnixHTTPAdapter):
            target = f"{urlsplit(address).path}?{urlencode(parameters)}"
            with (
                api.streaming(container),
                unixstream.get(adapter.socket_path, target, TIMEOUT, silence) as (status, body),
            ):
                if status != 200:
                    raise failure(doing, _told(body.read(), str(status)))
                yield body
            return
        with (
            api.get(address, params=parameters, headers=_PLAIN, stream=True, timeout=(TIMEOUT, silence)) as response,
            api.streaming(container),
        ):
            response.raise_for_status()
            yield io.BufferedReader(_RawBody(response.raw), BLOCK)


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn what docker and requests raise into our errors, saying what was being done."""
    try:
        yield
    except APIError as error:
        raise failure(doing, str(error.explanation or error)) from error
    except requests.exceptions.HTTPError as error:
        raise failure(doing, message(error.response)) from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError, BlockingIOError) as error:
        raise EngineError(
            f"the engine gave no answer in time while {doing}",
            hint="Look at the load of its host and at its log, then run the command again.",
        ) from error
    except (
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
        HTTPException,
        DockerException,
        TLSParameterError,
        OSError,
    ) as error:
        raise EngineError(
            f"the engine cannot be reached while {doing}: {_root(error)}",
            hint="Is it running, and may you use its socket? DOCKER_HOST or --host name another one.",
        ) from error


def failure(doing: str, message: str) -> BundlerError:
    """The error for what an engine says of itself."""
    if "no space left on device" in message:
        return NoSpaceError(
            f"the engine's disk is full while {doing}", hint="Free some space there, for example with `docker image prune`."
        )
    return EngineError(f"the engine failed while {doing}: {message.strip()[:500]}")


def refused(error: BaseException) -> bool:
    """Whether the engine answered, and said no; else nobody knows what it did."""
    return isinstance(error.__cause__, APIError)


def message(response: requests.Response) -> str:
    """What the engine says of a request that it refused."""
    reason = f"{response.status_code} {response.reason}"
    try:
        return _told(response.content, reason)
    except requests.exceptions.RequestException:
        return reason


def _told(body: bytes, otherwise: str) -> str:
    """The message in the body of a refusal (Docker Engine API, "Errors")."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, LookupError, TypeError):
        return otherwise


def gpus(wanted: str) -> list[docker.types.DeviceRequest]:
    """The GPUs that ``docker run --gpus`` asks for: ``all``, a number, or ``device=0,1``."""
    kind, equals, devices = wanted.partition("=")
    if equals and kind == "device":
        return [docker.types.DeviceRequest(device_ids=devices.split(","), capabilities=[["gpu"]])]
    if wanted != "all" and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise UsageError(f"{wanted!r} names no GPUs", hint="Write all, a number, or device=0,1.")
    return [docker.types.DeviceRequest(count=-1 if wanted == "all" else int(wanted), capabilities=[["gpu"]])]


def memory(wanted: str) -> int:
    """The bytes that ``docker run --memory`` asks for."""
    try:
        return int(parse_bytes(wanted))
    except (DockerException, OverflowError):
        raise UsageError(
            f"{wanted[:40]!r} is no amount of memory", hint="Write a number of bytes, or one with k, m or g."
        ) from None


def _root(error: BaseException) -> str:
    reason = error.args[-1] if error.args else None
    return _root(reason) if isinstance(reason, BaseException) else str(reason or error)


class _RawBody(io.RawIOBase):
    """The body of a response of the engine, for a buffer to read from."""

    def __init__(self, raw: urllib3.BaseHTTPResponse) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
