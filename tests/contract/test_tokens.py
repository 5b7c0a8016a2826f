"""A registry that wants tokens: they are fetched, they expire, and nobody else gets to see them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle, noise
from dockerlogin import install_keeper
from fakes import MemoryStore, RecordingProgress, file, tree
from tokenregistry import TokenRegistry, serving, token_registry

from bundler.bundle import read_bundle
from bundler.concurrency import parallel
from bundler.errors import AuthorizationError, BundlerError, IntegrityError, StoreError
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.format.reference import RegistryReference
from bundler.stores.registry import credentials
from bundler.stores.registry.auth import belongs_to
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.pages import MAX_PAGES
from bundler.stores.registry.store import RegistryStore
from bundler.stores.registry.upload import LARGEST_CHUNK
from bundler.streams import Begun, Stream, watched
from bundler.verbs import copy

SECRETS = ("Bearer", "Basic")


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    bundle(store, tree(file("/s/f", b"x" * 100_000)))
    return store


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenRegistry]:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    with token_registry() as running:
        login(running.address, "user:secret", tmp_path, monkeypatch)
        yield running


def login(address: str, user: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = base64.b64encode(user.encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(directory))


def opened(registry: TokenRegistry) -> RegistryStore:
    return RegistryStore(RegistryReference(registry.address, "team/model", "1"), limits=Limits(patience=0.01))


def bundled(store: MemoryStore) -> Sequence[Descriptor]:
    return read_bundle(store).manifest.blobs


class Given(MemoryStore):
    """Tells how much of it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = RecordingProgress()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        return watched(super().open(blob, begun), self.progress)


def read_all(store: RegistryStore) -> None:
    for blob in read_bundle(store).manifest.blobs:
        with store.open(blob) as stream:
            while stream.read(1000):
                pass


def test_a_bundle_goes_up_and_comes_down_with_tokens(registry: TokenRegistry, source: MemoryStore) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    back = MemoryStore()
    copy.copy(opened(registry), back, RecordingProgress())
    assert back.blobs == source.blobs
    assert {authorization.partition(" ")[0] for authorization in registry.token_requests} == {"Basic"}


def test_the_password_goes_to_the_token_service_alone(registry: TokenRegistry, source: MemoryStore) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    assert not [path for _, path, authorization in registry.requests if authorization.startswith("Basic")]


@pytest.mark.parametrize("lives", [2, 3])
def test_a_token_that_expires_is_replaced(registry: TokenRegistry, source: MemoryStore, lives: int) -> None:
    registry.token_lives = lives
    copy.copy(source, opened(registry), RecordingProgress())
    read_all(opened(registry))
    assert len(registry.token_requests) > 2


def test_a_token_that_is_good_for_one_request_alone_is_enough(registry: TokenRegistry, source: MemoryStore) -> None:
    registry.token_lives = 1
    copy.copy(source, opened(registry), RecordingProgress())
    back = MemoryStore()
    copy.copy(opened(registry), back, RecordingProgress())
    assert back.blobs == source.blobs


def test_threads_do_not_take_each_others_fresh_tokens(registry: TokenRegistry, source: MemoryStore) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    registry.token_lives = 1
    store = opened(registry)
    parallel.each(store.has, [blob for blob in bundled(source) for _ in range(30)], 8, threading.Event())


def test_a_token_is_had_without_credentials_where_the_registry_gives_one(
    registry: TokenRegistry, source: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    registry.anonymous = True
    read_all(opened(registry))
    assert registry.token_requests[-1] == ""


@pytest.mark.parametrize("user", ["user:wrong", ""])
def test_a_token_that_is_refused_is_not_authorised(
    registry: TokenRegistry, source: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    if user:
        login(registry.address, user, tmp_path, monkeypatch)
    else:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    with pytest.raises(AuthorizationError) as caught:
        copy.copy(source, opened(registry), RecordingProgress())
    assert caught.value.exit_code == 7
    assert "secret" not in str(caught.value)


def test_a_redirected_download_takes_no_credentials_along(registry: TokenRegistry, source: MemoryStore) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    with strange_host(registry.blobs) as strange:
        registry.redirect_blobs = f"http://{strange.address}"
        read_all(opened(registry))
    assert strange.seen
    assert not set(strange.seen) - {""}


def test_a_host_that_we_were_sent_on_to_cannot_ask_who_we_are(registry: TokenRegistry, source: MemoryStore) -> None:
    copy.copy(source, opened(registry), RecordingProgress())
    with strange_host(registry.blobs) as strange:
        strange.challenge = f'Bearer realm="http://{strange.address}/token"'
        registry.redirect_blobs = f"http://{strange.address}"
        with pytest.raises(StoreError, match="asks for credentials"):
            read_all(opened(registry))
    assert not set(strange.seen) - {""}


def test_a_host_that_we_were_sent_on_to_gets_nothing_out_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob, seen = Descriptor.of("text/plain", b"content"), list[tuple[str, str]]()

    class Proxy(BaseHTTPRequestHandler):
        """Both hosts, as a proxy sees them."""

        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization", "")))
            self.send_response(307 if "/blobs/" in self.path else 200)
            self.send_header("Location", "http://storage.example/blob")
            self.send_header("Content-Length", str(blob.size))
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    (tmp_path / "netrc").write_text("machine storage.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(Proxy) as address:
        monkeypatch.setenv("http_proxy", f"http://{address}")
        store = RegistryStore(RegistryReference("registry.example", "team/model", "1"), plain_http=True)
        with store.open(blob) as stream:
            assert stream.read() == b"content"
    assert seen[-1] == ("http://storage.example/blob", "")


def test_a_token_service_of_somebody_else_does_not_get_the_password(registry: TokenRegistry, source: MemoryStore) -> None:
    with strange_host({}) as strange:
        # The same host under a name of its own: what belongs to 127.0.0.1 does not belong to localhost.
        registry.realm = f"http://{strange.address.replace('127.0.0.1', 'localhost')}/token"
        with pytest.raises(AuthorizationError):
            copy.copy(source, opened(registry), RecordingProgress())
    assert strange.seen
    assert not set(strange.seen) - {""}


@pytest.mark.parametrize(
    ("service", "registry", "belongs"),
    [
        ("registry.example", "registry.example", True),
        ("auth.docker.io", "registry-1.docker.io", True),
        ("gitlab.example.com", "registry.gitlab.example.com", True),
        ("evil.example", "registry.example", False),
        ("example", "registry.example", False),
        ("evilexample.com", "registry.example.com", False),
        ("registry.example.evil.com", "registry.example", False),
        ("", "registry.example", False),
    ],
)
def test_a_token_service_is_the_registrys_own_by_its_name(service: str, registry: str, belongs: bool) -> None:
    assert belongs_to(service, registry) is belongs


@pytest.mark.parametrize("keep", ["auths", "helper"])
def test_an_identity_token_is_shown_in_place_of_a_password(
    registry: TokenRegistry, source: MemoryStore, tmp_path: Path, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if keep == "auths":
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"identitytoken": "it is me"}}}))
    else:
        install_keeper(tmp_path / "bin", monkeypatch)
        (tmp_path / "config.json").write_text(json.dumps({"credsStore": "keeper"}))
        credentials.store(registry.address, credentials.Credentials("", "", "it is me"))
    copy.copy(source, opened(registry), RecordingProgress())
    assert set(registry.identity_tokens) == {"it is me"}
    assert registry.token_requests == []


def test_a_registry_that_takes_no_chunks_gets_a_blob_in_one_request(registry: TokenRegistry) -> None:
    large = noise(3 << 20)
    copy.copy(large, opened(registry), RecordingProgress())
    back = MemoryStore()
    copy.copy(opened(registry), back, RecordingProgress())
    assert back.blobs == large.blobs


def test_a_registry_that_wants_huge_chunks_gets_a_blob_as_it_is_read(registry: TokenRegistry) -> None:
    large, given, asked = noise(LARGEST_CHUNK + (8 << 20)), Given(), list[int]()
    given.blobs, given.tags = large.blobs, large.tags
    registry.least_chunk = LARGEST_CHUNK + 1
    registry.before_blob = lambda: asked.append(given.progress.done)
    copy.copy(given, opened(registry), RecordingProgress())
    assert registry.blobs.items() >= {str(blob.digest): large.blobs[blob.digest] for blob in bundled(large)}.items()
    assert max(asked) < LARGEST_CHUNK


def test_an_upload_goes_on_later_in_chunks_that_are_large_enough(registry: TokenRegistry) -> None:
    large = noise(10 << 20)
    registry.least_chunk = 2 << 20
    registry.refuse_blob_puts = 1_000
    with pytest.raises(StoreError, match="503"):
        copy.copy(large, opened(registry), RecordingProgress())
    registry.refuse_blob_puts = 0
    registry.requests.clear()
    copy.copy(large, opened(registry), RecordingProgress())
    assert registry.blobs.keys() == {str(blob.digest) for blob in bundled(large)}
    assert any(method == "GET" and "/uploads/" in path for method, path, _ in registry.requests)


def test_a_next_page_on_another_host_gets_no_credentials(registry: TokenRegistry) -> None:
    with strange_host({}) as strange:
        registry.next_tags = f"http://{strange.address}/v2/team/model/tags/list"
        with pytest.raises(BundlerError):
            opened(registry).names()
    assert not set(strange.seen) - {""}


def test_all_pages_of_what_refers_to_a_bundle_are_read(registry: TokenRegistry) -> None:
    found = [Descriptor.of(artifact.MANIFEST, data) for data in (b"1", b"2", b"3")]
    registry.referrer_pages = [_page(found[0]), _page(), _page(*found[1:])]
    assert opened(registry).referrers(Descriptor.of(artifact.MANIFEST, b"")) == found


@pytest.mark.parametrize("what", ["tags", "referrers"])
def test_a_list_that_never_ends_is_given_up(registry: TokenRegistry, what: str) -> None:
    registry.next_tags = "?"
    registry.referrer_pages = [_page()] * (MAX_PAGES + 1)
    with pytest.raises(IntegrityError, match=r"pages|a page that was already read"):
        opened(registry).names() if what == "tags" else opened(registry).referrers(Descriptor.of(artifact.MANIFEST, b""))


def _page(*found: Descriptor) -> bytes:
    content = {"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": [descriptor.to_json() for descriptor in found]}
    return json.dumps(content).encode()


def test_a_blob_that_a_busy_registry_refused_is_sent_again(registry: TokenRegistry, source: MemoryStore) -> None:
    registry.refuse_blob_puts = 1
    copy.copy(source, opened(registry), RecordingProgress())
    assert registry.blobs.keys() == {str(blob.digest) for blob in bundled(source)}


class _Strange:
    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs
        self.seen: list[str] = []
        self.address = ""
        self.challenge = ""


class strange_host:  # noqa: N801
    """Another host, which remembers what credentials it was sent."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._strange = strange = _Strange(blobs)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                strange.seen.append(self.headers.get("Authorization", ""))
                if strange.challenge:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", strange.challenge)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = strange.blobs.get(self.path.rpartition("/")[2], b"{}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing is printed."""

        self._server = serving(Handler)

    def __enter__(self) -> _Strange:
        self._strange.address = self._server.__enter__()
        return self._strange

    def __exit__(self, *problem: Any) -> None:
        self._server.__exit__(*problem)
