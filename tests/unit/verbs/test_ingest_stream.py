"""The Ingest stream of the proto, against a real gRPC server in this process."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from bundler._proto.fps.model import migrator_pb2, migrator_pb2_grpc
from bundler.errors import EngineError, ModelError
from bundler.models.grpc import GrpcModel

REQUESTS = int(os.environ.get("FPS_BUNDLE_REQUESTS", "2000"))
Script = Callable[[Iterator[Any], grpc.ServicerContext], Iterator[tuple[str, str]]]


class Migrator(migrator_pb2_grpc.MigratorServicer):  # type: ignore[misc]
    def __init__(self, script: Script) -> None:
        self._script = script

    def Ingest(self, request_iterator: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the proto
        for source, dest in self._script(request_iterator, context):
            yield migrator_pb2.IngestFileCopy(source_path=source, dest_path=dest)


@contextmanager
def serving(script: Script, *, idle: float = 10) -> Iterator[GrpcModel]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    migrator_pb2_grpc.add_MigratorServicer_to_server(Migrator(script), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    model = GrpcModel(f"127.0.0.1:{port}", wait=10, deadline=idle)
    try:
        model.connect()
        yield model
    finally:
        model.close()
        server.stop(None).wait()


def plain(result: Any) -> tuple[str, str, str]:
    return result.source_path, result.dest_path, result.error


def test_every_request_is_answered_with_its_own_paths() -> None:
    answers = []

    def script(results: Iterator[Any], _: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        for number in range(3):
            yield f"/old/{number}", f"/new/{number}"
            answers.append(plain(next(results)))

    with serving(script) as model:
        model.ingest(lambda source, dest: f"no {source}" if dest == "/new/1" else "")
    assert answers == [("/old/0", "/new/0", ""), ("/old/1", "/new/1", "no /old/1"), ("/old/2", "/new/2", "")]


def test_many_requests_may_be_in_flight() -> None:
    answers: list[tuple[str, str, str]] = []

    def script(results: Iterator[Any], _: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        for number in range(REQUESTS):
            yield str(number), ""
        answers.extend(map(plain, itertools.islice(results, REQUESTS)))

    copied: list[str] = []
    with serving(script) as model:
        model.ingest(lambda source, _: copied.append(source) or "")  # type: ignore[func-returns-value]
    assert copied == [str(number) for number in range(REQUESTS)]
    assert [answer[0] for answer in answers] == copied


def test_a_model_may_end_without_a_request_or_before_its_answers() -> None:
    with serving(lambda *_: iter(())) as model:
        model.ingest(lambda *_: pytest.fail("nothing was asked for"))
    done: list[str] = []
    with serving(lambda *_: iter([("/a", "/b"), ("/c", "/d")])) as model:
        model.ingest(lambda source, _: done.append(source) or "")  # type: ignore[func-returns-value]
    assert done == ["/a", "/c"]


def test_a_model_that_fails_says_why() -> None:
    def script(results: Iterator[Any], context: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        yield "/weights", "/weights"
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"without {next(results).source_path} I am nothing")

    with serving(script) as model, pytest.raises(ModelError, match="FAILED_PRECONDITION: without /weights I am nothing"):
        model.ingest(lambda *_: "not there")


def test_a_model_without_ingest_says_so() -> None:
    def script(_: Iterator[Any], context: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        yield "", ""

    with serving(script) as model, pytest.raises(ModelError, match="does not implement Ingest"):
        model.ingest(lambda *_: "")


def test_a_silent_model_is_given_up_but_a_long_copy_is_no_silence() -> None:
    given_up = threading.Event()
    copied = []

    def script(results: Iterator[Any], _: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        yield "/a", "/b"
        next(results)
        given_up.wait(600)

    def slow(source: str, _dest: str) -> str:
        time.sleep(2)
        copied.append(source)
        return ""

    with serving(script, idle=1.5) as model:
        with pytest.raises(ModelError, match=r"sent no request for 1\.5 s"):
            model.ingest(slow)
        assert copied == ["/a"]
        given_up.set()


@pytest.mark.parametrize("error", [EngineError("the engine went away"), KeyboardInterrupt()])
def test_what_ends_a_copy_ends_the_call(error: BaseException) -> None:
    ended = threading.Event()

    def script(results: Iterator[Any], context: grpc.ServicerContext) -> Iterator[tuple[str, str]]:
        context.add_callback(ended.set)
        yield "/a", "/b"
        next(results)

    def fail(_source: str, _dest: str) -> str:
        raise error

    with serving(script) as model:
        with pytest.raises(type(error)):
            model.ingest(fail)
        assert ended.wait(5)
