"""The certificates that Docker and Podman are given for a registry count for us, too."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from certificates import Authority
from dockerlogin import skip_offline
from privateregistry import Tls, private_registry

from bundler.errors import StoreError
from bundler.stores.registry import tls


class Pki:
    """Two authorities, the one below the other, and what the lower one has signed."""

    def __init__(self, directory: Path) -> None:
        self.root = Authority(directory, "root")
        self.lower = Authority(directory, "lower", self.root)
        self.server, self.server_key = self.lower.sign("server")
        self.client, self.client_key = self.lower.sign("client")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    skip_offline()
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def served(pki: Pki) -> Iterator[str]:
    """A registry with a certificate of our authority."""
    with private_registry(tls=Tls(pki.server, pki.server_key)) as address:
        yield address


@pytest.fixture(scope="module")
def strict(pki: Pki) -> Iterator[str]:
    """One that wants a certificate from us."""
    with private_registry(tls=Tls(pki.server, pki.server_key, clients=pki.lower.certificate)) as address:
        yield address


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path / ".config"


def give(directory: Path, *files: Path, name: str = "") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, directory / (f"{name}{file.suffix}" if name else file.name))


def get(address: str, directories: list[Path] | None = None) -> int:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", tls.Adapter(tls.context(address, directories)))
        return session.get(f"https://{address}/v2/", timeout=10).status_code


@pytest.mark.parametrize("place", ["docker", "containers"])
def test_an_authority_of_the_registry_is_trusted(pki: Pki, served: str, home: Path, place: str) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        get(served)
    give(home / place / "certs.d" / served, pki.lower.certificate)
    assert get(served) == 200


def test_it_is_trusted_for_no_other_registry(pki: Pki, served: str, home: Path) -> None:
    give(home / "docker/certs.d/127.0.0.1", pki.lower.certificate)
    give(home / "docker/certs.d/127.0.0.1:1", pki.lower.certificate)
    with pytest.raises(requests.exceptions.SSLError):
        get(served)


def test_another_authority_does_not_help(pki: Pki, served: str, tmp_path: Path) -> None:
    give(tmp_path / served, Authority(tmp_path, "other").certificate)
    with pytest.raises(requests.exceptions.SSLError):
        get(served, [tmp_path])
    give(tmp_path / served, pki.lower.certificate)
    assert get(served, [tmp_path]) == 200


def test_a_client_certificate_is_shown(pki: Pki, strict: str, tmp_path: Path) -> None:
    give(tmp_path / strict, pki.lower.certificate)
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        get(strict, [tmp_path])
    give(tmp_path / strict, pki.client, pki.client_key)
    assert get(strict, [tmp_path]) == 200


def test_the_first_client_certificate_is_shown(pki: Pki, strict: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").sign("other")
    give(tmp_path / "system" / strict, pki.lower.certificate, *stranger)
    give(tmp_path / "user" / strict, pki.client, pki.client_key)
    give(tmp_path / "user" / strict, *stranger, name="z")
    assert get(strict, [tmp_path / "user", tmp_path / "system"]) == 200
    with pytest.raises((requests.exceptions.SSLError, requests.exceptions.ConnectionError)):
        get(strict, [tmp_path / "system", tmp_path / "user"])


def test_it_is_all_the_same_through_a_proxy(pki: Pki, strict: str, tmp_path: Path) -> None:
    give(tmp_path / strict, pki.lower.certificate, pki.client, pki.client_key)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tunnel) as proxy, requests.Session() as session:
        threading.Thread(target=proxy.serve_forever, args=(0.02,)).start()
        session.mount("https://", tls.Adapter(tls.context(strict, [tmp_path])))
        session.trust_env = False
        session.proxies = {"https": "http://{}:{}".format(*proxy.server_address)}
        assert session.get(f"https://{strict}/v2/", timeout=10).status_code == 200
        proxy.shutdown()


class Tunnel(socketserver.StreamRequestHandler):
    """A proxy that knows CONNECT alone (RFC 9110, section 9.3.6)."""

    def handle(self) -> None:
        host, _, port = self.rfile.readline().split()[1].decode().partition(":")
        while self.rfile.readline().strip():
            pass
        with socket.create_connection((host, int(port))) as other:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pump, args=(other, self.connection))
            back.start()
            pump(self.connection, other)
            back.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_the_name_of_the_host_counts(pki: Pki, served: str, tmp_path: Path) -> None:
    address = served.replace("127.0.0.1", "localhost")
    give(tmp_path / address, pki.lower.certificate)
    with pytest.raises(requests.exceptions.SSLError, match=r"not valid for"):
        get(address, [tmp_path])


def test_the_system_stays_trusted_and_old_tls_is_not_spoken(pki: Pki, tmp_path: Path) -> None:
    give(tmp_path / "x", pki.root.certificate)
    made = tls.context("x", [tmp_path])
    assert len(made.get_ca_certs()) == len(tls.context("y", [tmp_path]).get_ca_certs()) + 1
    assert len(made.get_ca_certs()) == len(ssl.create_default_context().get_ca_certs()) + 1
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "README.txt").write_text("nothing")
    tls.context("x", [tmp_path])


@pytest.mark.parametrize(
    ("present", "absent"), [("client", "client.key"), ("client_key", "client.cert")], ids=["no key", "no certificate"]
)
def test_half_a_pair_is_an_error(pki: Pki, tmp_path: Path, present: str, absent: str) -> None:
    give(tmp_path / "x", getattr(pki, present))
    with pytest.raises(StoreError, match=absent) as caught:
        tls.context("x", [tmp_path])
    assert str(tmp_path / "x") in caught.value.message
    assert ".crt" in caught.value.hint


@pytest.mark.parametrize("damaged", ["root.crt", "client.cert", "client.key"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_file_is_named(pki: Pki, tmp_path: Path, damaged: str, content: bytes) -> None:
    give(tmp_path / "x", pki.root.certificate, pki.client, pki.client_key)
    (tmp_path / "x" / damaged).write_bytes(content)
    with pytest.raises(StoreError) as caught:
        tls.context("x", [tmp_path])
    assert damaged in caught.value.message + caught.value.hint
    assert "PEM" in caught.value.hint


def test_a_second_certificate_in_a_file_is_read_too(pki: Pki, tmp_path: Path) -> None:
    give(tmp_path / "x", pki.root.certificate)
    file = tmp_path / "x" / "root.crt"
    file.write_bytes(pki.root.certificate.read_bytes() + pki.lower.certificate.read_bytes())
    count = len(tls.context("x", [tmp_path]).get_ca_certs())
    assert count == len(tls.context("y", [tmp_path]).get_ca_certs()) + 2
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"root\.crt"):
        tls.context("x", [tmp_path])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.crt").symlink_to("nothing")
    with pytest.raises(StoreError, match=r"a\.crt.*No such file"):
        tls.context("x", [tmp_path])
    (tmp_path / "y").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        tls.context("y", [tmp_path])


def test_a_key_with_a_passphrase_asks_nobody(pki: Pki, tmp_path: Path) -> None:
    give(tmp_path / "x", pki.client)
    locked = [
        "openssl",
        "ec",
        "-aes128",
        "-passout",
        "pass:hunter2",
        "-in",
        str(pki.client_key),
        "-out",
        str(tmp_path / "x/client.key"),
    ]
    subprocess.run(locked, check=True, capture_output=True)
    with pytest.raises(StoreError, match=r"client\.cert") as caught:
        tls.context("x", [tmp_path])
    assert "passphrase" in caught.value.hint
