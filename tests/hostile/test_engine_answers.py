"""Whatever an engine answers, a command ends with exit 4 and one line: soon, in little memory, and without a traceback."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress

from bundler.engines import answers, unix_http
from bundler.engines.connection import Client, errors, stream
from bundler.engines.docker import DockerEngine
from bundler.errors import BundlerError, EngineError
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy
from hostile import migrator
from hostile.fakeengine import CONTAINER, MODEL, Bad, Engine, image, serving
from hostile.running import Run, checked


def write(*pieces: bytes, endless: bytes = b"") -> Bad:
    """An answer of these pieces, and of another one for as long as anybody listens."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
        while endless:
            handler.wfile.write(endless)

    return answer


def body(content: bytes, status: bytes = b"200 OK") -> Bad:
    return write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))


OK = b"HTTP/1.1 200 OK\r\n"
BAD: dict[str, Bad] = {
    "no HTTP": write(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no JSON": body(b"<html>\x1b[2J\n</html>"),
    "no UTF-8": body(b'"\xff\xfe\xfa"'),
    "nothing": body(b""),
    "null": body(b"null"),
    "a number": body(b"7"),
    "a list of numbers": body(b"[7]"),
    "a list of nulls": body(b"[null]"),
    "nested": body(b"[" * 200_000),
    "many values": body(b"[" + b"[]," * 5_000_000 + b"[]]"),
    "a number of many digits": body(b'{"Id": ' + b"9" * 10_000 + b"}"),
    "cut": write(OK, b'Content-Length: 100\r\n\r\n{"Id": "'),
    "nothing at all": write(b""),
    "endless": write(OK, b"\r\n", endless=b" " * (1 << 20)),
    "endless chunks": write(OK, b"Transfer-Encoding: chunked\r\n\r\n", endless=b"100000\r\n" + b" " * (1 << 20) + b"\r\n"),
    "endless chunk size": write(OK, b"Transfer-Encoding: chunked\r\n\r\n", endless=b"0" * (1 << 20)),
    "endless header": write(OK, b"X: ", endless=b"x" * (1 << 20)),
    "endless headers": write(OK, endless=b"X: x\r\n" * 1000),
    "redirect": write(b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\n\r\n", endless=b" " * (1 << 20)),
    "failure of a list": body(b"[]", b"500 Failed"),
    "failure in numbers": body(b'{"message": 7}', b"500 Failed"),
    "endless failure": write(b"HTTP/1.1 500 Failed\r\n\r\n", endless=b"x\x1b" * 1000),
}


def push(run: Run, *more: str) -> tuple[int, str]:
    with migrator.serving() as endpoint:
        return run("push", "detector", "pushed:1", "--reader", "api", "--endpoint", endpoint, "--quiet", *more)


def apply(run: Run, tmp_path: Path) -> tuple[int, str]:
    source = MemoryStore()
    bundle(source)
    archive = tmp_path / "bundle.tar"
    if not archive.exists():
        copy.copy(source, ArchiveStore(archive, "1"), RecordingProgress())
    return run("apply", str(archive), "--tag", "new:1", "--quiet")


def ingest(run: Run) -> tuple[int, str]:
    with migrator.serving() as endpoint:
        return run("ingest", "detector", "--no-export", "--onto", "model:1.0", "--tag", "new:1", "--endpoint", endpoint, "-q")


def undo(run: Run, engine: Engine) -> tuple[int, str]:
    engine.images = [image(names=("new:1",)), image("sha256:" + "5" * 64, ("new:1-previous",))]
    return run("undo", "new:1")


def test_an_honest_engine_serves_every_command(run: Run, engine: Engine, tmp_path: Path) -> None:
    assert run("doctor")[0] == 0
    assert push(run)[0] == 0
    assert not engine.paused
    assert apply(run, tmp_path)[0] == 0
    assert ingest(run)[0] == 0
    assert undo(run, engine)[0] == 0
    assert engine.temporary == {}


REACHED = {
    "doctor": ("version", "info"),
    "undo": ("image", "tag"),
    "apply": ("images", "image", "load", "tag", "untag"),
    "push": ("container", "image", "stat", "changes", "create", "remove", "archive"),
    "push, paused": ("pause", "unpause"),
    "ingest": ("create", "start", "commit", "remove"),
}
WITHOUT_BODY = ("tag", "pause", "unpause", "start", "stat", "remove")
"""Requests whose answer has no body that anybody reads: only its head can be wrong."""
FULL = os.environ.get("FPS_BUNDLE_FAULTS") == "full"
HEADS = ("no HTTP", "nothing at all", "endless header", "endless headers", "redirect", "failure of a list", "endless failure")
FEW_HEADS = HEADS if FULL else ("no HTTP", "redirect", "failure of a list")
"""What a pause is tried with, each of which starts a watchdog, and waits until no late pause can come."""
SHORT = ("no JSON", "endless", "endless chunk size", "endless header", "failure of a list", "nested")
"""What longer commands are tried with; `doctor` and `undo` are tried with everything."""


def cases() -> Iterator[tuple[str, str, str]]:
    for command, names in REACHED.items():
        for name in names:
            wrong = (
                FEW_HEADS
                if "paused" in command
                else HEADS
                if name in WITHOUT_BODY
                else BAD
                if command in ("doctor", "undo")
                else SHORT
            )
            yield from ((command, name, how) for how in wrong)


@pytest.mark.parametrize(("command", "name", "how"), list(cases()))
def test_a_bad_answer_is_exit_4(command: str, name: str, how: str, run: Run, engine: Engine, tmp_path: Path) -> None:
    engine.bad[name] = BAD[how]
    if command == "doctor":
        code, text = run("doctor")
    elif command == "undo":
        code, text = undo(run, engine)
    elif command == "apply":
        code, text = apply(run, tmp_path)
    elif command == "ingest":
        code, text = ingest(run)
    else:
        code, text = push(run, *(() if "paused" in command else ("--no-pause",)))
    assert name in engine.asked
    assert code in ((3, 4) if name == "archive" else (4,)), text


@pytest.mark.parametrize("how", ["no JSON", "endless", "endless chunk size", "nested", "null", "no HTTP", "cut"])
@pytest.mark.parametrize("name", ["events", "stats", "logs", "save"])
def test_streams_and_what_is_good_to_know_end_too(name: str, how: str, run: Run, engine: Engine, tmp_path: Path) -> None:
    engine.bad[name] = BAD[how]
    if name == "stats":
        engine.bad["events"] = body(b"")
    if name == "save":
        engine.bad["load"] = body(b'{"message": "layers are missing"}', b"500 Failed")  # so all of the base is sent
    code, text = {"save": lambda: apply(run, tmp_path), "logs": lambda: failing_ingest(run)}.get(name, lambda: push(run))()
    assert name in engine.asked
    assert code in (0, 3, 4), text
    assert not engine.paused


def archived(*members: tuple[str, bytes, int]) -> Bad:
    """An archive of these files, whose sizes may be lies, and of zeros without end."""
    headers = []
    for name, content, size in members:
        described = tarfile.TarInfo(name)
        described.size = size
        headers.append(described.tobuf(tarfile.USTAR_FORMAT) + content)
    return write(OK, b"\r\n", *headers, endless=bytes(1 << 20))


SAVED: dict[str, Bad] = {
    "zeros": archived(),
    "no JSON": archived(("manifest.json", b"x" * 512, 512)),
    "a nested manifest": archived(("manifest.json", b"[" * 512 * 1000, 512 * 1000)),
    "a large manifest": archived(("manifest.json", b"", 6 << 30)),
    "a cut file": write(OK, b"\r\n", tarfile.TarInfo("x").tobuf()[:300]),
}


@pytest.mark.parametrize("how", SAVED)
def test_a_bad_archive_of_the_base_is_exit_4(how: str, run: Run, engine: Engine, tmp_path: Path) -> None:
    engine.bad["load"] = body(b'{"message": "layers are missing"}', b"500 Failed")
    engine.bad["save"] = SAVED[how]
    code, text = apply(run, tmp_path)
    assert "save" in engine.asked
    assert code == 4, text


def test_an_archive_of_files_that_goes_on_with_zeros_ends(run: Run, engine: Engine) -> None:
    engine.bad["archive"] = archived(("s", b"", 0))
    code, text = push(run, "--no-pause")
    assert code in (3, 4), text


def failing_ingest(run: Run) -> tuple[int, str]:
    def fail(_: Any, context: Any) -> Iterator[Any]:
        raise RuntimeError("the model failed")
        yield context

    with migrator.serving(ingest=fail) as endpoint:
        return run("ingest", "detector", "--no-export", "--onto", "model:1.0", "--tag", "new:1", "--endpoint", endpoint, "-q")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("load", "has no image"),
        ("tag", "tagged an image new:1, but it has no image|is not the image that was just tagged"),
        ("untag", "removed the tag"),
    ],
)
def test_an_engine_that_did_nothing_is_noticed_by_apply(name: str, said: str, run: Run, engine: Engine, tmp_path: Path) -> None:
    engine.idle.add(name)
    code, text = apply(run, tmp_path)
    assert code == 4
    assert any(part in text for part in said.split("|")), text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pause", "but it is not paused"),
        ("unpause", "resumed the container, but it is still paused"),
        ("create", "has no such container"),
    ],
)
def test_an_engine_that_did_nothing_is_noticed_by_push(name: str, said: str, run: Run, engine: Engine) -> None:
    engine.idle.add(name)
    code, text = push(run)
    assert code == 4
    assert said in text, text


@pytest.mark.parametrize(
    ("name", "said"), [("commit", "but it has no image"), ("create", "has no such container"), ("remove", "but it still exists")]
)
def test_an_engine_that_did_nothing_is_noticed_by_ingest(name: str, said: str, run: Run, engine: Engine) -> None:
    engine.idle.add(name)
    code, text = ingest(run)
    assert code == 4
    assert said in text, text


def test_a_tag_that_another_process_moves_is_noticed(run: Run, engine: Engine) -> None:
    moved = image("sha256:" + "6" * 64, ("other:1",))

    def move(handler: BaseHTTPRequestHandler) -> None:
        engine.name_image(moved, "new:1")
        engine.images.append(moved)
        handler.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    engine.bad["tag"] = move
    code, text = undo(run, engine)
    assert code == 12
    assert "new:1 is not the image that was just tagged" in text


def test_more_images_than_any_engine_has_are_not_looked_at(run: Run, engine: Engine, tmp_path: Path) -> None:
    engine.bad["images"] = body(json.dumps([{"Id": MODEL}] * 20_001).encode())
    code, text = apply(run, tmp_path)
    assert (code, "more than 20000 images" in text) == (4, True)


def test_an_engine_that_loaded_many_images_is_believed_a_few(run: Run, engine: Engine, tmp_path: Path) -> None:
    lines = b"".join(b'{"stream": "Loaded image: other:%d"}\n' % number for number in range(100_000))
    engine.bad["load"] = body(lines)
    code, text = apply(run, tmp_path)
    assert code == 4, text
    assert engine.asked.count("image") < 50


OTHERS: list[Any] = [None, 7, -1, 1.5, True, "x", "x\x1b\n" * 1000, [], [None], {}, {"x": None}, 10**30]


def mutants(document: Any) -> Iterator[Any]:
    """A document with each of its values replaced by each of some others, and without each of its keys."""
    for path in places(document):
        for other in (*OTHERS, ...):
            changed = deepcopy(document)
            within = changed
            for key in path[:-1]:
                within = within[key]
            if other is ...:
                del within[path[-1]]
            else:
                within[path[-1]] = other
            yield changed


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def failure(act: Callable[[], object]) -> BundlerError | None:
    try:
        act()
    except BundlerError as error:
        return error
    return None


LOOKS: dict[str, tuple[Any, Callable[[DockerEngine], object]]] = {
    "container": (Engine().container(CONTAINER, "detector"), lambda engine: engine.container("detector")),
    "image": (image(), lambda engine: engine.image("model:1.0")),
    "images": ([{"Id": MODEL}], lambda engine: list(engine.images())),
    "changes": ([{"Path": "/s/f", "Kind": 1}], lambda engine: engine.changes(engine.container("detector"))),
    "info": ({"DriverStatus": [["a", "b"]], "DockerRootDir": "/x"}, lambda engine: engine.info()),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_document_of_another_shape_is_refused_or_read_as_its_types_say(name: str, engine: Engine, tmp_path: Path) -> None:
    document, look = LOOKS[name]
    refused = 0
    with serving(engine, tmp_path / "socket") as address:
        for mutant in mutants(document):
            engine.bad.clear()
            asking = DockerEngine(address)
            engine.bad[name] = body(json.dumps(mutant).encode())
            if error := failure(lambda: look(asking)):  # noqa: B023 - called at once
                assert error.exit_code in (4, 6), error
                assert len(error.message) < 1000
                refused += 1
    assert refused


@pytest.mark.parametrize(
    "changes",
    [{"Id": "../../x"}, {"Id": "c" * 63}, {"Id": CONTAINER + "\n"}, {"Name": "/x; reboot"}, {"Name": "/\x1b[2J"}, {"Image": "x"}],
)
def test_an_identity_that_could_lead_elsewhere_is_refused(changes: dict[str, str], engine: Engine, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "socket") as address:
        engine.bad["container"] = body(json.dumps({**engine.container(CONTAINER, "detector"), **changes}).encode())
        with pytest.raises(
            EngineError, match=f"invalid answer .* while looking for the container 'detector': {next(iter(changes))}"
        ):
            DockerEngine(address).container("detector")


@pytest.mark.parametrize("address", ["unix", "/etc/passwd", "unix:/run/x", "127.0.0.1:1,unix"])
def test_a_container_has_addresses_of_the_internet_protocol_only(address: str) -> None:
    document = Engine().container(CONTAINER, "detector")
    document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] = address
    with pytest.raises(answers.BadAnswer, match="IPAddress"):
        answers.read(answers.Inspected, document)


def trickle(head: bytes, piece: bytes, stop: threading.Event) -> Bad:
    """An answer that goes on with one piece every tenth of a second."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not stop.wait(0.1):
            handler.wfile.write(piece)

    return answer


@pytest.mark.parametrize("head", [b"", OK, OK + b"X: ", OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_answer_that_trickles_in_ends_in_time(head: bytes, engine: Engine, tmp_path: Path) -> None:
    stop = threading.Event()
    with serving(engine, tmp_path / "socket") as address:
        client = Client(base_url=address, version="1.44", timeout=1)
        engine.bad["info"] = trickle(head, b" ", stop)
        began = time.monotonic()
        with pytest.raises(EngineError, match="timeout while asking: no answer"), errors(client, "asking"):
            client.info()
        assert 0.9 < time.monotonic() - began < 60
        stop.set()


@pytest.mark.parametrize("head", [b"", OK, OK + b"X: "])
def test_the_head_of_a_stream_that_trickles_in_ends_in_time(head: bytes, engine: Engine, tmp_path: Path) -> None:
    stop = threading.Event()
    with serving(engine, tmp_path / "socket"):
        engine.bad["info"] = trickle(head, b" ", stop)
        with pytest.raises(TimeoutError), unix_http.get(str(tmp_path / "socket"), "/info", 1, 1):
            pass
        stop.set()


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"Content-Length: 1000000\r\n\r\n"])
def test_a_stream_that_trickles_in_counts_as_silent(head: bytes, engine: Engine, tmp_path: Path) -> None:
    stop = threading.Event()
    with serving(engine, tmp_path / "socket") as address:
        client = Client(base_url=address, version="1.44", timeout=1)
        engine.bad["save"] = trickle(head, b"x", stop)
        with pytest.raises(EngineError, match="timeout while saving"):
            drained(client)
        stop.set()


def drained(client: Client) -> None:
    with stream(client, "saving", "/images/x/get", silence=1) as content:
        while content.read(100):
            pass


def test_a_slow_reader_is_no_silent_engine(engine: Engine, tmp_path: Path) -> None:
    with serving(engine, tmp_path / "socket") as address:
        client = Client(base_url=address, version="1.44", timeout=1)
        engine.bad["save"] = body(b"x" * 5)
        with stream(client, "saving", "/images/x/get", silence=0.2) as content:
            for _ in range(5):
                time.sleep(0.2)
                assert content.read(1) == b"x"


@pytest.mark.parametrize("how", ["missing", "no socket", "a directory", "refused", "forbidden"])
def test_an_engine_that_cannot_be_reached_is_named(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, expected = tmp_path / "socket", "no such file or directory"
    if how == "no socket":
        path.write_bytes(b"")
        expected = "not a socket"
    elif how == "a directory":
        path.mkdir()
        expected = "not a socket"
    elif how == "refused":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
        expected = "connection refused"
    elif how == "forbidden":
        monkeypatch.setattr(socket.socket, "connect", forbid)
        expected = "permission denied"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    for arguments in (("push", "detector"), ("undo", "new:1"), ("ingest", "detector", "--onto", "x:1", "--tag", "y:1")):
        code, text = checked(*arguments)
        assert code == 4
        assert f"cannot connect to the Docker daemon at unix://{path}: {expected}" in text
        assert ("`docker` group" if how == "forbidden" else "DOCKER_HOST or --host") in text
    code, text = checked("doctor")
    assert code == 4
    assert f"unix://{path}: {expected}" in text


def forbid(*_: object) -> None:
    raise PermissionError(13, "Permission denied")  # as root, no mode of a file forbids anything


@pytest.mark.parametrize(
    "value", ["nonsense", "unix://relative", "unix:", "localhost:2375", "tcp://", "tcp://x:port", "tcp://[", "npipe://x", "\x1b[2J"]
)
def test_a_docker_host_that_is_no_address_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", value)
    code, text = checked("undo", "new:1")
    assert code == 2
    assert "DOCKER_HOST: " in text
    assert "tcp://HOST:PORT" in text


@pytest.mark.parametrize("content", ["", "7", "[" * 100_000, '{"Endpoints": {"docker": {"Host": 7}}}', None])
def test_a_context_that_cannot_be_used_is_named(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    if content is not None:
        meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"far").hexdigest()
        meta.mkdir(parents=True)
        (meta / "meta.json").write_text(content)
    code, text = checked("undo", "new:1")
    assert code in (2, 4)
    assert "the Docker context 'far'" in text or "no Docker context 'far'" in text


@pytest.mark.parametrize("content", ["[]", "7", '{"proxies": 7}', '{"HttpHeaders": 7}', '{"HttpHeaders": {"X": 7}}', "[" * 100_000])
def test_a_configuration_of_docker_that_is_no_such_thing(
    content: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    code, text = run("undo", "new:1")
    assert code in (2, 4, 6), text
