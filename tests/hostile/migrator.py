"""A Migrator in this process that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from bundler._proto.fps.model import migrator_pb2, migrator_pb2_grpc

Export = Callable[[grpc.ServicerContext], Any]
Ingest = Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]

NAME = "t1.fps.model.Migrator"


def exported(*paths: str) -> Export:
    return lambda _: migrator_pb2.ExportResponse(paths=paths)


class _Migrator(migrator_pb2_grpc.MigratorServicer):  # type: ignore[misc]
    def __init__(self, export: Export, ingest: Ingest) -> None:
        self._export = export
        self._ingest = ingest

    def Export(self, _: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the proto
        return self._export(context)

    def Ingest(self, results: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        yield from self._ingest(results, context)


@contextmanager
def serving(export: Export | None = None, ingest: Ingest | None = None, *, raw: bool = False) -> Iterator[str]:
    """The endpoint of a Migrator; with ``raw`` what it answers are the bytes of a message."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 64 << 20)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), options=options)
    servicer = _Migrator(export or exported("/s"), ingest or (lambda *_: iter(())))
    if raw:
        handlers = {
            "Export": grpc.unary_unary_rpc_method_handler(servicer.Export),
            "Ingest": grpc.stream_stream_rpc_method_handler(servicer.Ingest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    else:
        migrator_pb2_grpc.add_MigratorServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
