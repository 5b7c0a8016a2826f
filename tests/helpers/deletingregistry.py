"""A registry in memory that deletes tags and manifests, as distribution 3 does; the one of Debian cannot delete a tag alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bundler.format import artifact
from bundler.format.content import Digest


class DeletingRegistry:
    """One repository: its manifests by digest, the tags, the blobs, and the deletions in their order."""

    def __init__(self) -> None:
        self.address = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.deleted: list[str] = []
        self.refuse: Callable[[str], int] = lambda _: 0
        """The status with which the deletion of a tag or digest is refused, or 0."""
        self.keeps_tags = False
        """Whether a manifest that is deleted stays, with its tags."""

    def get(self, path: str) -> tuple[str, bytes] | None:
        """The media type and the content behind a path."""
        kind, _, name = path.partition("/")
        if kind == "tags":
            return "application/json", json.dumps({"name": "x", "tags": sorted(self.tags)}).encode()
        if kind == "blobs" and name in self.blobs:
            return "application/octet-stream", self.blobs[name]
        data = self.manifests.get(self.tags.get(name, name)) if kind == "manifests" else None
        return (json.loads(data)["mediaType"], data) if data else None

    def put(self, name: str, data: bytes) -> None:
        """Put a manifest under a tag."""
        digest = str(Digest.of(data))
        self.manifests[digest] = data
        self.tags[name] = digest

    def delete(self, name: str) -> int:
        """Delete a tag or a manifest; gives the status."""
        if status := self.refuse(name):
            return status
        if name not in self.tags and name not in self.manifests:
            return 404
        self.deleted.append(name)
        if name in self.tags:
            del self.tags[name]
            return 202
        if not self.keeps_tags:
            del self.manifests[name]
            self.tags = {tag: digest for tag, digest in self.tags.items() if digest != name}
        return 202


@contextmanager
def deleting_registry() -> Iterator[DeletingRegistry]:
    """Serve one repository, whatever its name, during the block."""
    registry = DeletingRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

        def answer(self, status: int, media_type: str = "application/json", data: bytes = b"{}") -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            if "/manifests/" in self.path and status == 200:
                self.send_header("Docker-Content-Digest", str(Digest.of(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_GET(self) -> None:
            found = registry.get("/".join(self.path.partition("?")[0].split("/")[3:]))
            if self.path == "/v2/":
                self.answer(200)
            elif found:
                self.answer(200, *found)
            else:
                self.answer(404)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.answer(registry.delete(self.path.rpartition("/")[2]))

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        registry.address = f"127.0.0.1:{server.server_port}"
        try:
            yield registry
        finally:
            server.shutdown()


def index(*manifests: bytes) -> bytes:
    """The index under the fallback tag of a subject."""
    listed = [
        {
            "mediaType": artifact.MANIFEST,
            "digest": str(Digest.of(it)),
            "size": len(it),
            "artifactType": json.loads(it)["artifactType"],
        }
        for it in manifests
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": listed}).encode()
