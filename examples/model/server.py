"""Serves the model: ``Migrator`` by gRPC, and ``/learn`` and ``/predict`` by HTTP."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from fps.model import migrator_pb2, migrator_pb2_grpc
from state import State

MIGRATOR_PORT = 50051
HTTP_PORT = 8080


class Migrator(migrator_pb2_grpc.MigratorServicer):
    """The model's half of the contract."""

    def __init__(self, state: State) -> None:
        self._state = state

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - named by the proto
        """Bring what was learned to disk, then say where it is."""
        self._state.flush()
        return migrator_pb2.ExportResponse(paths=[str(path) for path in self._state.paths])

    def Ingest(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802 - named by the proto
        """Ask for the files of an older version one after the other, and take over what they hold."""
        for path in self._state.paths:
            taken = self._state.inbox / path.name
            yield migrator_pb2.IngestFileCopy(source_path=str(path), dest_path=str(taken))
            result = next(request_iterator)
            if result.error:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{path} is needed: {result.error}")
        self._state.take_over()


def handler(state: State) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/learn":
                self._answer({"samples": state.learn(request["text"], request["label"])})
            elif self.path == "/predict":
                self._answer(state.predict(request["text"]))
            else:
                self.send_error(404)

        def _answer(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of every request."""

    return Handler


def main() -> None:
    state = State(Path(os.environ.get("MODEL_ROOT", "/opt/model")), os.environ["MODEL_VERSION"])
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    migrator_pb2_grpc.add_MigratorServicer_to_server(Migrator(state), server)
    server.add_insecure_port(f"0.0.0.0:{MIGRATOR_PORT}")
    server.start()
    web = ThreadingHTTPServer(("0.0.0.0", HTTP_PORT), handler(state))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    web.shutdown()
    server.stop(grace=1).wait()
    state.flush()


if __name__ == "__main__":
    main()
