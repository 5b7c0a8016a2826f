"""A registry server of our own on a free loopback port: Debian's ``docker-registry``."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from privateengine import SetupError, ensure, stop

START_TIMEOUT = 30


@dataclass(frozen=True)
class Tls:
    """The registry's own certificate and key; with ``clients`` it wants a certificate of that authority from every client."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def __str__(self) -> str:
        clients = f"    clientcas: [{self.clients}]\n" if self.clients else ""
        return f"  tls:\n    certificate: {self.certificate}\n    key: {self.key}\n{clients}"


@contextmanager
def private_registry(
    user: str = "", password: str = "", storage: Path | None = None, tls: Tls | None = None, *, deletes: bool = True
) -> Iterator[str]:
    """Run a registry; gives its ``HOST:PORT``. With a ``user`` it wants basic authentication; with ``deletes`` it can delete."""
    program = ensure("docker-registry", "docker-registry")
    with tempfile.TemporaryDirectory(prefix="fps-registry-") as directory:
        root = Path(directory)
        address = f"127.0.0.1:{_free_port()}"
        auth = ""
        if user:
            htpasswd = [ensure("htpasswd", "apache2-utils"), "-Bbn", user, password]
            (root / "htpasswd").write_bytes(subprocess.run(htpasswd, capture_output=True, check=True).stdout)
            auth = f"auth:\n  htpasswd:\n    realm: tests\n    path: {root}/htpasswd\n"
        (root / "config.yml").write_text(
            "version: 0.1\nlog:\n  level: warn\n"
            f"storage:\n  filesystem:\n    rootdirectory: {storage or root / 'storage'}\n"
            f"  delete:\n    enabled: {str(deletes).lower()}\n"
            "  cache:\n    blobdescriptor: inmemory\n"  # as Debian's own: it answers HEAD for blobs that are gone
            f"http:\n  addr: {address}\n  secret: fixed\n{tls or ''}{auth}"
        )
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(root / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _wait_until_up(process, address, root / "log")
            yield address
        finally:
            stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(f"http://{address}/v2/", timeout=5):
                return
        except urllib.error.HTTPError:
            return  # it answers, if only to ask who we are, or to say that it speaks TLS
        except OSError:
            time.sleep(0.05)
    raise SetupError(f"the registry did not come up:\n{log.read_text()[-3000:]}")
