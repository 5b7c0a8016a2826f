"""What the command line gets wrong is exit code 2, and is told before anything is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from typer.testing import CliRunner, Result

from bundler.cli.main import app
from bundler.format.reference import LocalReference
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a bundle in the local store, in an archive and in a layout."""
    path = tmp_path_factory.mktemp("filled")
    (path / "here").mkdir()
    source = MemoryStore()
    bundle(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPS_BUNDLE_STORE", str(path / "store"))
        patch.setenv("XDG_STATE_HOME", str(path / "state"))
        patch.chdir(path / "here")
        for store in (LocalStore(LocalReference("model", "1")), ArchiveStore(Path("x.tar")), LayoutStore(Path("layout"), "1")):
            copy.copy(source, store, RecordingProgress())
    return path


@pytest.fixture(autouse=True)
def here(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in a host without an engine."""
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    return Path.cwd()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def nothing(path: Path) -> None:
    del path


def directory(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def in_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


def socket(path: Path) -> None:
    os.mknod(path, 0o140600)


UNREADABLE = pytest.mark.parametrize("make", [nothing, directory, os.mkfifo, loop, socket, in_a_file])


@UNREADABLE
@pytest.mark.parametrize(
    "command",
    [
        "sign model:1 --sign-key FILE",
        "push model --sign-key FILE",
        "verify model:1 --allowed-signers FILE",
        "verify model:1 --revoked FILE",
        "inspect model:1 --allowed-signers FILE",
        "inspect model:1 --files --revoked FILE",
        "apply model:1 --insecure-ignore-signatures --allowed-signers FILE",
        "ingest model:1 --onto base --tag x:1 --revoked FILE",
        "copy model:1 new.tar --allowed-signers FILE",
        "copy model:1 new.tar --have FILE",
        "copy model:1 new.tar --have FILE.json",
        "copy FILE.tar new.tar",
        "inspect FILE.tar",
        "verify oci-archive:FILE",
        "apply FILE.tar",
        "ingest FILE.tar --onto base --tag x:1",
        "cat FILE.tar /s/f",
        "diff model:1 FILE.tar",
        "history oci-archive:FILE:1",
        "list oci-archive:FILE",
        "split FILE.tar 64KiB",
        "split FILE 64KiB",
        "inspect ~nosuchuser/x.tar",
        "sign model:1 --sign-key ~nosuchuser/x",
        "verify model:1 --revoked ~nosuchuser/x",
        "sign FILE.tar --sign-key x.tar",
        "copy model:1 new.tar --have FILE.tar",
    ],
)
def test_a_file_that_cannot_be_read_is_exit_code_2(command: str, make: Callable[[Path], None], here: Path) -> None:
    words = [word.replace("FILE", str(here / "d" / "file")) for word in command.split()]
    path = next(Path(word.removeprefix("oci-archive:").removesuffix(":1")) for word in words if "d/file" in word or "~" in word)
    (here / "d").mkdir()
    make(here / "d" / "file" if "~" in str(path) else path)
    before = sorted(here.iterdir())
    done = run(*words)
    assert (done.exit_code, sorted(here.iterdir())) == (2, before), done.output
    assert f"cannot read {path}: " in done.output.replace("\n", "")


@pytest.mark.parametrize("make", [directory, os.mkfifo, loop])
def test_a_list_of_parts_that_cannot_be_read_is_exit_code_2(make: Callable[[Path], None], here: Path) -> None:
    make(here / "y.tar.parts")
    done = run("inspect", "y.tar")
    assert done.exit_code == 2
    assert "cannot read y.tar.parts: " in done.output


@pytest.mark.parametrize("make", [nothing, os.mkfifo, loop, socket, in_a_file])
@pytest.mark.parametrize("command", ["inspect oci:DIR:1", "copy oci:DIR new.tar", "inspect x.tar --parts-from DIR"])
def test_a_directory_that_cannot_be_read_is_exit_code_2(command: str, make: Callable[[Path], None], here: Path) -> None:
    path = here / "d" / "dir"
    path.parent.mkdir()
    make(path)
    done = run(*command.replace("DIR", str(path)).split())
    assert done.exit_code == 2
    assert f"cannot read {path}: " in done.output.replace("\n", "")


def test_what_can_be_read_is_read(here: Path) -> None:
    (here / "there.json").write_text(run("list", "--have").output)
    (here / "there").write_text(run("list", "--have").output)
    for name in ("there.json", "there", "./there", "model:1", "x.tar", "oci:layout"):
        done = run("copy", "model:1", "new.tar", "--have", name, "--dry-run", "--json")
        assert done.exit_code == 0, done.output
        assert '"skip": 0' not in done.output
    assert run("inspect", "x.tar").exit_code == run("inspect", "oci:layout").exit_code == 0


@pytest.mark.parametrize(
    "dest", ["stick/x", "stick/deep/x", "stick", "stick.d/x", "stick.d/deep/x", "file", "dangling"], ids=lambda dest: dest
)
@pytest.mark.parametrize(
    "command", [["copy", "x.tar"], ["push", "model"], ["ingest", "model:1", "--onto", "b", "--tag", "x:1", "--push"]]
)
def test_a_destination_that_looks_like_a_path_is_refused(command: list[str], dest: str, here: Path) -> None:
    (here / "stick" / "deep").mkdir(parents=True)
    (here / "stick.d" / "deep").mkdir(parents=True)
    (here / "file").touch()
    (here / "dangling").symlink_to("nowhere")
    before = run("list").output
    done = run(*command, dest)
    assert done.exit_code == 2
    assert f"{dest}.tar" in done.output
    assert f"oci:{dest}" in done.output
    assert run("list").output == before


@pytest.mark.parametrize("dest", ["stick/x:1", "team/x", "team/x:1", "other"])
def test_a_destination_with_a_tag_or_without_a_path_is_a_bundle(dest: str, here: Path) -> None:
    (here / "stick").mkdir()
    assert run("copy", "x.tar", dest).exit_code == 0
    assert dest in run("list").output


@pytest.mark.parametrize("value", ["fast", "", "-1", "1e9", "9" * 400, "nan"])
@pytest.mark.parametrize(
    "command",
    [
        "copy model:1 new.tar --limit-rate",
        "copy model:1 new.tar --dry-run --limit-rate",
        "verify model:1 --limit-rate",
        "cat model:1 /s/f --limit-rate",
        "diff model:1 x.tar --limit-rate",
        "apply model:1 --limit-rate",
        "push model --limit-rate",
        "ingest model:1 --onto base --tag x:1 --limit-rate",
        "copy model:1 new.tar --split",
        "split x.tar",
        "push model --max-pause",
        "push model --timeout",
        "copy model:1 new.tar --timeout",
        "push model --wait",
        "push model --export-timeout",
        "ingest model:1 --onto base --tag x:1 --idle-timeout",
        "ingest model:1 --onto base --tag x:1 --memory=x --gpus",
        "ingest model:1 --onto base --tag x:1 --gpus=x --memory",
    ],
)
def test_a_value_is_checked_wherever_it_is_given(command: str, value: str) -> None:
    *words, last = command.split()
    done = run(*words, *([last, value] if last == "x.tar" else [f"{last}={value}"]))
    assert done.exit_code == 2, done.output


@pytest.mark.parametrize("option", ["--timeout", "--wait", "--export-timeout"])
@pytest.mark.parametrize("value", ["inf", "nan", "604801", "1e300"])
def test_a_time_that_no_wait_takes_is_refused(option: str, value: str) -> None:
    assert run("push", "model", option, value).exit_code == 2


@pytest.mark.parametrize(
    ("code", "command"),
    [
        (6, "inspect none:1"),
        (5, "inspect 127.0.0.1:9/x:1"),
        (4, "doctor"),
        (0, "list"),
        (0, "logout x.example"),
    ],
)
def test_a_user_without_a_home_is_no_bug(code: int, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "DOCKER_CONFIG", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONTEXT", "none")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    done = run(*command.split())
    assert done.exit_code == code, done.output


@pytest.mark.parametrize("host", ["[::1/x", "oci-archive::x", "http://[::1", "tcp://x:999999", "ssh://"])
@pytest.mark.parametrize("command", ["doctor", "undo x:1", "push model", "apply model:1", "ingest model:1 --onto b --tag x:1"])
def test_what_is_no_address_of_an_engine_is_exit_code_2(command: str, host: str) -> None:
    done = run(*command.split(), "--host", host)
    assert done.exit_code == 2, done.output
