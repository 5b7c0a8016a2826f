"""A registry with a token service, in this process, that can be told to misbehave in ways that real ones do."""

from __future__ import annotations

import hashlib
import itertools
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class TokenRegistry:
    """What the registry holds, what was asked of it, and how it shall behave."""

    def __init__(self) -> None:
        self.address = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.tokens: dict[str, set[str]] = {}
        """The actions of every token that is still good."""
        self.uses: dict[str, int] = {}
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and ``Authorization`` of every request, in order."""
        self.token_requests: list[str] = []
        """``Authorization`` of every request for a token."""

        self.realm = ""
        """The address of the token service, if it is not this registry's own."""
        self.identity_tokens: list[str] = []
        """What was shown to the token service as an identity token."""

        self.anonymous = False
        self.token_lives = 1_000
        """How many requests a token is good for."""
        self.refuse_blob_puts = 0
        """How many uploads of a blob are answered with 503, after their content was read."""
        self.least_chunk = 0
        """The fewest bytes that it takes in one chunk; 0 where it takes no chunks."""
        self.uploads: dict[str, bytes] = {}
        """What has come of every blob that is being sent, by the path of its upload."""
        self.before_blob: Callable[[], object] = lambda: None
        """Called when what comes of a blob is about to be read."""
        self.redirect_blobs = ""
        """Where downloads of blobs are sent to, if anywhere."""
        self.referrer_pages: list[bytes] = []
        """What refers to any manifest, page by page; where there is none, the registry has no such API."""
        self.next_tags = ""
        """What the list of tags names as its next page."""
        self.numbers = itertools.count()
        self._lock = threading.Lock()

    def new_token(self, actions: set[str]) -> str:
        token = f"token{next(self.numbers)}"
        self.tokens[token] = actions
        self.uses[token] = self.token_lives
        return token

    def admits(self, authorization: str, action: str) -> bool:
        token = authorization.removeprefix("Bearer ")
        with self._lock:
            if self.uses.get(token, 0) <= 0 or (action and action not in self.tokens[token]):
                return False
            self.uses[token] -= 1
            return True


@contextmanager
def token_registry() -> Iterator[TokenRegistry]:
    """Run one on a free loopback port for the length of the block."""
    registry = TokenRegistry()
    with serving(_handler(registry)) as address:
        registry.address = address
        yield registry


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Run an HTTP server on a free loopback port, with TLS when it is given a certificate and its key; gives its ``HOST:PORT``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(registry: TokenRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        state = registry

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = 1 << 16  # an answer goes out as one packet, for which nobody waits
    state: TokenRegistry

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/token":
            self.give_token(parse_qs(url.query))
            return
        if not self.admitted("pull"):
            return
        if url.path == "/v2/":
            self.answer(200)
        elif "/blobs/uploads/" in url.path:
            self.answer(204, Location=self.path, Range=self.come(url.path))
        elif url.path.endswith("/tags/list"):
            links = {"Link": f'<{self.state.next_tags}>; rel="next"'} if self.state.next_tags else {}
            self.answer(200, b'{"name":"x","tags":[]}', **links)
        elif "/referrers/" in url.path:
            self.give_referrers(int(parse_qs(url.query).get("page", ["0"])[0]))
        elif "/blobs/" in url.path:
            self.give_blob(url.path.rpartition("/")[2])
        else:
            self.give_manifest(url.path.rpartition("/")[2])

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        if self.path == "/token":
            self.give_token_for_identity(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        elif self.admitted("push"):
            path = f"/v2/team/model/blobs/uploads/{next(self.state.numbers)}"
            self.state.uploads[path] = b""
            least = {"OCI_Chunk_Min_Length": str(self.state.least_chunk)} if self.state.least_chunk else {}
            self.answer(202, Location=f"{path}?_state=x", **least)

    def do_PATCH(self) -> None:
        content = self.content()
        path = urlsplit(self.path).path
        if not self.admitted("push"):
            return
        if not self.state.least_chunk:
            self.answer(405)
        elif len(content) < self.state.least_chunk:
            self.answer(400)
        else:
            self.state.uploads[path] += content
            self.answer(202, Location=self.path, Range=self.come(path))

    def do_PUT(self) -> None:
        content = self.content()
        path = urlsplit(self.path).path
        if not self.admitted("push"):
            return
        if "/blobs/uploads/" not in self.path:
            self.state.manifests[path.rpartition("/")[2]] = content
            self.state.manifests[digest_of(content)] = content
            self.answer(201)
        elif self.state.refuse_blob_puts:
            self.state.refuse_blob_puts -= 1
            self.answer(503)
        else:
            self.take_blob(self.state.uploads.pop(path, b"") + content)

    def take_blob(self, content: bytes) -> None:
        if parse_qs(urlsplit(self.path).query)["digest"] == [digest_of(content)]:
            self.state.blobs[digest_of(content)] = content
            self.answer(201)
        else:
            self.answer(400)

    def content(self) -> bytes:
        if "/blobs/" in self.path:
            self.state.before_blob()
        return self.rfile.read(int(self.headers["Content-Length"]))

    def come(self, path: str) -> str:
        """How far an upload has come, as distribution says it."""
        come = len(self.state.uploads.get(path, b""))
        return f"0-{max(0, come - 1)}"

    def give_token(self, query: dict[str, list[str]]) -> None:
        authorization = self.headers.get("Authorization", "")
        self.state.token_requests.append(authorization)
        if authorization != "Basic dXNlcjpzZWNyZXQ=" and not self.state.anonymous:  # user:secret
            self.answer(401)
            return
        actions = {action for scope in query.get("scope", []) for action in scope.rpartition(":")[2].split(",")}
        self.answer(200, f'{{"token":"{self.state.new_token(actions)}"}}'.encode())

    def give_token_for_identity(self, form: dict[str, list[str]]) -> None:
        self.state.identity_tokens += form.get("refresh_token", [])
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != ["it is me"]:
            self.answer(401)
            return
        actions = {action for scope in form.get("scope", []) for action in scope.rpartition(":")[2].split(",")}
        self.answer(200, f'{{"access_token":"{self.state.new_token(actions)}"}}'.encode())

    def give_blob(self, digest: str) -> None:
        if self.state.redirect_blobs and self.command == "GET":
            self.answer(307, Location=f"{self.state.redirect_blobs}/{digest}")
        elif digest in self.state.blobs:
            self.answer(200, self.state.blobs[digest])
        else:
            self.answer(404)

    def give_referrers(self, page: int) -> None:
        pages = self.state.referrer_pages
        links = {"Link": f'<?page={page + 1}>; rel="next"'} if page + 1 < len(pages) else {}
        self.answer(200 if pages else 404, pages[page] if pages else b"", **links)

    def give_manifest(self, name: str) -> None:
        if name in self.state.manifests:
            self.answer(200, self.state.manifests[name], Content_Type="application/vnd.oci.image.manifest.v1+json")
        else:
            self.answer(404)

    def admitted(self, action: str) -> bool:
        authorization = self.headers.get("Authorization", "")
        self.state.requests.append((self.command, self.path, authorization))
        if self.state.admits(authorization, "" if self.path == "/v2/" else action):
            return True
        scope = "pull" if action == "pull" else "pull,push"
        realm = self.state.realm or f"http://{self.state.address}/token"
        challenge = f'Bearer realm="{realm}",service="tests",scope="repository:team/model:{scope}"'
        self.answer(401, WWW_Authenticate=challenge)
        return False


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
