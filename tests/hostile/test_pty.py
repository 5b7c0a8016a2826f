"""On a real terminal: nothing that a bundle, an engine, a model or a name of a file says acts on it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, link, tree

from bundler.format import metadata as meta
from bundler.format.tar import Kind
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy
from hostile import migrator
from hostile.fakeengine import Engine, image, serving
from hostile.test_engine_answers import body

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[1;1H\u202e\x9b31m\r\u2028x"
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A)|[\r\n\t]")
"""What the program itself sends: colours, and what a progress bar takes."""


def on_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code of a command and what a terminal got from it."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    process = preloaded.Process(arguments, stdin=slave, stdout=slave, stderr=slave, environment=environment)
    os.close(slave)
    got = bytearray()
    while True:
        try:
            got += os.read(master, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.close(master)
    return process.wait(), got.decode()


def checked(*arguments: str) -> tuple[int, str]:
    code, got = on_terminal(*arguments)
    left = OURS.sub("", got)
    assert left.isprintable(), [it for it in left if not it.isprintable()]
    assert code != 1, got
    return code, got


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle in which everything that has a name has a hostile one."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    source = MemoryStore()
    model = meta.Model(title=HOSTILE, version=HOSTILE, vendor=HOSTILE)
    origin = meta.Source(engine=HOSTILE, container_name=HOSTILE, container_id=HOSTILE, host_name=HOSTILE)
    files = tree(file("/s/f", HOSTILE.encode()), link("/s/l", Kind.SYMLINK, HOSTILE), file(f"/s/{HOSTILE}"))
    bundle(source, files, model=model, source=origin, image={"Cmd": [HOSTILE], "Labels": {HOSTILE: HOSTILE}})
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    return str(tmp_path / "x.tar")


def test_a_bundle_is_shown_as_plain_text(archive: str) -> None:
    for arguments in (["inspect"], ["inspect", "--files"], ["list"], ["history"], ["verify"], ["inspect", "--json"]):
        assert checked(*arguments, archive)[0] == 0
    code, got = checked("cat", archive, "/s/f")
    assert code == 0
    assert "owned" in OURS.sub("", got)


@pytest.mark.parametrize(
    "arguments",
    [
        [HOSTILE],
        [f"--{HOSTILE}"],
        ["inspect", HOSTILE],
        ["inspect", "a", HOSTILE],
        ["inspect", "a", f"--{HOSTILE}"],
        ["push", "x", "--reader", HOSTILE],
        ["undo", "x:1", "--host", HOSTILE],
        ["verify", f"{HOSTILE}.tar"],
    ],
    ids=lambda arguments: ascii(" ".join(arguments).replace(HOSTILE, "NAME")),
)
def test_what_was_typed_is_repeated_as_plain_text(arguments: list[str]) -> None:
    code, got = checked(*arguments)
    assert code in (2, 6)
    assert "owned" in OURS.sub("", got)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = Engine()
    with serving(engine, tmp_path / "socket") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield engine


def test_what_an_engine_says_is_plain_text(engine: Engine) -> None:
    engine.bad["image"] = body(json.dumps({"message": HOSTILE}).encode(), b"500 \x1b[2J")
    assert checked("undo", "x:1")[0] == 4
    engine.bad = {"image": body(json.dumps(image(**{HOSTILE: 1, "Os": 7})).encode())}
    assert checked("undo", "x:1")[0] == 4
    engine.bad = {"containers": body(json.dumps([{"Id": "c" * 64, "Names": [f"/{HOSTILE}"]}]).encode())}
    assert checked("push", "unknown")[0] == 6
    engine.bad = {"version": body(json.dumps({"Version": HOSTILE, "ApiVersion": "1.44"}).encode())}
    checked("doctor")


def test_what_a_model_says_is_plain_text(engine: Engine) -> None:
    def fail(*arguments: Any) -> Any:
        arguments[-1].abort(grpc.StatusCode.INTERNAL, HOSTILE)

    engine.bad["logs"] = body(b"\1\0\0\0\0\0\0\x20" + HOSTILE.encode())
    with migrator.serving(fail, fail) as endpoint:
        code, got = checked("push", "detector", "--endpoint", endpoint, "--reader", "api")
        assert (code, "owned" in OURS.sub("", got)) == (3, True)
        code, got = checked("ingest", "detector", "--no-export", "--onto", "model:1.0", "--tag", "x:1", "--endpoint", endpoint)
        assert (code, "owned" in OURS.sub("", got)) == (3, True)
    with migrator.serving(migrator.exported("/s", f"/{HOSTILE}")) as endpoint:
        code, got = checked("push", "detector", "--endpoint", endpoint, "--reader", "api")
        assert (code, "owned" in OURS.sub("", got)) == (3, True)


def test_what_a_terminal_cannot_show_is_escaped(archive: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for command in ("inspect", "list", "history"):
        ended = subprocess.run(
            [sys.executable, "-m", "bundler", command, archive], env=environment, capture_output=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.isascii()


LIBRARY = """
import logging, threading, warnings, sys
from bundler.cli import main
main.guard_terminal()
hostile = sys.argv[1].encode().decode("unicode_escape")
logging.getLogger("urllib3").warning(hostile)
logging.getLogger("grpc").error(hostile)
warnings.warn(hostile)
def fail():
    raise ValueError(hostile)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Dying:
    def __del__(self):
        raise ValueError(hostile)
Dying()
"""


def test_no_library_writes_on_the_terminal() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIBRARY, HOSTILE.encode("unicode_escape").decode()], capture_output=True, text=True, check=True
    )
    assert ended.stdout == ""
    assert "bug: ValueError: \\x1b]0;owned" in ended.stderr
    assert all(line.isprintable() for line in ended.stderr.split("\n"))
