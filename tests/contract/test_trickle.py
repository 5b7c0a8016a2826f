"""A registry whose answers come byte by byte is given up, whatever was asked of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tokenregistry import serving

from bundler.errors import BundlerError
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.format.reference import RegistryReference
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.retry import ATTEMPTS
from bundler.stores.registry.store import RegistryStore
from bundler.streams import Begun

CONTENT = b" " * 2_000
BLOB = Descriptor.of("text/plain", CONTENT)
MANIFEST = Descriptor.of(artifact.MANIFEST, CONTENT)
LIMITS = Limits(timeout=5.0, patience=0.001)
"""A window that is long against the pauses between bytes, also where the machine is busy."""


class Trickling(BaseHTTPRequestHandler):
    """Gives a hundred bytes a second, but for the very first answer; says nothing of ranges.

    All attempts but the last are refused at once, as a whole window passes before one is given up.
    """

    challenge = ""
    refused = count()

    def do_GET(self) -> None:
        is_first = self.path == "/v2/"
        if not is_first and next(self.refused) < ATTEMPTS - 1:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if is_first or not self.challenge else 401)
        self.send_header("WWW-Authenticate", self.challenge)
        self.send_header("Content-Length", "0" if is_first else str(len(CONTENT)))
        self.end_headers()
        with suppress(OSError):  # it was given up
            for byte in b"" if is_first else CONTENT:
                self.wfile.write(bytes([byte]))
                time.sleep(0.01)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryStore]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(Trickling, "refused", count())
    with serving(Trickling) as address:
        yield RegistryStore(RegistryReference(address, "team/model", "1"), limits=LIMITS)


def begun() -> Begun:
    found = Begun()
    found.add(CONTENT[:-1])
    return found


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda store: store.manifest(MANIFEST), id="manifest"),
        pytest.param(lambda store: store.open(BLOB, begun()).read(), id="blob from zero where its end was asked for"),
    ],
)
def test_an_answer_that_comes_too_slowly_is_given_up(store: RegistryStore, ask: Callable[[RegistryStore], object]) -> None:
    with pytest.raises(BundlerError, match=r"transfer rate of [0-9.]+ bytes per second is too low") as caught:
        ask(store)
    assert caught.value.exit_code == 5
    assert "link" in caught.value.hint


def test_so_is_a_refusal(store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trickling, "challenge", "Basic")
    with pytest.raises(BundlerError, match=r"transfer rate of [0-9.]+ bytes per second is too low"):
        store.manifest(MANIFEST)
