"""The connection to an engine, and what becomes of its errors; with ``transport`` the only importer of ``docker``."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
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

from bundler.engines import answers, transport, unix_http
from bundler.engines.address import Address
from bundler.errors import BundlerError, EngineError, NoSpaceError, UsageError
from bundler.streams import BLOCK, Readable

__all__ = [
    "TIMEOUT",
    "Client",
    "NotFound",
    "NullResource",
    "body",
    "connect",
    "errors",
    "failure",
    "gpus",
    "lines",
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

LONGEST_REFUSAL = 64 << 10
"""Most bytes that are read of what an engine says of an error."""
LONGEST_LINE = 1 << 20
"""Longest line in bytes of a stream of documents."""

_ANOTHER = "Check that the engine runs, or name another one with DOCKER_HOST or --host."
_LOOK = "Look at its log, then run the command again."
_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError, BlockingIOError)
_BROKEN = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, IncompleteRead, urllib3.exceptions.IncompleteRead)
_CERTIFICATES = ("ca.pem", "cert.pem", "key.pem")
_PLAIN = {"Accept-Encoding": "identity"}  # the engine would spend its time on gzip, and a small answer could become a large one


class Client(APIClient):
    """A client that believes nothing of an engine: answers are bounded in size and time, and redirects are not followed.

    It refuses a request about a container while a stream of that container is open. An engine locks a container that it streams
    (Docker, and Podman from 4.4 on): such a request would wait for the end of the stream, and the stream for the caller that
    reads it.
    """

    def __init__(self, *, where: str = "", **options: Any) -> None:
        self.where = where or str(options["base_url"])
        self._streamed: set[str] = set()
        super().__init__(**options)
        self.headers.update(_PLAIN)
        if not isinstance(self._general_configs.get("HttpHeaders", {}), dict):  # type: ignore[attr-defined]
            raise TypeError("HttpHeaders is no object")

    def mount(self, prefix: str | bytes, adapter: Any) -> None:
        super().mount(prefix, transport.adapter(adapter))

    def negotiate(self) -> None:
        """Speak the API's version that the engine speaks."""
        found = answers.read(answers.Version, self.version(api_version=False)).api_version
        if version_lt(found, MINIMUM_DOCKER_API_VERSION):
            raise answers.BadAnswer(f"it speaks version {found} of the API, and {MINIMUM_DOCKER_API_VERSION} is needed")
        self._version = found

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
        wants_stream, options = options.get("stream"), {"timeout": TIMEOUT, **options, "stream": True}
        with transport.limited():
            response = super().request(method, url, *arguments, **options)
            if 300 <= response.status_code < 400 and response.status_code != requests.codes.not_modified:
                response.close()
                raise answers.BadAnswer(f"it leads to another address ({response.status_code})")
            if not response.ok:
                _keep(response, _refusal(response))
            elif not wants_stream:
                _keep(response, _content(response))
        return response

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: an engine that sends us elsewhere is none."""
        del resp

    def _result(self, response: requests.Response, json: bool = False, binary: bool = False) -> Any:
        """What the library's own calls give of an answer; JSON is bounded here."""
        self._raise_for_status(response)  # type: ignore[attr-defined]
        if json:
            return answers.parse(response.content)
        return response.content if binary else response.text

    def _check_idle(self, container: str) -> None:
        if container and container in self._streamed:
            raise RuntimeError(f"a request about the container {container} while it is streamed would never be answered")


def connect(address: Address, where: str = "") -> Client:
    """A client for an engine on this host, or one that speaks TCP, with TLS where there are certificates.

    ``where`` is how the engine is named in messages.
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
                f"Docker's client configuration cannot be used: {str(error)[:200]}",
                hint="Correct config.json in ~/.docker, or in the directory that DOCKER_CONFIG names.",
            ) from error
        api.negotiate()
    return api


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
    with errors(api, doing):
        if isinstance(adapter, UnixHTTPAdapter):
            target = f"{urlsplit(address).path}?{urlencode(parameters)}"
            with (
                api.streaming(container),
                unix_http.get(adapter.socket_path, target, TIMEOUT, silence) as (status, content),
            ):
                if status != 200:
                    raise failure(doing, _told(content.read(), str(status)))
                yield content
            return
        with api.get(address, params=parameters, stream=True, timeout=(TIMEOUT, silence)) as response, api.streaming(container):
            response.raise_for_status()
            yield body(response, silence)


def lines(response: requests.Response, silence: float) -> Iterator[bytes]:
    """The lines of an answer as they come; raises `BadAnswer` for one that does not end."""
    content = body(response, silence)
    while line := content.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise answers.BadAnswer(f"a line is longer than {LONGEST_LINE} bytes")
        yield line


def errors(api: Client, doing: str) -> AbstractContextManager[None]:
    """Turn what docker and requests raise into our errors, saying what was being done and where."""
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
            f"the engine at {where} gave an answer that is not understood{during}: {error}",
            hint=_ANOTHER,
        ) from error
    except (TLSParameterError, OSError, HTTPException, urllib3.exceptions.HTTPError, DockerException) as error:
        raise _failed(where, during, list(_causes(error))) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and so on."""
    while error:
        yield error
        error = error.__cause__ or error.__context__


def _failed(where: str, during: str, causes: list[BaseException]) -> EngineError:
    """The error for a request that got no answer, decided by the types along its causes."""
    if any(isinstance(it, _TIMEOUTS) and not isinstance(it, urllib3.exceptions.NewConnectionError) for it in causes):
        return EngineError(
            f"the engine at {where} gave no answer in time{during}",
            hint="Look at the load of its host and at its log, then run the command again.",
        )
    found = next((it for it in reversed(causes) if isinstance(it, OSError) and it.errno), None)
    if not found and any(isinstance(cause, HTTPException) and not isinstance(cause, _BROKEN) for cause in causes):
        return EngineError(f"what answers at {where} speaks no HTTP{during}: {causes[0]}"[:500], hint=_ANOTHER)
    reason = (found.strerror or str(found)) if found else str(_root(causes[0]))
    if any(isinstance(cause, _BROKEN) for cause in causes):
        return EngineError(f"the engine at {where} broke the connection{during}: {reason[:500]}", hint=_LOOK)
    if isinstance(found, ConnectionRefusedError) and not _is_socket(where):
        reason = "not a socket"
    reason = reason[:1].lower() + reason[1:500]
    return EngineError(f"cannot connect to the Docker daemon at {where}{during}: {reason}", hint=_hint(found))


def _hint(error: OSError | None) -> str:
    """What to do about a connection that was refused."""
    if isinstance(error, PermissionError):
        return "Add the user to the `docker` group, or run as root."
    if isinstance(error, ssl.SSLError):
        return "Check the certificates that DOCKER_CERT_PATH or the Docker context names."
    return _ANOTHER


def _is_socket(where: str) -> bool:
    if not where.startswith("unix:"):
        return True
    path = Path(urlsplit(where).path)
    return not path.exists() or path.is_socket()


def failure(doing: str, message: str) -> BundlerError:
    """The error for what an engine says of itself; of a full disk its words alone tell, as it gives 500 for all failures."""
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
    return _told(response.content, f"{response.status_code} {response.reason}")


def _told(body: bytes, otherwise: str) -> str:
    """The message in the body of a refusal (Docker Engine API, "Errors")."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return otherwise


def _refusal(response: requests.Response) -> bytes:
    """The body of a refusal in the one shape that everything after can read, whatever the engine sent."""
    told = _told(response.raw.read(LONGEST_REFUSAL, decode_content=False) or b"", f"{response.status_code} {response.reason}")
    return json.dumps({"message": told}).encode()


def _content(response: requests.Response) -> bytes:
    """The body of an answer; raises `BadAnswer` for one that is longer than any that is read."""
    data: bytes = response.raw.read(answers.MAX_SIZE + 1, decode_content=False)
    if len(data) > answers.MAX_SIZE:
        response.close()
        raise answers.BadAnswer(f"it is longer than {answers.MAX_SIZE} bytes")
    return data


def _keep(response: requests.Response, content: bytes) -> None:
    """Let an answer have a content that was read already."""
    response.close()
    response.raw = io.BytesIO(content)


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


def body(response: requests.Response, silence: float) -> io.BufferedReader:
    """The body of an answer as it comes; the engine may be silent for ``silence`` seconds at a time."""
    return io.BufferedReader(_RawBody(response.raw, silence), BLOCK)


class _RawBody(io.RawIOBase):
    """The body of a response of the engine, for a buffer to read from."""

    def __init__(self, raw: Any, silence: float) -> None:
        self._raw = raw
        self._pace = transport.Pace(silence)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._pace.waiting():  # by `read1`, as urllib3 reads the line before a chunk without a limit
            data = self._raw.read1(len(buffer), decode_content=False)
        self._pace.came(len(data))
        buffer[: len(data)] = data
        return len(data)
