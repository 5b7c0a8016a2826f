"""The model's side of the contract over gRPC; the only importer of ``grpc`` and of generated code."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from bundler._proto.fps.model import migrator_pb2, migrator_pb2_grpc
from bundler.errors import ModelError

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

    def export(self) -> Sequence[str]:
        try:
            grpc.channel_ready_future(self._channel).result(timeout=self._wait)
        except grpc.FutureTimeoutError as error:
            raise ModelError(
                f"no Migrator answered at {self._endpoint} within {self._wait:g} s",
                hint="Does it serve t1.fps.model.Migrator? --endpoint, --port and --wait say where and how long to look.",
            ) from error
        stub = migrator_pb2_grpc.MigratorStub(self._channel)  # type: ignore[no-untyped-call]
        try:
            response = stub.Export(migrator_pb2.ExportRequest(), timeout=self._deadline)
        except grpc.RpcError as error:
            raise _failed(self._endpoint, "Export", error) from error
        return list(response.paths)

    def close(self) -> None:
        self._channel.close()


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
