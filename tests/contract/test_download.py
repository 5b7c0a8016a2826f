"""What a download takes for the part of a blob that it asked for, and what it gives up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tokenregistry import serving

from bundler.errors import IntegrityError, StoreError
from bundler.format.content import Descriptor
from bundler.format.reference import RegistryReference
from bundler.stores.registry import response_body
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.store import RegistryStore
from bundler.streams import Begun

CONTENT = bytes(range(256)) * 2048
BLOB = Descriptor.of("text/plain", CONTENT)
SIZE = len(CONTENT)
BEGIN = 10_000

Answer = tuple[int, str, bytes]
"""Status, Content-Range and body."""


def whole() -> Answer:
    return 200, "", CONTENT


def part(begin: int, end: int, *, said_begin: int | None = None, said_end: int | None = None) -> Answer:
    """The bytes from ``begin`` to ``end``, last one included, with what is said of them."""
    first, last = begin if said_begin is None else said_begin, end if said_end is None else said_end
    return 206, f"bytes {first}-{last}/{SIZE}", CONTENT[begin : end + 1]


class Scripted(BaseHTTPRequestHandler):
    """Gives the answers in their order, and when there are no more the whole blob, or with ``ranged`` what is asked for."""

    answers: ClassVar[list[Answer]] = []
    ranges: ClassVar[list[str]] = []
    piece = SIZE
    pause = 0.0
    ranged = False

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self.give(200, "", b"")
            return
        asked = self.headers.get("Range", "")
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranged else 0
        self.give(*(self.answers.pop(0) if self.answers else part(begin, SIZE - 1) if begin else whole()))

    def give(self, status: int, content_range: str, body: bytes) -> None:
        self.send_response(status)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # it was given up
            for start in range(0, len(body), self.piece):
                self.wfile.write(body[start : start + self.piece])
                time.sleep(self.pause)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> Iterator[RegistryStore]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(Scripted, "answers", [])
    monkeypatch.setattr(Scripted, "ranges", [])
    with serving(Scripted) as address:
        limits = Limits(timeout=0.5, patience=0.001)
        yield RegistryStore(RegistryReference(address, "team/model", "1"), limits=limits, tell=notes.append)


def begun(size: int = BEGIN) -> Begun:
    found = Begun()
    found.add(CONTENT[:size])
    return found


def test_the_part_that_was_asked_for_is_taken(store: RegistryStore, notes: list[str]) -> None:
    Scripted.answers[:] = [part(BEGIN, SIZE - 1)]
    assert store.open(BLOB, begun()).read() == CONTENT[BEGIN:]
    assert (Scripted.ranges, notes) == ([f"bytes={BEGIN}-"], [])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(part(BEGIN, SIZE - 2), id="ends one byte early"),
        pytest.param(part(BEGIN, SIZE - 1, said_end=SIZE), id="says that it ends one byte late"),
        pytest.param(part(BEGIN, SIZE - 1, said_end=SIZE - 2), id="says that it ends one byte early"),
        pytest.param(part(BEGIN, BEGIN), id="one byte"),
        pytest.param(part(BEGIN + 1, SIZE - 1), id="begins one byte late"),
        pytest.param(part(0, SIZE - 1), id="begins at zero"),
        pytest.param((206, "", CONTENT[BEGIN:]), id="does not say which part it is"),
        pytest.param((206, f"bytes {BEGIN}-/{SIZE}", CONTENT[BEGIN:]), id="does not say where it ends"),
        pytest.param((206, f"bytes */{SIZE}", CONTENT[BEGIN:]), id="unsatisfied"),
        pytest.param((416, f"bytes */{SIZE}", b""), id="no such range"),
    ],
)
def test_another_part_than_was_asked_for_is_not_taken_and_the_blob_is_read_from_its_beginning(
    store: RegistryStore, notes: list[str], answer: Answer
) -> None:
    Scripted.answers[:] = [answer]
    assert store.open(BLOB, begun()).read() == CONTENT[BEGIN:]
    assert Scripted.ranges == [f"bytes={BEGIN}-", ""]
    assert len(notes) == 1
    assert "returned another range of the blob" in notes[0]


@pytest.mark.parametrize(
    ("answer", "is_taken"),
    [
        (part(100, 199), True),
        (part(100, SIZE - 1), False),
        (part(100, 198), False),
        (part(100, 200), False),
        (whole(), True),
    ],
)
def test_a_range_in_the_middle_ends_where_it_was_asked_to(store: RegistryStore, answer: Answer, is_taken: bool) -> None:
    Scripted.answers[:] = [answer]
    assert store.open_range(BLOB, 100, 100).read() == CONTENT[100:200]
    assert Scripted.ranges == ["bytes=100-199", *([] if is_taken else [""])]


def test_a_blob_that_goes_on_after_its_end_is_refused(store: RegistryStore) -> None:
    Scripted.answers[:] = [(200, "", CONTENT + b"x")]
    with pytest.raises(IntegrityError, match=str(BLOB.digest)):
        store.open(BLOB).read()


def slow(piece: int, pause: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that are large enough to count as progress, on a link that is too slow nevertheless."""
    monkeypatch.setattr(response_body, "SLOWEST", 200_000)
    monkeypatch.setattr(Scripted, "piece", piece)
    monkeypatch.setattr(Scripted, "pause", pause)
    monkeypatch.setattr(Scripted, "ranged", True)


def test_a_link_that_is_too_slow_is_given_up_though_it_brings_something(
    store: RegistryStore, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(8 << 10, 0.3, monkeypatch)
    with pytest.raises(StoreError, match="bytes per second is too low") as caught:
        store.open(BLOB).read()
    assert caught.value.exit_code == 5
    assert all("too low" in note for note in notes)


def test_a_link_that_is_quick_enough_is_not_given_up(store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(8 << 10, 0.01, monkeypatch)
    assert store.open(BLOB).read() == CONTENT
