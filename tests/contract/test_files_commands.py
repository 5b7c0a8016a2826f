"""The commands that show the files of bundles: ``inspect --files``, ``diff`` and ``cat``."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import preloaded
import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, directory, file, link, tree
from typer.testing import CliRunner, Result

from bundler.cli.main import app
from bundler.format.content import Digest
from bundler.format.tar import Entry, Kind
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy

GOLDEN = Path(__file__).parents[1] / "golden" / "v1.tar"
ESCAPES = b"\x1b]0;owned\x07 plain \xff\n"
NOISE = random.Random(1).randbytes(1 << 20)


def archive(path: Path, *members: tuple[Entry, bytes], **options: Any) -> str:
    store = MemoryStore()
    bundle(store, tree(directory("/s"), *members), **options)
    copy.copy(store, ArchiveStore(path, "1"), RecordingProgress())
    return str(path)


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


@pytest.fixture
def old(tmp_path: Path) -> str:
    members = [
        file("/s/changed", b"old"),
        file("/s/chmod", mode=0o4755),
        file("/s/escapes", ESCAPES),
        file("/s/gone"),
        file("/s/noise", NOISE),
        file("/s/x\x1b[2J", b"", mtime=-5),
        link("/s/to", Kind.SYMLINK, "\x1b[2J"),
    ]
    return archive(tmp_path / "old.tar", *members, removed=("/s/whited",), privileged=("/s/chmod",))


@pytest.fixture
def new(tmp_path: Path) -> str:
    members = [
        file("/s/added", b"12345"),
        file("/s/changed", b"newer", mtime=5),
        file("/s/chmod", mode=0o755),
        file("/s/escapes", ESCAPES),
        file("/s/noise", NOISE),
        file("/s/x\x1b[2J", b"", mtime=-5),
        link("/s/to", Kind.SYMLINK, "elsewhere"),
    ]
    return archive(tmp_path / "new.tar", *members)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return preloaded.completed(*arguments, **options)


def test_files_are_listed_for_people_and_their_tools(old: str) -> None:
    shown = run("inspect", "--files", old)
    assert shown.exit_code == 0
    assert [line.split("\t") for line in shown.stdout.splitlines() if "noise" not in line] == [
        ["drwxr-xr-x", "0:0", "0", "2020-09-13T12:26:40Z", "-", "/s"],
        ["-rw-r--r--", "1:2", "3", "2020-09-13T12:26:40Z", str(Digest.of(b"old")), "/s/changed"],
        ["-rwsr-xr-x", "1:2", "4", "2020-09-13T12:26:40Z", str(Digest.of(b"data")), "/s/chmod"],
        ["-rw-r--r--", "1:2", str(len(ESCAPES)), "2020-09-13T12:26:40Z", str(Digest.of(ESCAPES)), "/s/escapes"],
        ["-rw-r--r--", "1:2", "4", "2020-09-13T12:26:40Z", str(Digest.of(b"data")), "/s/gone"],
        ["lrwxrwxrwx", "0:0", "0", "2020-09-13T12:26:40Z", "-", "/s/to", "-> %1B[2J"],
        ["deleted", "-", "-", "-", "-", "/s/whited"],
        ["-rw-r--r--", "1:2", "0", "1969-12-31T23:59:55Z", str(Digest.of(b"")), "/s/x%1B[2J"],
    ]


def test_files_are_listed_as_one_json_document(old: str) -> None:
    told = json.loads(run("inspect", "--files", "--json", old).stdout)
    assert told["reference"] == old
    assert Digest.parse(told["digest"])
    found = {it["path"]: it for it in told["files"]}
    assert found["/s/to"] == {
        "path": "/s/to",
        "type": "symlink",
        "mode": "0777",
        "uid": 0,
        "gid": 0,
        "size": 0,
        "time": "2020-09-13T12:26:40Z",
        "target": "%1B[2J",
    }
    assert found["/s/whited"] == {"path": "/s/whited", "type": "deleted"}
    assert found["/s/noise"]["digest"] == str(Digest.of(NOISE))


def test_the_files_of_an_older_bundle_are_read_from_its_layers() -> None:
    shown = run("inspect", "--files", str(GOLDEN))
    assert shown.exit_code == 0
    assert "no table of contents" in shown.stderr
    assert "/opt/model/latin-%E9" in shown.stdout
    assert run("cat", str(GOLDEN), "/opt/model/latin-%E9").exit_code == 0


def test_differences_are_told_with_totals(old: str, new: str) -> None:
    shown = run("diff", old, new)
    assert shown.exit_code == 0
    assert [line.split("\t") for line in shown.stdout.splitlines()] == [
        ["added", "/s/added", "5 B"],
        ["content", "/s/changed", "content 3 B -> 5 B, time 2020-09-13T12:26:40Z -> 1970-01-01T00:00:05Z"],
        ["metadata", "/s/chmod", "mode 4755 -> 0755"],
        ["removed", "/s/gone", "4 B"],
        ["metadata", "/s/to", "target %1B[2J -> elsewhere"],
        ["restored", "/s/whited", ""],
    ]
    assert shown.stderr == "1 added (5 B), 1 removed (4 B), 1 with other content (3 B -> 5 B), 2 with other metadata, 1 restored\n"
    told = json.loads(run("diff", "--json", old, new).stdout)
    assert told["old"]["reference"] == old
    assert [it["change"] for it in told["differences"]] == ["added", "content", "metadata", "removed", "metadata", "restored"]
    assert told["differences"][1]["fields"] == ["content", "time"]
    assert told["differences"][1]["old"]["digest"] == str(Digest.of(b"old"))
    assert told["totals"]["content"] == {"paths": 1, "oldSize": 3, "newSize": 5}


def test_no_difference_is_told_too(old: str) -> None:
    shown = run("diff", old, old)
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "no file differs" in shown.stderr
    assert json.loads(run("diff", "--json", old, old).stdout)["differences"] == []


@pytest.fixture
def evil(tmp_path: Path) -> str:
    settings = {"Cmd": ["serve"], "User": "root", "Env": ["LD_PRELOAD=/s/x.so", "A=2"]}
    return archive(tmp_path / "evil.tar", file("/s/changed", b"old"), image=settings)


def test_settings_of_what_is_run_that_differ_are_told_though_no_file_does(evil: str, tmp_path: Path) -> None:
    plain = archive(tmp_path / "plain.tar", file("/s/changed", b"old"))
    rows = [line.split("\t") for line in run("diff", plain, evil).stdout.splitlines()]
    assert rows == [["setting", "User", 'none -> "root"'], ["setting", "Env LD_PRELOAD", 'none -> ["/s/x.so"]']]
    told = json.loads(run("diff", "--json", plain, evil).stdout)
    assert told["settings"] == [
        {"setting": "User", "old": None, "new": "root"},
        {"setting": "Env LD_PRELOAD", "old": None, "new": ["/s/x.so"]},
    ]
    assert told["differences"] == []


def test_inspect_shows_what_is_run_and_what_of_it_is_not_the_bases(evil: str) -> None:
    shown = run("inspect", evil).stdout
    assert "2 settings differ from the base" in shown
    assert 'User "root"  (base: none)' in shown
    assert 'Cmd ["serve"]' in shown
    assert [it["setting"] for it in json.loads(run("inspect", "--json", evil).stdout)["settings"]] == ["User", "Env LD_PRELOAD"]


def test_two_bundles_do_not_come_through_one_pipe() -> None:
    assert run("diff", "-", "-").exit_code == 2


def test_a_bundle_that_comes_through_a_pipe_is_compared(old: str, new: str) -> None:
    with Path(new).open("rb") as stream:
        assert program("diff", old, "-", stdin=stream, stdout=subprocess.PIPE).stdout.startswith(b"added\t/s/added")


def test_content_comes_byte_for_byte(old: str) -> None:
    assert program("cat", old, "/s/noise", stdout=subprocess.PIPE).stdout == NOISE
    assert program("cat", old, "/s/x%1B[2J", stdout=subprocess.PIPE).stdout == b""


@pytest.mark.parametrize(("path", "code"), [("/s", 6), ("/s/to", 6), ("/s/whited", 6), ("/s/nothing", 6), ("noise", 2)])
def test_what_has_no_content_is_told_and_has_its_exit_code(old: str, path: str, code: int) -> None:
    shown = run("cat", old, path)
    assert (shown.exit_code, shown.stdout) == (code, "")
    assert path in shown.stderr


def test_content_on_a_terminal_is_harmless(old: str) -> None:
    controller, terminal = os.openpty()
    assert program("cat", old, "/s/escapes", stdout=terminal).returncode == 0
    os.close(terminal)
    assert os.read(controller, 1000) == b"\\x1b]0;owned\\x07 plain \\xff\r\n"
    os.close(controller)


@pytest.mark.parametrize("command", [["cat", "/s/noise"], ["inspect", "--files"]])
def test_a_reader_that_goes_away_is_no_error(old: str, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = program(command[0], old, *command[1:], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_disk_that_is_full_has_its_exit_code(old: str) -> None:
    with Path("/dev/full").open("wb") as full:
        assert program("cat", old, "/s/noise", stdout=full).returncode == 11


def test_what_is_damaged_is_not_written(old: str, tmp_path: Path) -> None:
    data = bytearray(Path(old).read_bytes())
    data[data.index(NOISE[:100]) + 50] ^= 1
    (tmp_path / "damaged.tar").write_bytes(data)
    done = program("cat", str(tmp_path / "damaged.tar"), "/s/noise", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (8, b"")
