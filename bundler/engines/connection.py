"""The connection to an engine, and what becomes of its errors; the only importer of ``docker``."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

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
    "LONG_TIMEOUT",
    "TIMEOUT",
    "APIClient",
    "NotFound",
    "NullResource",
    "connect",
    "errors",
    "failure",
    "gpus",
    "memory",
    "message",
    "refused",
    "stream",
    "url",
]

TIMEOUT = 120
"""Seconds that a request may take; loading and saving an image may be silent for `LONG_TIMEOUT`."""

LONG_TIMEOUT = 3600
_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
_PLAIN = {"Accept-Encoding": "identity"}  # the engine would spend its time on gzip


def connect(address: Address) -> APIClient:
    """A client for an engine on this host, or one that speaks TCP, with TLS where there are certificates."""
    with errors("connecting to the engine"):
        return APIClient(base_url=address.url, version="auto", timeout=TIMEOUT, tls=_tls(address) or False)


def _tls(address: Address) -> docker.tls.TLSConfig | None:
    if not address.certificates:
        return None
    ca, certificate, key = (str(path) if path.is_file() else None for path in map(address.certificates.joinpath, _CERTIFICATES))
    pair = (certificate, key) if certificate and key else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=address.verify)


def url(api: APIClient, endpoint: str) -> str:
    """Where an endpoint of the engine's API is."""
    return f"{api.base_url}/v{api.api_version}{endpoint}"


@contextmanager
def stream(api: APIClient, doing: str, endpoint: str, **parameters: bytes) -> Iterator[Readable]:
    """The body of a GET, as it comes."""
    address = url(api, endpoint)
    adapter = api.get_adapter(address)
    if isinstance(adapter, UnixHTTPAdapter):
        target = f"{urlsplit(address).path}?{urlencode(parameters)}"
        with errors(doing), unixstream.get(adapter.socket_path, target, TIMEOUT, LONG_TIMEOUT) as (status, body):
            if status != 200:
                raise failure(doing, _told(body.read(), str(status)))
            yield body
        return
    with (
        errors(doing),
        api.get(address, params=parameters, headers=_PLAIN, stream=True, timeout=(TIMEOUT, LONG_TIMEOUT)) as response,
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
    if wanted != "all" and not (wanted.isascii() and wanted.isdigit()):
        raise UsageError(f"{wanted!r} names no GPUs", hint="Write all, a number, or device=0,1.")
    return [docker.types.DeviceRequest(count=-1 if wanted == "all" else int(wanted), capabilities=[["gpu"]])]


def memory(wanted: str) -> int:
    """The bytes that ``docker run --memory`` asks for."""
    try:
        return int(parse_bytes(wanted))
    except DockerException:
        raise UsageError(f"{wanted!r} is no amount of memory", hint="Write a number of bytes, or one with k, m or g.") from None


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
