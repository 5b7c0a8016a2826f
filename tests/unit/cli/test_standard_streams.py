"""A result that cannot be written is an error with its exit code; a message that cannot be shown is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress

from bundler.format.metadata import Model
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalStore
from bundler.verbs import copy

RESULTS = [["list", "--json"], ["list", "--have"], ["inspect", "model:1"], ["--help"]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source = MemoryStore()
    bundle(source)
    copy.copy(source, LocalStore(LocalReference("model", "1")), RecordingProgress())


def program(arguments: list[str], shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the program by a shell, which redirects or closes its streams."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -m bundler "$@" {shell}', sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("arguments", RESULTS, ids=" ".join)
def test_a_closed_standard_output_is_exit_code_5(arguments: list[str]) -> None:
    done = program(arguments, ">&-")
    assert (done.returncode, done.stderr.splitlines()[0]) == (5, "error: standard output: Bad file descriptor")


@contextmanager
def full_disk() -> Iterator[int]:
    file = os.open("/dev/full", os.O_WRONLY)
    yield file
    os.close(file)


@contextmanager
def gone_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def hung_up_terminal() -> Iterator[int]:
    controller, terminal = os.openpty()
    os.close(controller)
    yield terminal
    os.close(terminal)


@pytest.mark.parametrize("arguments", RESULTS, ids=" ".join)
@pytest.mark.parametrize(
    ("stream", "code", "message"),
    [
        (gone_reader, 0, ""),
        (hung_up_terminal, 5, "Input/output error"),
        (full_disk, 11, "error: no space left while writing standard output\n"),
    ],
)
def test_what_becomes_of_the_reader_decides(
    arguments: list[str], stream: Callable[[], AbstractContextManager[int]], code: int, message: str
) -> None:
    with stream() as output:
        done = preloaded.completed(*arguments, stdout=output, text=True)
    assert done.returncode == code
    assert message in done.stderr
    assert bool(done.stderr) == bool(message)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("arguments", "code"), [(["list"], 0), (["inspect", "none:1"], 6), (["nonsense"], 2)])
def test_a_message_that_cannot_be_shown_changes_nothing(closed: bool, arguments: list[str], code: int) -> None:
    with full_disk() as full:
        done = program(arguments, "2>&-") if closed else preloaded.completed(*arguments, stderr=full, text=True)
    assert (done.returncode, bool(done.stdout)) == (code, code == 0)


@pytest.mark.parametrize("arguments", [["inspect", "-"], ["login", "x.example", "-u", "x", "--password-stdin"]], ids=" ".join)
def test_a_closed_standard_input_is_exit_code_5(arguments: list[str]) -> None:
    done = program(arguments, "<&-")
    assert (done.returncode, done.stderr.splitlines()[0]) == (5, "error: standard input: Bad file descriptor")


def test_what_the_encoding_lacks_is_escaped() -> None:
    source = MemoryStore()
    bundle(source, model=Model(title="snow ☃", version="1"))
    copy.copy(source, LocalStore(LocalReference("model", "2")), RecordingProgress())
    done = program(["inspect", "model:2"], "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "snow \\u2603" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "beginning"), [(["list", "--json"], b"["), (["copy", "model:1", "-"], b"oci-layout")], ids=["text", "archive"]
)
def test_a_full_pipe_that_is_non_blocking_loses_nothing(arguments: list[str], beginning: bytes) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = fill(writing)
    with preloaded.Process(arguments, stdout=writing, stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        with os.fdopen(reading, "rb") as pipe:
            received = pipe.read()
        assert process.wait(30) == 0
    assert received[filled:].startswith(beginning)


def fill(pipe: int) -> int:
    """Write into a pipe until it is full; gives how many bytes."""
    filled = 0
    try:
        while True:
            filled += os.write(pipe, bytes(4096))
    except BlockingIOError:
        return filled
