"""Runs in a container: a Migrator that exports what ``/script/paths`` lists, in the way that ``/script/mood`` says."""

from __future__ import annotations

import json
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from fps.model import migrator_pb2, migrator_pb2_grpc

SCRIPT = Path("/script")


class Migrator(migrator_pb2_grpc.MigratorServicer):
    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        mood = (SCRIPT / "mood").read_text()
        if mood == "silent":
            time.sleep(3600)
        if mood == "failing":
            context.abort(grpc.StatusCode.INTERNAL, "the disk of the model is on fire")
        return migrator_pb2.ExportResponse(paths=json.loads((SCRIPT / "paths").read_text()))


server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
migrator_pb2_grpc.add_MigratorServicer_to_server(Migrator(), server)
server.add_insecure_port("0.0.0.0:50051")
server.start()
threading.Event().wait()
