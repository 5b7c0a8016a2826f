"""Whatever a model answers, a command ends with exit 3 and a bounded line, in bounded memory, and leaves no container."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from fakes import FakeEngine, RecordingProgress, container, directory, file, tree

from bundler._proto.fps.model import migrator_pb2
from bundler.errors import ModelError
from bundler.format import paths
from bundler.models import grpc as models
from bundler.models.grpc import GrpcModel
from bundler.verbs import container_copy
from hostile import migrator
from hostile.fakeengine import Engine
from hostile.migrator import Export, Ingest, exported
from hostile.running import Run

ESCAPES = "\x1b]0;owned\x07\r\n\u202e\x9b31m"


def push(run: Run, endpoint: str, *more: str) -> tuple[int, str]:
    return run("push", "detector", "pushed:1", "--reader", "api", "--endpoint", endpoint, "--wait", "5", *more)


def ingest(run: Run, endpoint: str, *more: str) -> tuple[int, str]:
    onto = ("--onto", "model:1.0", "--tag", "new:1")
    return run("ingest", "detector", "--no-export", *onto, "--endpoint", endpoint, "--wait", "5", *more)


def failing(code: grpc.StatusCode, text: str, *metadata: tuple[str, str]) -> Export:
    def fail(context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata(metadata)
        context.abort(code, text)

    return fail


def raw(content: bytes) -> Export:
    return lambda _: content


EXPORTS: dict[str, Callable[[], Export]] = {
    "no path": lambda: exported(),
    "a relative path": lambda: exported("s"),
    "an empty path": lambda: exported(""),
    "a path of a megabyte": lambda: exported("/" + "x" * (1 << 20)),
    "a path with escapes": lambda: exported("/" + ESCAPES),
    "many bad paths": lambda: exported(*(f"{ESCAPES}{number}" for number in range(90_000))),
    "too many paths": lambda: exported(*map(str, range(100_001))),
    "a path that is not there": lambda: exported("/nowhere/" + ESCAPES * 100),
    "a text of a megabyte": lambda: failing(grpc.StatusCode.INTERNAL, "x" * (1 << 20)),
    "a text with escapes": lambda: failing(grpc.StatusCode.INTERNAL, ESCAPES * 100),
    "an unknown method": lambda: failing(grpc.StatusCode.UNIMPLEMENTED, ESCAPES),
    "no text": lambda: failing(grpc.StatusCode.UNKNOWN, ""),
    "long metadata": lambda: failing(grpc.StatusCode.INTERNAL, "x", ("x", "y" * (1 << 20))),
}
RAW: dict[str, Callable[[], bytes]] = {
    "no message": lambda: b"\xff" * 100,
    "a path that is not UTF-8": lambda: b"\x0a\x03/\xff\xfe",
    "a path longer than the message": lambda: b"\x0a\xff\xff\xff\x7f/",
    "too long a message": lambda: b"\x0a\x02/a" * (10 << 20),
    "millions of paths": lambda: b"\x0a\x02/a" * (7 << 20),
    "millions of empty paths": lambda: b"\x0a\x00" * (15 << 20),
    "another field": lambda: b"\x12\x80\x80\x80\x08" + b"x" * (16 << 20),
}


@pytest.mark.parametrize("how", [*EXPORTS, *RAW])
def test_a_bad_answer_to_export_is_exit_3(how: str, run: Run, engine: Engine) -> None:
    export = EXPORTS[how]() if how in EXPORTS else raw(RAW[how]())
    with migrator.serving(export, raw=how in RAW) as endpoint:
        code, text = push(run, endpoint)
    assert code == 3, text
    assert not engine.paused
    assert "error: " in text


def asking(*requests: tuple[str, str]) -> Ingest:
    def ask(results: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for source, dest in requests:
            yield migrator_pb2.IngestFileCopy(source_path=source, dest_path=dest)
            next(results)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, ESCAPES)

    return ask


def sending(*messages: bytes) -> Ingest:
    return lambda *_: iter(messages)


INGESTS: dict[str, Callable[[], Ingest]] = {
    "a text with escapes": lambda: asking(),
    "paths with escapes": lambda: asking(("/" + ESCAPES, ESCAPES), (ESCAPES, "/x")),
    "a path of 60,000 bytes": lambda: asking(("/" + "x" * 60_000, "/x")),
    "a path of a megabyte": lambda: asking(("/" + "x" * (1 << 20), "/x")),
}
RAW_INGESTS: dict[str, Callable[[], Ingest]] = {
    "no message": lambda: sending(b"\xff"),
    "a path that is not UTF-8": lambda: sending(b"\x0a\x02/\xff"),
    "a long message": lambda: sending(b"\x0a\x80\x80\x80\x08" + b"x" * (16 << 20)),
    "too long a message": lambda: sending(b"x" * (40 << 20)),
}


@pytest.mark.parametrize("how", [*(f"{name}, sent" for name in INGESTS), *RAW_INGESTS])
def test_a_bad_request_of_ingest_is_exit_3(how: str, run: Run, engine: Engine) -> None:
    script = RAW_INGESTS[how]() if how in RAW_INGESTS else INGESTS[how.removesuffix(", sent")]()
    with migrator.serving(ingest=script, raw=how in RAW_INGESTS) as endpoint:
        code, text = ingest(run, endpoint)
    assert code == 3, text
    assert engine.temporary == {}
    assert "create" in engine.asked
    assert "hello" in text  # the log of its container


def test_a_log_of_any_size_and_content_is_shown_in_part(run: Run, engine: Engine) -> None:
    def log(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b"\1\0\0\0\0\1\0\0" + (ESCAPES * 10_000).encode()[: 1 << 16])

    engine.bad["logs"] = log
    with migrator.serving(ingest=asking()) as endpoint:
        code, text = ingest(run, endpoint)
    assert code == 3
    assert engine.temporary == {}
    assert "owned" in text


def test_a_model_that_asks_without_taking_results_is_ended() -> None:
    """A result holds the paths that were asked for, so what waits grows as fast as the model asks."""
    request = migrator_pb2.IngestFileCopy(source_path="/" + "x" * 30_000, dest_path="/" + "y" * 30_000)
    with migrator.serving(ingest=lambda *_: itertools.repeat(request)) as endpoint:
        model = GrpcModel(endpoint, wait=5, deadline=5)
        with pytest.raises(ModelError, match="without reading the results"):
            model.ingest(lambda *_: "no")
        model.close()


def test_requests_with_long_paths_are_kept_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_copy, "MAX_TEXT", 20 * paths.MAX_LENGTH)
    engine = FakeEngine(files=tree(file("/s/a")), new_files=tree(directory("/new")))
    copier = container_copy.Copier(container(), container(id="n" * 64, name="new"), engine, RecordingProgress())
    long = "/" + "x" * paths.MAX_LENGTH
    with pytest.raises(ModelError, match="too many long paths"):
        list(itertools.starmap(copier.copy, [(long, long)] * 20))
    assert len(copier.done) < 20


@pytest.mark.parametrize("reason", ["\ud800", "x" * 100_000])
def test_any_reason_can_be_told_to_a_model(reason: str) -> None:
    told = []

    def script(results: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        yield migrator_pb2.IngestFileCopy(source_path="/a", dest_path="/b")
        told.append(next(results).error)

    with migrator.serving(ingest=script) as endpoint:
        model = GrpcModel(endpoint, wait=5, deadline=5)
        model.ingest(lambda *_: reason)
        model.close()
    assert len(told[0]) <= models.MAX_ERROR + 10


def test_every_call_has_a_deadline(run: Run, engine: Engine) -> None:
    stop = threading.Event()

    def silent(*_: Any) -> Any:
        stop.wait(60)
        return iter(())

    with migrator.serving(silent, silent) as endpoint:
        began = time.monotonic()
        code, text = push(run, endpoint, "--export-timeout", "1")
        assert (code, "did not finish Export in time" in text) == (3, True)
        code, text = ingest(run, endpoint, "--idle-timeout", "1")
        assert (code, "sent no request for 1 s" in text) == (3, True)
        assert time.monotonic() - began < 15
        stop.set()
    assert engine.temporary == {}


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\n\x1b[2J", b"\0" * 100])
def test_what_answers_as_no_model_is_exit_3(said: bytes, run: Run) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            while True:
                with server.accept()[0] as connection:
                    connection.sendall(said)
                    connection.recv(1 << 16)

        threading.Thread(target=answer, daemon=True).start()
        code, text = push(run, f"127.0.0.1:{server.getsockname()[1]}", "--wait", "1")
    assert code == 3
    assert "no Migrator answered" in text
