"""The model's side of the contract over gRPC; the only importer of ``grpc`` and of generated code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

import grpc

from bundler._proto.fps.model import migrator_pb2, migrator_pb2_grpc
from bundler.errors import ModelError

T = TypeVar("T")

_OPTIONS = (
    # A model is reached directly: a proxy that stands in the environment is meant for the internet.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GrpcModel:
    """A Migrator at ``HOST:PORT``, reached by the way of ``dial`` if that is another; ``wait`` and ``deadline`` are in seconds."""

    def __init__(self, endpoint: str, *, wait: float, deadline: float, dial: str = "") -> None:
        self._endpoint = endpoint
        self._wait = wait
        self._deadline = deadline
        self._channel = grpc.insecure_channel(dial or endpoint, options=_OPTIONS)
        self._connected = False
        self._stub = migrator_pb2_grpc.MigratorStub(self._channel)  # type: ignore[no-untyped-call]

    def connect(self) -> None:
        if self._connected:
            return
        try:
            grpc.channel_ready_future(self._channel).result(timeout=self._wait)
        except grpc.FutureTimeoutError as error:
            raise ModelError(
                f"no Migrator answered at {self._endpoint} within {self._wait:g} s",
                hint="Does it serve t1.fps.model.Migrator? --endpoint, --port and --wait say where and how long to look.",
            ) from error
        self._connected = True

    def export(self) -> Sequence[str]:
        self.connect()
        try:
            response = self._stub.Export(migrator_pb2.ExportRequest(), timeout=self._deadline)
        except grpc.RpcError as error:
            raise _failed(self._endpoint, "Export", error) from error
        return list(response.paths)

    def ingest(self, copy: Callable[[str, str], str]) -> None:
        self.connect()
        results: SimpleQueue[migrator_pb2.IngestFileResult | None] = SimpleQueue()
        call = self._stub.Ingest(iter(results.get, None))
        silence = _Silence(call, self._deadline)
        try:
            while (request := silence.limit(lambda: next(call, None))) is not None:
                error = copy(request.source_path, request.dest_path)
                results.put(
                    migrator_pb2.IngestFileResult(source_path=request.source_path, dest_path=request.dest_path, error=error)
                )
        except grpc.RpcError as error:
            if silence.broken:
                raise ModelError(
                    f"the model at {self._endpoint} asked for nothing for {self._deadline:g} s in the middle of Ingest",
                    hint="Look at its log; --idle-timeout gives it longer.",
                ) from error
            raise _failed(self._endpoint, "Ingest", error) from error
        finally:
            results.put(None)
            call.cancel()

    def close(self) -> None:
        self._channel.close()


class _Silence:
    """Breaks a call off when the other side says nothing for too long; gRPC's own deadline is for whole calls."""

    def __init__(self, call: grpc.Call, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self.broken = False

    def limit(self, wait: Callable[[], T]) -> T:
        timer = threading.Timer(self._seconds, self._break)
        timer.daemon = True
        timer.start()
        try:
            return wait()
        finally:
            timer.cancel()

    def _break(self) -> None:
        self.broken = True
        self._call.cancel()


def _failed(endpoint: str, method: str, error: grpc.RpcError) -> ModelError:
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.Call) else str(error)) or "no reason given"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ModelError(
            f"the model at {endpoint} did not finish {method} in time",
            hint="Give it longer with --export-timeout, or look at its log.",
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ModelError(
            f"what answers at {endpoint} does not implement {method} of t1.fps.model.Migrator",
            hint="Check the port: --port or --endpoint name another one.",
        )
    return ModelError(f"the model at {endpoint} failed {method}: {code.name}: {details[:500]}", hint="Look at the model's log.")
