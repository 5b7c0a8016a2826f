"""The watchdog and the journal of a paused container, with a real watchdog process and an engine that only says what is paused."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundler.engines import pause_guard
from bundler.engines.pause_guard import Abandoned
from bundler.localfs import locks

CONTAINER = "c" * 64
URL = "unix:///the/engines/socket"
HOLD = """
import sys, time
from pathlib import Path
from bundler.engines import pause_guard
with pause_guard.guarded(Path(sys.argv[1]), "url", sys.argv[2], sys.argv[3]) as note:
    print("held", flush=True)
    time.sleep(60)
"""


class PausedEngine:
    """Answers what is asked of a container; it is paused after so many questions, and until it is resumed."""

    def __init__(self, paused_after: int = 0) -> None:
        self.asked = 0
        self.resumed = threading.Event()
        self.was_asked = threading.Event()
        self.requests: list[str] = []
        self._paused_after = paused_after

    def answer(self, method: str, path: str) -> tuple[int, object]:
        if path.endswith("/version"):
            return 200, {"ApiVersion": "1.41", "Version": "20.10", "Components": []}
        self.requests.append(f"{method} /{path.partition('/containers/')[2]}")
        if method == "POST":
            self.resumed.set()
            return 204, None
        self.asked += 1
        self.was_asked.set()
        return 200, {"Id": CONTAINER, "State": {"Paused": self.asked > self._paused_after and not self.resumed.is_set()}}


@contextmanager
def serving(engine: PausedEngine) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.give(*engine.answer(self.command, self.path))

        def do_POST(self) -> None:
            self.do_GET()

        def give(self, status: int, content: object) -> None:
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_journal_has_the_engines_own_address_and_the_container(tmp_path: Path) -> None:
    with serving(PausedEngine()) as given, pause_guard.guarded(tmp_path, URL, CONTAINER, given):
        assert list(pause_guard.abandoned(tmp_path)) == []
        content = (tmp_path / "paused" / f"{CONTAINER}.json").read_text()
    assert json.loads(content) == {"host": URL, "container": CONTAINER}


@pytest.mark.parametrize("paused_after", [0, 2])
def test_a_block_that_ends_unsettled_has_the_container_resumed(tmp_path: Path, paused_after: int) -> None:
    engine = PausedEngine(paused_after)
    with serving(engine) as given, pause_guard.guarded(tmp_path, URL, CONTAINER, given):
        pass
    assert f"POST /{CONTAINER}/unpause" in engine.requests
    assert engine.asked == paused_after + 2  # until it is paused, and whether it was resumed


def test_a_block_that_ends_settled_is_left_alone(tmp_path: Path) -> None:
    engine = PausedEngine()
    with serving(engine) as given, pause_guard.guarded(tmp_path, URL, CONTAINER, given) as note:
        note.settle()
    assert engine.requests == []
    assert list(pause_guard.abandoned(tmp_path)) == []


def test_a_container_that_is_not_paused_is_not_resumed(tmp_path: Path) -> None:
    engine = PausedEngine(paused_after=1 << 30)
    with serving(engine) as given, pause_guard.guarded(tmp_path, URL, CONTAINER, given):
        pass
    assert not engine.resumed.is_set()
    assert engine.asked > 1  # a pause that was under way might still have come
    (left,) = pause_guard.abandoned(tmp_path)  # and may come later
    assert left == Abandoned(left.journal, URL, CONTAINER)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_command_does_not_end_its_watchdog(tmp_path: Path, number: signal.Signals) -> None:
    engine, before = PausedEngine(), children()
    with serving(engine) as given, pause_guard.guarded(tmp_path, URL, CONTAINER, given):
        (watchdog,) = children() - before
        os.kill(watchdog, number)
    assert engine.resumed.is_set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_group_that_is_killed_has_its_container_resumed(tmp_path: Path, number: signal.Signals) -> None:
    engine = PausedEngine()
    with serving(engine) as given:
        with killed(tmp_path, given, number):
            assert engine.resumed.wait(20)
        until_no_note_is_locked(tmp_path)
    assert list(pause_guard.abandoned(tmp_path)) == []


def test_a_container_that_the_next_command_has_resumed_is_left_alone(tmp_path: Path) -> None:
    engine = PausedEngine()
    with serving(engine) as given, holding(tmp_path, given) as process:
        (watchdog,) = children(process.pid)
        os.kill(watchdog, signal.SIGSTOP)
        process.kill()
        process.wait(10)
        (left,) = pause_guard.abandoned(tmp_path)
        left.journal.unlink()
        let_end(watchdog)
    assert engine.requests == []


def test_a_pause_of_the_next_command_waits_until_the_watchdog_is_done(tmp_path: Path) -> None:
    engine = PausedEngine(paused_after=5)
    with serving(engine) as given:
        with killed(tmp_path, given, signal.SIGKILL):
            assert engine.was_asked.wait(20)  # the watchdog waits for a pause that may still come
        with pause_guard.guarded(tmp_path, URL, CONTAINER, given) as note:
            assert engine.resumed.is_set()
            note.settle()


def test_a_pause_of_the_next_command_is_not_resumed_by_an_older_watchdog(tmp_path: Path) -> None:
    engine = PausedEngine()
    with serving(engine) as given, holding(tmp_path, given) as process:
        (watchdog,) = children(process.pid)
        os.kill(watchdog, signal.SIGSTOP)
        process.kill()
        process.wait(10)
        with pause_guard.guarded(tmp_path, URL, CONTAINER, given) as note:
            let_end(watchdog)
            note.settle()
    assert engine.requests == []


@contextmanager
def holding(state: Path, given: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the container."""
    command = [sys.executable, "-c", HOLD, str(state), CONTAINER, given]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@contextmanager
def killed(state: Path, given: str, number: signal.Signals) -> Iterator[None]:
    """The block runs after a process that held the container was killed with its process group."""
    with holding(state, given) as process:
        os.killpg(process.pid, number)
        process.wait(10)
        yield


def until_no_note_is_locked(state: Path) -> None:
    for path in (state / "paused").iterdir():
        with path.open("rb") as file:
            locks.acquire(file.fileno(), "the note")


def let_end(pid: int) -> None:
    """Continue a stopped process, and wait until it ends."""
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGCONT)
    assert select.select([process], [], [], 20)[0]
    os.close(process)


def children(pid: int | None = None) -> set[int]:
    """The processes that this thread has started, or the first thread of another process."""
    task = f"{pid}/task/{pid}" if pid else f"self/task/{threading.get_native_id()}"
    return {int(number) for number in Path(f"/proc/{task}/children").read_text().split()}
