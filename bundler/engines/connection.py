"""The connection to an engine, and the conversion of its errors; only this module and ``transport`` import ``docker``."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import docker
import requests
import urllib3
from docker import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION
from docker.errors import APIError, DockerException, NotFound, NullResource, TLSParameterError
from docker.transport.unixconn import UnixHTTPAdapter
from docker.utils import parse_bytes, version_lt
from requests import Response

from bundler.engines import answers, transport, unix_http
from bundler.engines.address import Address
from bundler.errors import BundlerError, EngineError, NoSpaceError, UsageError
from bundler.streams import BLOCK, Readable

__all__ = [
    "LOOK_AT_LOG",
    "STREAM_ERRORS",
    "STREAM_TIMEOUTS",
    "TIMEOUT",
    "Client",
    "NotFound",
    "NullResource",
    "Response",
    "body",
    "connect",
    "errors",
    "failure",
    "gpus",
    "is_refusal",
    "memory",
    "message",
    "patience",
    "read_lines",
    "stream",
    "url",
]

TIMEOUT = 60
"""Seconds after which a request without an answer, or a stream without a byte, fails."""

LEAST_RATE = 10 << 20
"""Expected rate of load, save and commit in bytes per second; the engine sends nothing until it is done."""

MAX_REFUSAL = 64 << 10
"""Largest error message of an engine in bytes."""
MAX_LINE = 1 << 20
"""Longest line of a stream of documents in bytes."""

LOOK_AT_LOG = "Read the engine's log, then run the command again."
"""Hint for a failure inside of the engine."""

_ANOTHER = "Check that the engine runs, or choose another one with DOCKER_HOST or --host."
STREAM_TIMEOUTS = (TimeoutError, urllib3.exceptions.ReadTimeoutError)
"""Raised by a stream that sends nothing."""
STREAM_ERRORS = (HTTPException, urllib3.exceptions.HTTPError, OSError)
"""Raised by a stream that breaks; includes the timeouts."""

_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError, BlockingIOError)
_BROKEN = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead, urllib3.exceptions.IncompleteRead)
_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
_PLAIN = {"Accept-Encoding": "identity"}  # gzip costs the engine time, and lets a small answer expand to a large one


class Client(APIClient):
    """A client for an untrusted engine: answers are bounded in size and time, and redirects are not followed.

    It refuses a request about a container while a stream of that container is open. An engine locks a container while it
    streams it (Docker, and Podman from 4.4 on): the request would wait for the stream, and the stream for its caller.
    """

    def __init__(self, *, where: str = "", **options: Any) -> None:
        self.where = where or str(options["base_url"])
        self._streamed: set[str] = set()
        super().__init__(**options)
        self.headers.update(_PLAIN)
        if not isinstance(self._general_configs.get("HttpHeaders", {}), dict):  # type: ignore[attr-defined]
            raise TypeError("HttpHeaders is not an object")

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        super().mount(prefix, transport.adapter(adapter))

    @cached_property
    def engine(self) -> answers.Version:
        """Product and versions of the engine, requested once: Podman takes up to a second for the answer."""
        return answers.read(answers.Version, self.version(api_version=False))

    def negotiate(self) -> None:
        """Use the engine's API version."""
        version = self.engine.api_version
        if version_lt(version, MINIMUM_DOCKER_API_VERSION):
            raise answers.BadAnswer(f"its API version is {version}, and {MINIMUM_DOCKER_API_VERSION} is required")
        self._version = version

    @contextmanager
    def streaming(self, container: str) -> Iterator[None]:
        """Refuse requests about a container for the length of the block; an empty name has no effect."""
        self._check_idle(container)
        self._streamed.add(container)
        try:
            yield
        finally:
            self._streamed.discard(container)

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> Response:
        parts = urlsplit(str(url)).path.split("/")
        if "containers" in parts[:-1]:
            self._check_idle(unquote(parts[parts.index("containers") + 1]))
        wants_stream, options = options.get("stream"), {"timeout": TIMEOUT, **options, "stream": True}
        with transport.limited():
            response = super().request(method, url, *arguments, **options)
            if 300 <= response.status_code < 400 and response.status_code != requests.codes.not_modified:
                response.close()
                raise answers.BadAnswer(f"it redirects to another address ({response.status_code})")
            if not response.ok:
                _keep(response, _refusal(response))
            elif not wants_stream:
                _keep(response, _content(response))
        return response

    def get_redirect_target(self, resp: Response) -> None:
        """Follow no redirect: an engine sends none."""
        del resp

    def _result(self, response: Response, json: bool = False, binary: bool = False) -> Any:
        """Return an answer for the library's own calls, with bounded JSON."""
        self._raise_for_status(response)  # type: ignore[attr-defined]
        if json:
            return answers.parse(response.content)
        return response.content if binary else response.text

    def _check_idle(self, container: str) -> None:
        if container and container in self._streamed:
            raise RuntimeError(f"the container {container} is being streamed, and the engine would not answer a request about it")


def connect(address: Address, where: str = "") -> Client:
    """Connect to an engine on this host, or over TCP, with TLS if there are certificates.

    ``where`` is the engine's name in messages.
    """
    where = where or address.url
    with _errors("", where):
        try:
            api = Client(
                where=where,
                base_url=address.url,
                version=MINIMUM_DOCKER_API_VERSION,
                timeout=TIMEOUT,
                tls=_tls(address) or False,
            )
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise UsageError(
                f"invalid configuration of the Docker client: {str(error)[:200]}",
                hint="Correct config.json in ~/.docker, or in the directory of DOCKER_CONFIG.",
            ) from error
        api.negotiate()
    return api


def patience(size: int) -> float:
    """Return the seconds for which an engine may send nothing while it processes ``size`` bytes."""
    return TIMEOUT + size / LEAST_RATE


def _tls(address: Address) -> docker.tls.TLSConfig | None:
    if not address.certificates:
        return None
    ca, certificate, key = (str(path) if path.is_file() else None for path in map(address.certificates.joinpath, _CERTIFICATES))
    pair = (certificate, key) if certificate and key else None
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=address.verify)


def url(api: Client, endpoint: str) -> str:
    """Return the URL of an API endpoint."""
    return f"{api.base_url}/v{api.api_version}{endpoint}"


@contextmanager
def stream(
    api: Client, doing: str, endpoint: str, *, container: str = "", silence: float = TIMEOUT, **parameters: bytes
) -> Iterator[Readable]:
    """Stream the body of a GET; the engine may send nothing for ``silence`` seconds at a time.

    A stream of a ``container`` excludes all requests about that container (see `Client`).
    """
    address = url(api, endpoint)
    adapter = api.get_adapter(address)
    with errors(api, doing):
        if isinstance(adapter, UnixHTTPAdapter):
            target = f"{urlsplit(address).path}?{urlencode(parameters)}"
            with (
                api.streaming(container),
                unix_http.get(adapter.socket_path, target, TIMEOUT, silence) as (status, content),
            ):
                if status != 200:
                    raise failure(doing, _error_message(content.read(), str(status)))
                yield content
            return
        with api.get(address, params=parameters, stream=True, timeout=(TIMEOUT, silence)) as response, api.streaming(container):
            response.raise_for_status()
            yield body(response, silence)


def read_lines(response: Response, silence: float) -> Iterator[bytes]:
    """Yield the lines of an answer as they arrive; raises `BadAnswer` for one that is too long."""
    content = body(response, silence)
    while line := content.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise answers.BadAnswer(f"a line is longer than {MAX_LINE} bytes")
        yield line


def errors(api: Client, doing: str) -> AbstractContextManager[None]:
    """Convert errors of docker and requests to ours, with the action and the engine in the message."""
    return _errors(doing, api.where)


@contextmanager
def _errors(doing: str, where: str) -> Iterator[None]:
    during = f" while {doing}" if doing else ""
    try:
        yield
    except APIError as error:
        raise failure(doing, str(error.explanation or error)) from error
    except requests.exceptions.HTTPError as error:
        raise failure(doing, message(error.response)) from error
    except (answers.BadAnswer, requests.exceptions.InvalidJSONError, RecursionError) as error:
        raise EngineError(
            f"invalid answer of the engine at {where}{during}: {error}",
            hint=_ANOTHER,
        ) from error
    except (TLSParameterError, OSError, HTTPException, urllib3.exceptions.HTTPError, DockerException) as error:
        raise _no_answer(where, during, list(_causes(error))) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, and so on."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _no_answer(where: str, during: str, causes: list[BaseException]) -> EngineError:
    """The error for a request without an answer, by the types of its causes."""
    if any(isinstance(it, _TIMEOUTS) and not isinstance(it, urllib3.exceptions.NewConnectionError) for it in causes):
        return EngineError(
            f"timeout{during}: no answer of the engine at {where}",
            hint="Check the load of its host, read its log, then run the command again.",
        )
    os_error = next((it for it in reversed(causes) if isinstance(it, OSError) and it.errno), None)
    if not os_error and any(isinstance(cause, HTTPException) and not isinstance(cause, _BROKEN) for cause in causes):
        return EngineError(f"no HTTP server at {where}{during}: {causes[0]}"[:500], hint=_ANOTHER)
    reason = (os_error.strerror or str(os_error)) if os_error else str(_root(causes[0]))
    if any(isinstance(cause, _BROKEN) for cause in causes):
        return EngineError(f"the engine at {where} closed the connection{during}: {reason[:500]}", hint=LOOK_AT_LOG)
    if isinstance(os_error, ConnectionRefusedError) and not _is_socket(where):
        reason = "not a socket"
    reason = reason[:1].lower() + reason[1:500]
    return EngineError(f"cannot connect to the Docker daemon at {where}{during}: {reason}", hint=_hint(os_error))


def _hint(error: OSError | None) -> str:
    """The hint for a failed connection."""
    if isinstance(error, PermissionError):
        return "Add the user to the `docker` group, or run as root."
    if isinstance(error, ssl.SSLError):
        return "Check the certificates of DOCKER_CERT_PATH or of the Docker context."
    return _ANOTHER


def _is_socket(where: str) -> bool:
    if not where.startswith("unix:"):
        return True
    path = Path(urlsplit(where).path)
    return not path.exists() or path.is_socket()


def failure(doing: str, message: str) -> BundlerError:
    """The error for an engine's error message; only its text tells a full disk, because the status of all failures is 500."""
    if "no space left on device" in message:
        return NoSpaceError(
            f"the engine's disk is full while {doing}", hint="Free space there, for example with `docker image prune`."
        )
    return EngineError(f"the engine failed while {doing}: {message.strip()[:500]}")


def is_refusal(error: BaseException) -> bool:
    """Whether the engine answered with an error; without an answer the effect of the request is unknown."""
    return isinstance(error.__cause__, APIError)


def message(response: Response) -> str:
    """Return the engine's error message for a refused request."""
    return _error_message(response.content, f"{response.status_code} {response.reason}")


def _error_message(body: bytes, default: str) -> str:
    """Return the message in the body of a refusal (Docker Engine API, "Errors")."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return default


def _refusal(response: Response) -> bytes:
    """Return the body of a refusal in the API's shape, whatever the engine sent."""
    body = response.raw.read(MAX_REFUSAL, decode_content=False) or b""
    return json.dumps({"message": _error_message(body, f"{response.status_code} {response.reason}")}).encode()


def _content(response: Response) -> bytes:
    """Read the body of an answer; raises `BadAnswer` for one above the limit."""
    data: bytes = response.raw.read(answers.MAX_SIZE + 1, decode_content=False)
    if len(data) > answers.MAX_SIZE:
        response.close()
        raise answers.BadAnswer(f"it is longer than {answers.MAX_SIZE} bytes")
    return data


def _keep(response: Response, content: bytes) -> None:
    """Set the content of an answer, which was read already."""
    response.close()
    response.raw = io.BytesIO(content)


def gpus(wanted: str) -> list[docker.types.DeviceRequest]:
    """Parse the value of ``docker run --gpus``: ``all``, a number, or ``device=0,1``."""
    kind, equals, devices = wanted.partition("=")
    if equals and kind == "device":
        return [docker.types.DeviceRequest(device_ids=devices.split(","), capabilities=[["gpu"]])]
    if wanted != "all" and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise UsageError(f"{wanted!r} is not a choice of GPUs", hint="Use all, a number, or device=0,1.")
    return [docker.types.DeviceRequest(count=-1 if wanted == "all" else int(wanted), capabilities=[["gpu"]])]


def memory(wanted: str) -> int:
    """Parse the value of ``docker run --memory`` to bytes."""
    try:
        return int(parse_bytes(wanted))
    except (DockerException, OverflowError):
        raise UsageError(
            f"{wanted[:40]!r} is not an amount of memory", hint="Use a number of bytes, or one with k, m or g."
        ) from None


def _root(error: BaseException) -> str:
    reason = error.args[-1] if error.args else None
    return _root(reason) if isinstance(reason, BaseException) else str(reason or error)


def body(response: Response, silence: float) -> io.BufferedReader:
    """Return the body of an answer as a stream; the engine may send nothing for ``silence`` seconds at a time."""
    return io.BufferedReader(_RawBody(response.raw, silence), BLOCK)


class _RawBody(io.RawIOBase):
    """The unbuffered body of a response."""

    def __init__(self, raw: Any, silence: float) -> None:
        self._raw = raw
        self._pace = transport.Pace(silence)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._pace.waiting():  # `read1`, because urllib3 reads the line before a chunk without a limit
            data = self._raw.read1(len(buffer), decode_content=False)
        self._pace.received(len(data))
        buffer[: len(data)] = data
        return len(data)
