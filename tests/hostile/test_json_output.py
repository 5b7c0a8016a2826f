"""What every command prints with ``--json`` is as ``schemas/cli.v1.json`` says, and has no key that is not in it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sshkeys
from bundles import bundle
from fakes import MemoryStore, RecordingProgress, file, tree
from typer.main import get_command
from typer.testing import CliRunner

from bundler.cli.main import app
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy
from hostile import migrator
from hostile.fakeengine import Engine
from hostile.running import Run

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "cli.v1.json").read_text())
NOISE = random.Random(1).randbytes(200_000)
FURTHER = {"apply-to", "dry-run", "files"}
"""What options of a command print instead of its usual output."""
VALUES = {"container", "digest", "size", "change", "side", "blobs", "displaced", "delta", "settings", "entry", "signatures"}


def closed(schema: Any) -> Any:
    """The schema, with every object limited to the keys that it names."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) and isinstance(schema.get("required"), list)
    return {"unevaluatedProperties": False, **inner} if named else inner


def fault(name: str, document: Any) -> str:
    """How a document differs from the definition of that name; empty when it does not."""
    schema = {**closed(SCHEMA), "$ref": f"#/$defs/{name}"}
    return "; ".join(f"{it.json_path}: {it.message}" for it in jsonschema.Draft202012Validator(schema).iter_errors(document))


def printed(*arguments: str, given: str = "") -> Any:
    outcome = CliRunner().invoke(app, [*arguments, "--json"], input=given)
    assert outcome.exit_code == 0, (arguments, outcome.output)
    return json.loads(outcome.stdout)


@pytest.fixture
def archives(tmp_path: Path) -> tuple[str, str]:
    """Two bundles that differ in a file."""
    paths = []
    for name, content in {"old": b"old", "new": b"newer"}.items():
        store = MemoryStore()
        bundle(store, tree(file("/s/changed", content), file(f"/s/{name}"), file("/s/noise", NOISE)))
        copy.copy(store, ArchiveStore(tmp_path / f"{name}.tar", "1"), RecordingProgress())
        paths.append(str(tmp_path / f"{name}.tar"))
    return paths[0], paths[1]


@contextmanager
def registry() -> Iterator[str]:
    """The address of a registry that asks for a user and takes any."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if "Authorization" in self.headers else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_each_command_with_json_has_a_definition() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    with_json = {name for name, command in commands.items() if any("--json" in it.opts for it in command.params)}
    assert SCHEMA["$defs"].keys() == with_json | FURTHER | VALUES
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_unknown_key_is_a_fault() -> None:
    known = {"registry": "localhost", "wasLoggedIn": True}
    assert not fault("logout", known)
    assert "more" in fault("logout", {**known, "more": 1})


def test_of_bundles(archives: tuple[str, str], run: Run, tmp_path: Path) -> None:
    assert run("list")[0] == 0
    old, new = archives
    key = str(sshkeys.key(tmp_path / "key").path)
    documents = [
        ("copy", printed("copy", old, "model:1")),
        ("dry-run", printed("copy", new, "model:1", "--dry-run")),
        ("copy", printed("copy", new, "model:1")),
        ("copy", printed("copy", new, str(tmp_path / "delta.tar"), "--delta-from", old)),
        ("diff", printed("diff", old, new)),
        ("sign", printed("sign", new, "--sign-key", key)),
        ("inspect", printed("inspect", new)),
        ("files", printed("inspect", new, "--files")),
        ("verify", printed("verify", new)),
        ("extract", printed("extract", new, str(tmp_path / "out"))),
        ("extract", printed("extract", new, str(tmp_path / "out"), "--dry-run")),
        ("list", printed("list")),
        ("history", printed("history", "model:1")),
        ("split", printed("split", old, "64KiB")),
        ("prune", printed("prune", "--dry-run")),
        ("prune", printed("prune")),
    ]
    assert [(name, found) for name, document in documents if (found := fault(name, document))] == []


def test_of_an_engine(archives: tuple[str, str], run: Run, engine: Engine, tmp_path: Path) -> None:
    documents = [("doctor", printed("doctor"))]
    assert run("doctor")[0] == 0
    with migrator.serving() as endpoint:
        push = ("push", "detector", "pushed:1", "--reader", "api", "--endpoint", endpoint)
        planned = ("push", "detector", "planned:1", "--dry-run", *push[3:])
        documents += [("push", printed(*push)), ("push", printed(*push)), ("dry-run", printed(*planned))]
        ingest = ("ingest", "detector", "--no-export", "--onto", "model:1.0", "--tag", "taken:1", "--endpoint", endpoint)
        documents += [("ingest", printed(*ingest))]
    for archive in archives:
        documents += [("apply", printed("apply", archive, "--tag", "new:1"))]
    for to in (f"oci:{tmp_path}/layout:1", f"oci:{tmp_path}/layout:1", f"oci-archive:{tmp_path}/image.tar:1"):
        documents += [("apply-to", printed("apply", archives[0], "--to", to, "--state-only", "--force"))]
    documents += [("undo", printed("undo", "new:1"))]
    engine.health = "healthy"
    documents += [("apply", printed("apply", archives[0], "--tag", "new:1", "--replace", "detector"))]
    assert documents[-1][1]["container"]["previous"] == "detector-previous"
    assert [(name, found) for name, document in documents if (found := fault(name, document))] == []


def test_of_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with registry() as address:
        login = printed("login", address, "--username", "user", "--password-stdin", given="secret\n")
        documents = [("login", login), ("logout", printed("logout", address))]
    assert [(name, found) for name, document in documents if (found := fault(name, document))] == []
