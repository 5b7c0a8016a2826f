"""Registries that lie. One server has them all, each as a repository of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.format import artifact
from bundler.format.content import Digest
from bundler.stores.layout import index
from hostile.case import Case
from hostile.forge import Forgery, Signer


class Registry:
    """One repository: what it answers, by what stands behind its name in a URL."""

    def __init__(self, sign: Signer | None = None, **changes: Any) -> None:
        files = Forgery(**changes).parts(sign)
        entry, *self.referrers = json.loads(files[index.INDEX_FILE])["manifests"]
        blobs = {f"sha256:{name.rpartition('/')[2]}": data for name, data in files.items() if name.startswith("blobs/")}
        self.manifest = blobs[entry["digest"]]
        self.digest = entry["digest"]
        self.blobs = blobs
        self.headers: dict[str, str] = {"Content-Type": artifact.MANIFEST, "Docker-Content-Digest": self.digest}
        self.status = 200
        self.tag: Callable[[], bytes] = lambda: self.manifest
        self.endless = False

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        kind, _, name = path.partition("/")
        if kind == "manifests" and name in ("1", self.digest):
            return self.status, self.headers, self.tag() if name == "1" else self.manifest
        if kind == "referrers":
            listed = {"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": self.referrers}
            return 200, {"Content-Type": artifact.INDEX}, json.dumps(listed).encode()
        if kind == "manifests" and name in self.blobs:
            return 200, {"Content-Type": artifact.MANIFEST}, self.blobs[name]
        if kind == "blobs" and name in self.blobs:
            return 200, {"Content-Type": "application/octet-stream"}, self.blobs[name]
        return 404, {}, b"{}"


@cache
def repositories() -> tuple[str, dict[str, Registry]]:
    """The address of the server, and its repositories by name; it ends with the process."""
    found: dict[str, Registry] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, found))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}", found


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, found: dict[str, Registry], *arguments: Any) -> None:
        self._found = found
        super().__init__(*arguments)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        name, _, path = urlsplit(self.path).path.removeprefix("/v2/").partition("/")
        repository = self._found.get(name)
        status, headers, body = repository.answer(path) if repository else (200, {}, b"{}")
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if not (repository and repository.endless):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, endless=bool(repository and repository.endless))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, body: bytes, *, endless: bool) -> None:
        if self.command == "HEAD":
            return
        try:
            self.wfile.write(body)
            while endless:
                self.wfile.write(b" " * (1 << 20))
        except OSError:  # it had enough
            pass


_numbers = count(1)


def registry(
    name: str, spoil: Callable[[Registry], object], *, opens_layers: bool = False, codes: tuple[int, ...] = (8,), **changes: Any
) -> Case:
    def make(path: Path, sign: Signer | None) -> str:
        del path
        address, found = repositories()
        repository = f"case{next(_numbers)}"
        found[repository] = Registry(sign, **changes)
        spoil(found[repository])
        return f"{address}/{repository}:1"

    return Case(f"registry: {name}", make, opens_layers, codes=codes)


def set_header(name: str, value: str) -> Callable[[Registry], None]:
    def spoil(found: Registry) -> None:
        found.headers[name] = value

    return spoil


def registries() -> Iterator[Case]:
    yield registry("a sound one", lambda _: None, codes=(0,))
    yield registry("the header of an index", set_header("Content-Type", artifact.INDEX))
    yield registry("the header of a text", set_header("Content-Type", "text/plain"))
    yield registry(
        "the header of Docker's manifest", set_header("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
    )
    yield registry("no header", lambda found: found.headers.pop("Content-Type"))
    yield registry("another digest in the header", set_header("Docker-Content-Digest", str(Digest.of(b"other"))))
    yield registry("a digest in the header that is a path", set_header("Docker-Content-Digest", "sha256:../../x"))
    yield registry("a manifest of 5 MB", lambda found: setattr(found, "tag", lambda: b" " * 5_000_000))
    yield registry("a manifest without an end", lambda found: setattr(found, "endless", True))
    yield registry("an index under the tag", lambda found: setattr(found, "tag", lambda: b'{"schemaVersion":2,"manifests":[]}'))
    yield registry(
        "blobs of other content", lambda found: found.blobs.update({key: data[::-1] for key, data in found.blobs.items()})
    )
    yield registry(
        "blobs that are longer", lambda found: found.blobs.update({key: data + b"x" for key, data in found.blobs.items()})
    )
    yield registry("an error of 100,000 brackets", _brackets, codes=(6,))
    yield registry("a hostile layer", lambda _: None, opens_layers=True, plain=lambda data: data + b"x")


def _brackets(found: Registry) -> None:
    found.status = 404
    found.tag = lambda: b"[" * 100_000
