"""Client of a model's Migrator over gRPC; only this module imports ``grpc`` and the generated code.

A model is not trusted: its messages arrive as bytes, and are parsed only below a size limit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core's log on stderr can contain a model's own text

import grpc
from google.protobuf.message import DecodeError, Message

from bundler._proto.fps.model import migrator_pb2
from bundler.errors import ModelError
from bundler.format import paths

T = TypeVar("T")
M = TypeVar("M", bound=Message)

MAX_EXPORT = 32 << 20
"""Largest answer to Export in bytes."""
MAX_REQUEST = 64 << 10
"""Largest request of Ingest in bytes; two paths need a quarter of that."""
MAX_WAITING = 64 << 20
"""Largest number of bytes of results that a model has not taken."""
MAX_ERROR = 4096
"""Longest error message in characters that is sent to a model."""

_PATH = b"\x0a"
"""First byte of each path in an ExportResponse (protobuf, "Encoding": field 1, LEN)."""
_METHOD = f"/{migrator_pb2.DESCRIPTOR.services_by_name['Migrator'].full_name}/"

_OPTIONS = (
    # Models are reached directly: a proxy of the environment is meant for the internet.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_EXPORT),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GrpcModel:
    """A Migrator at ``HOST:PORT``; ``dial`` is the address to connect to if it differs. Times are in seconds."""

    def __init__(self, endpoint: str, *, wait: float, deadline: float, dial: str = "") -> None:
        self._endpoint = endpoint
        self._wait = wait
        self._deadline = deadline
        self._channel = grpc.insecure_channel(dial or endpoint, options=_OPTIONS)
        self._connected = False
        self._export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"{_METHOD}Export")
        self._ingest: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(f"{_METHOD}Ingest")

    def connect(self) -> None:
        if self._connected:
            return
        try:
            grpc.channel_ready_future(self._channel).result(timeout=self._wait)
        except grpc.FutureTimeoutError as error:
            raise ModelError(
                f"no Migrator answered at {self._endpoint} within {self._wait:g} s",
                hint="Check that it serves t1.fps.model.Migrator; set the address with --endpoint or --port, the time with --wait.",
            ) from error
        self._connected = True

    def export(self) -> Sequence[str]:
        self.connect()
        try:
            data = self._export(migrator_pb2.ExportRequest().SerializeToString(), timeout=self._deadline)
        except grpc.RpcError as error:
            raise _failed(self._endpoint, "Export", error) from error
        if data.count(_PATH) > 4 * paths.MAX_PATHS:  # lengths and names can contain that byte, too
            raise self._invalid("Export", f"it has more than {paths.MAX_PATHS} paths")
        return list(self._parsed(migrator_pb2.ExportResponse, "Export", data).paths)

    def ingest(self, copy: Callable[[str, str], str]) -> None:
        self.connect()
        results = _Results()
        call = self._ingest(iter(results))
        idle = _IdleTimeout(call, self._deadline)
        try:
            while (data := idle.limit(lambda: next(call, None))) is not None:
                if len(data) > MAX_REQUEST:
                    raise self._invalid("Ingest", f"a request has {len(data)} bytes, more than {MAX_REQUEST}")
                request = self._parsed(migrator_pb2.IngestFileCopy, "Ingest", data)
                results.put(request.source_path, request.dest_path, copy(request.source_path, request.dest_path))
                if results.waiting > MAX_WAITING:
                    raise self._invalid("Ingest", "it requests copies without reading the results")
        except grpc.RpcError as error:
            if idle.expired:
                raise ModelError(
                    f"timeout: the model at {self._endpoint} sent no request for {self._deadline:g} s during Ingest",
                    hint="Read its log, or raise --idle-timeout.",
                ) from error
            raise _failed(self._endpoint, "Ingest", error) from error
        finally:
            results.end()
            call.cancel()

    def close(self) -> None:
        self._channel.close()

    def _parsed(self, kind: type[M], method: str, data: bytes) -> M:
        message = kind()
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise self._invalid(method, "it cannot be parsed, or its paths are not UTF-8") from error
        return message

    def _invalid(self, method: str, why: str) -> ModelError:
        return ModelError(
            f"invalid {method} message of the model at {self._endpoint}: {why}",
            hint="Check that it serves t1.fps.model.Migrator as defined in its proto file.",
        )


class _Results:
    """The results of copies, as a stream to the model; ``waiting`` bytes of them were not taken yet."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._put = self._taken = 0  # each is written by one thread

    @property
    def waiting(self) -> int:
        return self._put - self._taken

    def put(self, source: str, dest: str, error: str) -> None:
        text = error[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()
        result = migrator_pb2.IngestFileResult(source_path=source, dest_path=dest, error=text).SerializeToString()
        self._put += len(result)
        self._queue.put(result)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (result := self._queue.get()) is not None:
            self._taken += len(result)
            yield result


class _IdleTimeout:
    """Cancels a call when the model sends nothing for too long; gRPC's own deadline is for whole calls."""

    def __init__(self, call: grpc.Call, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self.expired = False

    def limit(self, wait: Callable[[], T]) -> T:
        timer = threading.Timer(self._seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return wait()
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self._call.cancel()


def _failed(endpoint: str, method: str, error: grpc.RpcError) -> ModelError:
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else str(error)) or "no reason given"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ModelError(
            f"the model at {endpoint} did not finish {method} in time",
            hint="Raise --export-timeout, or read the model's log.",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ModelError(
            f"the server at {endpoint} does not implement {method} of t1.fps.model.Migrator",
            hint="Choose another port with --port or --endpoint.",
        )
    return ModelError(f"the model at {endpoint} failed {method}: {code.name}: {details[:500]}", hint="Read the model's log.")
