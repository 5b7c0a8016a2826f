"""Runs in a container: a Migrator that does what the files below ``/script`` say.

``paths`` are what it exports, ``requests`` (JSON) what it asks for at Ingest; ``mood`` is how it behaves. The
results that it got are in ``/script/results`` afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from fps.model import migrator_pb2, migrator_pb2_grpc

SCRIPT = Path("/script")


def mood() -> str:
    return (SCRIPT / "mood").read_text()


class Migrator(migrator_pb2_grpc.MigratorServicer):
    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        if mood() == "silent":
            time.sleep(3600)
        if mood() == "failing":
            context.abort(grpc.StatusCode.INTERNAL, "the disk of the model is on fire")
        return migrator_pb2.ExportResponse(paths=json.loads((SCRIPT / "paths").read_text()))

    def Ingest(self, request_iterator: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        requests = json.loads((SCRIPT / "requests").read_text())
        results = []
        many = mood() == "many in flight"
        for source, dest in requests:
            yield migrator_pb2.IngestFileCopy(source_path=source, dest_path=dest)
            if not many:
                results.append(next(request_iterator))
            if results and results[-1].error and mood() == "strict":
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"cannot live without {source}: {results[-1].error}")
        if many:
            results = [next(request_iterator) for _ in requests]
        if mood() == "silent":
            print("I have nothing to say", flush=True)
            time.sleep(3600)
        if mood() == "dying":
            print("I am dying", file=sys.stderr, flush=True)
            os._exit(7)
        (SCRIPT / "results").write_text(json.dumps([[it.source_path, it.dest_path, it.error] for it in results]))


server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
migrator_pb2_grpc.add_MigratorServicer_to_server(Migrator(), server)
server.add_insecure_port("0.0.0.0:50051")
server.start()
threading.Event().wait()
