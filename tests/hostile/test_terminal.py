"""Whatever a stranger calls things, nothing that is printed acts on the terminal or looks like a line of ours."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle
from click.testing import CliRunner
from fakes import MemoryStore, RecordingProgress, file, link, tree
from typer.main import get_command

from bundler.cli import console
from bundler.cli.main import app
from bundler.errors import BaseMismatchError, Mismatch, ModelError
from bundler.format import metadata as meta
from bundler.format.tar import Kind
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy
from hostile.forge import Forgery

NAMES = [
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[1;1H",
    "\rdigest   sha256:0",
    "\u202egnp.exe\u202c",
    "\u2066x\u2069",
    "x\nverified OK",
    "x\u2028y\u2029",
    "\x9b31m",
    "\x7f",
    "\ufeff\u200b",
    "[bold red]x[/nonsense]",
]
PROGRAM = get_command(app)


@pytest.fixture(params=NAMES, ids=ascii)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A bundle in which everything that has a name has this one."""
    name = request.param
    source = MemoryStore()
    model = meta.Model(title=name, version=name, vendor=name)
    origin = meta.Source(engine=name, container_name=name, container_id=name, host_name=name)
    files = tree(file("/s/f"), link("/s/l", Kind.SYMLINK, name))
    image = {"Cmd": [name], "Labels": {name: name}}
    bundle(source, files, model=model, source=origin, tool=meta.Tool(name=name, version=name), image=image)
    copy.copy(source, ArchiveStore(tmp_path / "x.tar", "1"), RecordingProgress())
    return tmp_path, name


def is_plain(text: str) -> bool:
    """Whether a text is lines of printable characters, with tabs between columns."""
    return all(it in "\n\t" or unicodedata.category(it) not in ("Cc", "Cf", "Zl", "Zp", "Cs") for it in text)


def shown(*arguments: str) -> str:
    outcome = CliRunner().invoke(PROGRAM, list(arguments))
    assert outcome.exit_code == 0, outcome.output
    assert is_plain(outcome.output), ascii(outcome.output)
    assert "verified OK" not in outcome.output.splitlines()
    return outcome.stdout


def test_what_is_shown_of_a_bundle_is_plain_text(hostile: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    directory, name = hostile
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(directory / "store"))
    archive = str(directory / "x.tar")
    assert console.safe(name) in shown("inspect", archive)
    for arguments in (["history", archive], ["list", archive], ["list", archive, "--json"], ["copy", archive, "x:1"], ["list"]):
        shown(*arguments)
    bundle(other := MemoryStore())
    copy.copy(other, ArchiveStore(directory / "other.tar", "1"), RecordingProgress())
    for arguments in (["inspect", archive, "--files"], ["diff", archive, str(directory / "other.tar")]):
        shown(*arguments)
        shown(*arguments, "--json")
    told = json.loads(shown("inspect", archive, "--json"))
    assert told["metadata"]["model"]["title"] == name


def test_errors_are_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    everything = "".join(NAMES)
    error = ModelError(everything, hint=everything)
    error.log = f"{everything}\n{everything}"
    console.error(error)
    console.error(BaseMismatchError(everything, mismatches=[Mismatch(everything, everything, everything)], hint=everything))
    console.bug(ValueError(everything))
    console.warn(everything)
    console.traceback([everything])
    with console.Terminal() as terminal:
        terminal.stage(everything, 1)
        for tell in (terminal.note, terminal.warn, terminal.say):
            tell(everything)
        terminal.table(["x"], [[everything]])
    console.result(everything)
    console.result_table(["x"], [[everything]])
    console.result_json({"x": everything})
    out, err = capsys.readouterr()
    assert is_plain(out), ascii(out)
    assert is_plain(err), ascii(err)
    assert "verified OK" not in [line.strip() for line in (out + err).splitlines()]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_traceback_is_plain_text(name: str, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["schemaVersion"] = name

    reference = Forgery(metadata=spoil).to_archive(tmp_path / "x.tar")
    outcome = CliRunner().invoke(PROGRAM, ["inspect", reference, "--debug"])
    assert outcome.exit_code == 8
    assert "Traceback" in outcome.output
    assert is_plain(outcome.output), ascii(outcome.output)
