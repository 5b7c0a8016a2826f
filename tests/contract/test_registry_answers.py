"""What a registry says is told in its own words, and decides what is tried again."""

from __future__ import annotations

import base64
import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundles import bundle
from certificates import Authority
from fakes import MemoryStore
from saying import Asked, Say, Saying, saying
from typer.testing import CliRunner

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.errors import AuthorizationError, BundlerError, NoSpaceError, StoreError
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.format.reference import RegistryReference
from bundler.stores.registry import pages, session
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.retry import ATTEMPTS, TransientError
from bundler.stores.registry.session import origin_of
from bundler.stores.registry.store import RegistryStore
from bundler.streams import from_memory

QUOTA = "adding 70.0 MiB of storage resource will exceed the configured upper limit of 5.0 GiB"
LIMITS = Limits(timeout=60.0, patience=0.001)


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


def log_in(address: str, directory: Path) -> None:
    (directory / "docker").mkdir(exist_ok=True)
    auth = base64.b64encode(b"user:secret").decode()
    (directory / "docker" / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))


def errors(*found: dict[str, object]) -> bytes:
    return json.dumps({"errors": found}).encode()


def answering(status: int, body: bytes, kind: str = "application/json") -> Callable[[Asked], Say]:
    def answer(asked: Asked) -> Say:
        return Say() if asked.path == "/v2/" else Say(status, body, {"Content-Type": kind})

    return answer


def store(server: Saying, tag: str = "1", tell: Callable[[str], None] | None = None) -> RegistryStore:
    return RegistryStore(RegistryReference(server.address, "team/model", tag), limits=LIMITS, tell=tell)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (errors({"code": "DENIED", "message": QUOTA}), "application/json", f"DENIED: {QUOTA}"),
        (errors({"code": "DENIED"}), "application/json", "DENIED"),
        (errors({"code": "DENIED", "message": "no", "detail": "immutable"}), "application/json", "DENIED: no (immutable)"),
        (errors({"code": "A", "message": "first"}, {"code": "B", "message": "second"}), "application/json", "A: first; B: second"),
        (b'{"message": "policy 4 forbids it"}', "application/json", "policy 4 forbids it"),
        (b'{"error": "denied", "error_description": "trial is over"}', "application/json", "trial is over"),
        (b"quota\n exceeded", "text/plain; charset=utf-8", "quota exceeded"),
        (b"<html>no</html>", "text/html", "Forbidden"),
        (b"", "application/json", "Forbidden"),
        (b'{"errors": [7, {"message": ["a"]}]}', "application/json", "Forbidden"),
    ],
)
def test_a_refusal_is_told_in_the_registrys_words(body: bytes, kind: str, words: str) -> None:
    with saying(answering(403, body, kind)) as server, pytest.raises(AuthorizationError) as caught:
        store(server).resolve()
    assert caught.value.message.endswith(f"answered 403: {words}")


def test_an_account_that_was_accepted_is_not_advised_to_log_in(tmp_path: Path) -> None:
    with saying(answering(403, errors({"code": "DENIED", "message": QUOTA}))) as server:
        log_in(server.address, tmp_path)
        with pytest.raises(AuthorizationError) as caught:
            store(server).resolve()
    assert "login" not in caught.value.command + caught.value.hint
    assert "administrator" in caught.value.hint


def test_a_refused_request_is_not_sent_again_with_its_body(tmp_path: Path) -> None:
    data = b"x" * 1000

    def answer(asked: Asked) -> Say:
        if asked.path == "/v2/" or asked.method in ("GET", "HEAD"):
            return Say(200 if asked.path == "/v2/" else 404)
        if asked.method == "POST":
            return Say(202, headers={"Location": "/v2/team/model/blobs/uploads/1"})
        if "Authorization" not in asked.headers:
            return Say(401, headers={"WWW-Authenticate": 'Basic realm="here"'})
        return Say(403, errors({"code": "DENIED", "message": QUOTA}))

    with saying(answer) as server:
        log_in(server.address, tmp_path)
        with pytest.raises(AuthorizationError, match="upper limit"):
            store(server).put_blob(Descriptor.of("text/plain", data), from_memory(data))
    assert [asked.size for asked in server.asked if asked.method == "PUT"] == [1000, 1000]


@pytest.mark.parametrize(
    "detail", [{"DriverName": "filesystem", "Enclosed": {"Op": "mkdir", "Err": errno.ENOSPC}}, "no space left on device"]
)
def test_a_registry_whose_disk_is_full_is_out_of_space(detail: object) -> None:
    with (
        saying(answering(500, errors({"code": "UNKNOWN", "message": "unknown error", "detail": detail}))) as server,
        pytest.raises(NoSpaceError),
    ):
        store(server).resolve()


def test_the_token_services_words_are_told() -> None:
    def answer(asked: Asked) -> Say:
        if asked.path.startswith("/token"):
            return Say(401, b'{"details": "incorrect username or password"}')
        challenge = f'Bearer realm="http://{asked.headers["Host"]}/token",service="x",scope="repository:team/model:pull"'
        return Say(401, headers={"WWW-Authenticate": challenge})

    with saying(answer) as server, pytest.raises(AuthorizationError, match="incorrect username or password") as caught:
        store(server).resolve()
    assert caught.value.command == f"fps-bundle login {server.address}"


@pytest.mark.parametrize(
    ("media_type", "content", "words"),
    [
        (artifact.INDEX, {"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": []}, "an index of images"),
        (artifact.DOCKER_LIST, {"schemaVersion": 2, "mediaType": artifact.DOCKER_LIST, "manifests": []}, "an index of images"),
        (artifact.DOCKER_MANIFEST, {"schemaVersion": 2, "mediaType": artifact.DOCKER_MANIFEST}, "an image"),
        (
            artifact.MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": artifact.MANIFEST,
                "config": Descriptor.of(artifact.IMAGE_CONFIG, b"{}").to_json(),
                "layers": [],
            },
            "an image",
        ),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"schemaVersion": 1}, "of media type"),
        (
            artifact.MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": artifact.MANIFEST,
                "artifactType": "application/vnd.example",
                "config": Descriptor.of("application/vnd.oci.empty.v1+json", b"{}").to_json(),
                "layers": [],
            },
            "an artifact of type 'application/vnd.example'",
        ),
    ],
)
def test_what_is_no_bundle_is_called_by_what_it_is(media_type: str, content: dict[str, object], words: str) -> None:
    """As distribution answers: with 404 where the request does not accept what the name stands for."""
    data = json.dumps(content).encode()

    def answer(asked: Asked) -> Say:
        if asked.path == "/v2/":
            return Say()
        if media_type in artifact.MANIFESTS and media_type not in asked.headers["Accept"]:
            return Say(404, errors({"code": "MANIFEST_UNKNOWN", "message": "the accept header does not support it"}))
        return Say(200, data, {"Content-Type": media_type})

    with saying(answer) as server, pytest.raises(BundlerError, match=f"this is {words}") as caught:
        read_bundle(store(server))
    assert caught.value.exit_code == 8
    assert "not a bundle" in caught.value.message
    assert "damaged" not in caught.value.message


def test_a_host_name_with_the_words_of_an_error_in_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        reference = RegistryReference("resolver.refused.unreachable.example", "x", "1")
        with pytest.raises(StoreError, match="Read timed out"):
            RegistryStore(reference, plain_http=True, limits=Limits(timeout=0.05, patience=0.001), tell=told.append)
    assert len(told) == ATTEMPTS - 1


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
def test_a_host_that_cannot_be_reached_is_told_at_once(host: str) -> None:
    told: list[str] = []
    with pytest.raises(StoreError) as caught:
        RegistryStore(RegistryReference(host, "x", "1"), plain_http=True, limits=LIMITS, tell=told.append)
    assert told == []
    assert not isinstance(caught.value, TransientError)


def test_every_read_tells_of_a_wait() -> None:
    source = MemoryStore()
    bundle(source)
    is_busy = iter([True, False] * 100)

    def answer(asked: Asked) -> Say:
        if asked.path == "/v2/":
            return Say()
        name = asked.path.rpartition("/")[2]
        if "/manifests/" in asked.path and next(is_busy):
            return Say(429, headers={"Retry-After": "0"})
        digest = source.tags["1"].digest if name == "1" else None
        data = source.blobs.get(digest) if digest else next((data for key, data in source.blobs.items() if str(key) == name), None)
        return Say(404) if data is None else Say(200, data, {"Content-Type": artifact.MANIFEST})

    for command in ("inspect", "history", "verify", "diff"):
        with saying(answer) as server:
            name = f"{server.address}/team/model:1"
            result = CliRunner().invoke(app, [command, name, *([name] if command == "diff" else [])])
        assert "429" in result.stderr, command


def test_tls_that_was_not_expected_is_told(tmp_path: Path) -> None:
    certificate = Authority(tmp_path, "lower").sign("server")
    with saying(lambda _: Say(), certificate) as server, pytest.raises(StoreError) as caught:
        RegistryStore(RegistryReference(server.address, "x", "1"), plain_http=True, limits=LIMITS)
    assert "--plain-http" in caught.value.hint
    assert caught.value.exit_code == 5


def test_a_bad_request_without_tls_is_told_as_tls() -> None:
    with saying(lambda _: Say(400, b"Client sent an HTTP request to an HTTPS server.\n")) as server:
        result = CliRunner().invoke(app, ["inspect", "--plain-http", f"{server.address}/x:1"])
    assert result.exit_code == 5
    assert "uses TLS" in result.stderr


def test_missing_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that is not on this host is asked by TLS alone; here through a proxy."""
    with talking(b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        monkeypatch.setenv("https_proxy", f"http://{address}")
        with pytest.raises(StoreError, match="does not use TLS") as caught:
            RegistryStore(RegistryReference("registry.example", "x", "1"), limits=LIMITS)
    assert "--plain-http" in caught.value.hint


@contextmanager
def talking(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that gives these pieces to every connection, each after it has been sent something, or after a pause."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for number, piece in enumerate(pieces):
                if not pause or not number:
                    connection.recv(1 << 16)
                connection.sendall(piece)
                time.sleep(pause)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 20", GO_ON, b"HTTP/1.1 200 OK\r\nA: 1\r\n"])
def test_headers_that_trickle_in_are_given_up(drip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the timeout, and all of them never; the clock goes 25 s further whenever it is looked at."""
    again = drip if drip == GO_ON else b"x"
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=count(step=25).__next__))
    with talking(drip, *[again] * 10_000, pause=0.001) as address, pytest.raises(StoreError, match="Read timed out"):
        RegistryStore(RegistryReference(address, "x", "1"), plain_http=True, limits=LIMITS)


def test_a_cookie_goes_nowhere() -> None:
    """A cookie knows no ports: after a redirect within a host it would reach another server there."""
    with saying(lambda _: Say(404)) as other:

        def answer(asked: Asked) -> Say:
            if asked.path == "/v2/":
                return Say(headers={"Set-Cookie": "session=secret; Path=/"})
            return Say(307, headers={"Set-Cookie": "session=secret2; Path=/", "Location": f"http://{other.address}{asked.path}"})

        with saying(answer) as server, pytest.raises(BundlerError):
            store(server).resolve()
    assert other.asked
    assert [asked.headers["Cookie"] for asked in (*server.asked, *other.asked) if "Cookie" in asked.headers] == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://registry.example", "http://registry.example:80/v2/", True),
        ("https://REGISTRY.example:443", "https://registry.example", True),
        ("http://registry.example:80", "https://registry.example:443", False),
        ("https://registry.example", "https://registry.example:444", False),
        ("https://[::1]:5000", "https://[::1]:5000/x", True),
        ("https://user@registry.example", "https://registry.example", False),
        ("https://registry.example:port", "https://registry.example", False),
    ],
)
def test_credentials_belong_to_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same


LISTED = Descriptor.of(artifact.MANIFEST, b"")


NO_TAGS = b'{"name": "x", "tags": []}'
FULL_PAGE = NO_TAGS.ljust(4 << 20)


@pytest.mark.parametrize(
    ("following", "body", "timeout", "words"),
    [
        (lambda _: "/v2/team/model/tags/list?n=1000", NO_TAGS, 60.0, "a page that was already read"),
        (lambda number: f"/v2/team/model/tags/list?last={number}", NO_TAGS, 60.0, f"more than {pages.MAX_PAGES} pages"),
        (
            lambda number: f"/v2/team/model/tags/list?last={number}",
            NO_TAGS + b" " * (4 << 20),
            60.0,
            "longer than 4194304 bytes|more than",
        ),
        (lambda number: f"/v2/team/model/tags/list?last={number}", NO_TAGS, 0.01, "takes longer than"),
    ],
    ids=["circle", "pages", "bytes", "time"],
)
def test_a_list_without_an_end_is_given_up(following: Callable[[int], str], body: bytes, timeout: float, words: str) -> None:
    numbers = count()

    def answer(asked: Asked) -> Say:
        if asked.path == "/v2/":
            return Say()
        return Say(200, body, {"Link": f'<{following(next(numbers))}>; rel="next"'})

    with saying(answer) as server:
        reference = RegistryReference(server.address, "team/model", "1")
        opened = RegistryStore(reference, limits=Limits(timeout=timeout, patience=0.001))
        with pytest.raises(BundlerError, match=words):
            opened.names()
