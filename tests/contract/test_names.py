"""``rm``, ``tag``, ``untag`` and ``prune`` by policies: in the local store, in a layout, and in a real registry."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import sshkeys
from bundles import bundle, verified
from disks import mounted
from disks import run as disk_run
from fakes import MemoryStore, RecordingProgress, file, tree
from opened import store
from typer.testing import CliRunner

from bundler.api.stores import StoreOptions, open_readable
from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format import artifact
from bundler.format.content import Digest
from bundler.format.delta_manifest import source_tag
from bundler.format.reference import LocalReference, parse
from bundler.ports import Renamable, Store
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy

NOISE = random.Random(1).randbytes(100_000)
PLACES = ["n", "oci:{tmp}/layout", "{registry}/names/{number}"]


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


@pytest.fixture(params=PLACES, ids=["local", "layout", "registry"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    address = request.getfixturevalue("registry") if "registry" in request.param else ""
    return str(request.param).format(tmp=tmp_path, registry=address, number=abs(hash(tmp_path)))


def run(*arguments: str, code: int = 0, given: str = "") -> str:
    done = CliRunner().invoke(app, list(arguments), input=given)
    assert done.exit_code == code, (arguments, done.output)
    return done.stderr if code else done.stdout


def printed(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def put(reference: str, content: str, created: str = "2026-01-02T03:04:05Z") -> str:
    """Put a bundle into a store; gives its digest."""
    source = MemoryStore()
    bundle(source, tree(file("/s/f", NOISE + content.encode())), created=created)
    return str(copy.copy(source, store(reference), RecordingProgress()).bundle.digest)


def opened_for_reading(reference: str) -> Store:
    """The store with its deltas as the bundles that they make."""
    return open_readable(parse(reference), StoreOptions())


def tags(where: str) -> dict[str, str]:
    """The digests by tag."""
    return {it["name"].rpartition(":")[2]: it["digest"] for it in printed("list", where) if it["name"]}


def blobs(tmp_path: Path, where: str) -> set[str]:
    path = tmp_path / ("layout" if where.startswith("oci:") else "store") / "blobs" / "sha256"
    return {found.name for found in path.iterdir()}


def test_a_bundle_gets_another_tag_and_loses_it_again(where: str, tmp_path: Path) -> None:
    first, second = put(f"{where}:1", "one"), put(f"{where}:2", "two")
    assert printed("tag", f"{where}:1", f"{where}:stable") == {
        "reference": f"{where}:stable",
        "digest": first,
        "displaced": None,
    }
    assert printed("tag", f"{where}@{second}", f"{where}:stable")["displaced"]["digest"] == first
    assert tags(where).items() >= {"1": first, "2": second, "stable": second}.items()
    if "/names/" in where:
        shown = run("untag", f"{where}:stable", code=5)
        assert "cannot delete a tag without its bundle" in shown
        assert "DIGEST_INVALID" in shown
        assert run("rm", f"{where}:stable", code=5)
        assert tags(where) == {"1": first, "2": second, "stable": second}
        return
    assert printed("untag", f"{where}:stable", f"{where}:1")["tags"][0] == {
        "name": "n:stable" if where == "n" else "stable",
        "digest": second,
    }
    assert tags(where)["2"] == second
    assert str(verified(store(f"{where}@{first}"))) == first
    run("prune", *([] if where == "n" else [where]), "--keep", "0")
    assert list(tags(where)) == ["2"]
    assert first.removeprefix("sha256:") not in blobs(tmp_path, where)


def test_a_removed_bundle_goes_with_its_signatures_and_blobs(where: str, tmp_path: Path) -> None:
    first, second = put(f"{where}:1", "one"), put(f"{where}:2", "two")
    key = str(sshkeys.key(tmp_path / "key").path)
    run("sign", f"{where}:1", "--sign-key", key)
    run("sign", f"{where}:2", "--sign-key", key)
    before = blobs(tmp_path, where) if "/names/" not in where else set()
    planned = printed("rm", f"{where}:1", "--dry-run")
    assert len(planned["bundles"]) == 2
    assert planned["size"] > 0
    assert len(tags(where)) == 2
    assert printed("rm", f"{where}:1") == {**planned, "dryRun": False}
    assert tags(where) == {"2": second}
    verified(store(f"{where}:2"))
    opened = store(f"{where}:2")
    assert len(opened.referrers(read_bundle(opened).manifest.descriptor)) == 1
    assert "no such bundle" in run("rm", f"{where}:1", code=6)
    if "/names/" in where:
        address, _, repository = where.partition("/")
        for name in (first, f"sha256-{first.removeprefix('sha256:')}"):
            assert requests.get(f"http://{address}/v2/{repository}/manifests/{name}", timeout=10).status_code == 404
    else:
        assert len(before - blobs(tmp_path, where)) == 6  # two manifests, metadata, a layer, statement and signature
        run("rm", f"{where}:2")
        assert blobs(tmp_path, where) == set()


def test_a_wildcard_needs_yes_and_matches_tags_alone(where: str) -> None:
    for day in ("2026-01-01", "2026-01-02", "2027-01-01"):
        put(f"{where}:{day}", day)
    assert "--yes" in run("rm", f"{where}:2026-*", code=2)
    assert len(printed("rm", f"{where}:2026-*", "--dry-run")["bundles"]) == 2
    assert "no such bundle" in run("rm", f"{where}:2025-*", "--yes", code=6)
    run("rm", f"{where}:2026-*", "--yes")
    assert list(tags(where)) == ["2027-01-01"]


def nights(where: str) -> list[str]:
    """Seven nightly bundles and one of last month; gives their digests, the oldest first."""
    days = ["2025-12-31", *(f"2026-01-0{day}" for day in range(1, 8))]
    return [put(f"{where}:{day}", day, f"{day}T02:00:00Z") for day in days]


def test_a_policy_keeps_the_newest_of_each_period(where: str, tmp_path: Path) -> None:
    digests = nights(where)
    run("sign", f"{where}:2026-01-02", "--sign-key", str(sshkeys.key(tmp_path / "key").path))
    policy = ("prune", where, "--keep-last", "2", "--keep-monthly", "2")
    planned = printed(*policy, "--dry-run")
    assert [it["names"][0].rpartition(":")[2] for it in planned["kept"]] == ["2025-12-31", "2026-01-06", "2026-01-07"]
    assert planned["kept"][-1]["reasons"] == ["last", "monthly"]
    assert len(tags(where)) == 8
    assert printed(*policy) == {**planned, "dryRun": False}
    assert sorted(tags(where).values()) == sorted([digests[0], *digests[-2:]])
    assert printed(*policy)["bundles"] == []
    for day in tags(where):
        verified(store(f"{where}:{day}"))


def test_deltas_keep_their_sources(where: str) -> None:
    if where == "n":
        return  # the local store has whole bundles
    whole = [put(f"local:{number}", f"{number}", f"2026-01-0{number}T00:00:00Z") for number in (1, 2, 3)]
    run("copy", "local:1", f"{where}:1")
    run("copy", "local:2", f"{where}:2", "--delta-from", "local:1")
    run("copy", "local:3", f"{where}:3")
    assert "is the source of the delta 2, which stays" in run("rm", f"{where}:1", code=2)
    if "/names/" in where:
        assert "keeps the source of the delta 2" in run("untag", f"{where}:{source_tag(Digest.parse(whole[0]))}", code=2)
    found = printed("prune", where, "--keep-last", "2", "--dry-run")
    assert found["kept"][0]["reasons"] == ["source of 2"]
    assert found["bundles"] == []
    run("rm", f"{where}@{whole[1]}", code=2)
    run("tag", f"{where}:2", f"{where}:also")
    run("rm", "local:2", "local:3")
    assert str(verified(opened_for_reading(f"{where}:also"))) == whole[1]
    run("rm", "local:1")
    assert str(verified(store(f"{where}:3"))) == whole[2]
    gone = printed("prune", where, "--keep-last", "1")
    assert {it["name"] for it in gone["bundles"]} >= {"1", "2"}
    assert list(tags(where)) == ["3"]


def test_a_store_writes_to_the_tag_that_it_was_given_later(where: str) -> None:
    if where == "n":
        return  # its names are chosen before it is opened
    source, target = MemoryStore(), store(where)
    bundle(source)
    assert isinstance(target, Renamable)
    target.rename("2026-01-02")
    copy.copy(source, target, RecordingProgress())
    assert target.where.endswith(":2026-01-02")
    assert list(tags(where)) == ["2026-01-02"]


def test_the_source_of_the_next_push_is_no_bundle_of_a_policy() -> None:
    digest = put("n:1", "one")
    put("n:2", "two", "2027-01-01T00:00:00Z")
    run("tag", "n:1", "n:delta-0123456789ab")
    run("untag", "n:1")
    assert [it["name"] for it in printed("list")] == ["n:2", "n:delta-0123456789ab", f"n@{digest}"]
    assert [it["name"] for it in printed("prune", "n", "--keep-last", "1")["bundles"]] == [f"n@{digest}"]
    run("rm", "n:*", "--yes")
    assert str(verified(store("n:delta-0123456789ab"))) == digest
    run("rm", "n:delta-0123456789ab")
    assert printed("list") == []


WRONG: list[tuple[list[str], int, str]] = [
    (["rm", "n"], 2, "names no single bundle"),
    (["rm", "{tmp}/x.tar"], 2, "never changed in place"),
    (["untag", "oci-archive:x:1"], 2, "never changed in place"),
    (["prune", "x.tar", "--keep-last", "1"], 2, "never changed in place"),
    (["prune", "n:1"], 2, "is one bundle"),
    (["prune", "n", "--keep-last", "1", "--keep", "1"], 2, "Use --keep-last"),
    (["prune", "--keep-tag", "x"], 2, "needs a policy"),
    (["prune", "--keep-last", "0"], 2, "--keep-last"),
    (["prune", "other", "--keep-last", "1"], 6, "Available: n"),
    (["rm", "n:1", "oci:{tmp}/layout:1"], 2, "different places"),
    (["tag", "n:1", "oci:{tmp}/layout:1"], 2, "fps-bundle copy n:1"),
    (["tag", "n:1", "n@sha256:" + "0" * 64], 2, "one new tag"),
    (["tag", "n:*", "n:1"], 2, "one new tag"),
    (["tag", "n:2", "n:3"], 6, "Available: n:1"),
    (["untag", "n:2"], 6, "Available: n:1"),
    (["untag", "n@{digest}"], 2, "a digest is no tag"),
    (["rm", "n@{digest}"], 2, "has tags: n:1"),
    (["rm", "n@sha256:" + "0" * 64], 6, "no such bundle"),
    (["rm", "oci:{tmp}/none:1"], 6, "no such directory"),
    (["rm", "oci:{tmp}/empty:1"], 6, "no index.json"),
]


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A directory with a local store of one bundle, and the digest of that."""
    path = tmp_path_factory.mktemp("unchanged")
    (path / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPS_BUNDLE_STORE", str(path / "store"))
        return path, put("n:1", "one")


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[" ".join(it[0]) for it in WRONG])
def test_wrong_input_changes_nothing(
    arguments: list[str], code: int, message: str, unchanged: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digest = unchanged
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(path / "store"))
    before = blobs(path, "n")
    assert message in run(*[it.format(tmp=path, digest=digest) for it in arguments], code=code)
    assert list((path / "empty").iterdir()) == []
    assert (LocalStore(LocalReference("")).names()[0].name, blobs(path, "n")) == ("n:1", before)


def test_without_a_local_store_none_is_made(tmp_path: Path) -> None:
    assert "there is no local store" in run("rm", "n:1", code=6)
    assert not (tmp_path / "store").exists()


def test_a_layout_that_a_process_writes_to_is_busy_and_one_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "tmpfs") as disk:
        where = f"oci:{disk}/layout"
        put(f"{where}:1", "one")
        with LayoutStore(disk / "layout").writing():
            assert "is writing to the layout" in run("rm", f"{where}:1", code=12)
            assert "is writing to the layout" in run("prune", where, "--keep-last", "1", code=12)
        disk_run("mount", "-o", "remount,ro", str(disk))
        for command in (["rm", f"{where}:1"], ["untag", f"{where}:1"], ["tag", f"{where}:1", f"{where}:2"]):
            assert "Read-only file system" in run(*command, code=5)
        verified(store(f"{where}:1"))


def test_a_layout_with_an_image_of_another_tool_loses_no_blob(tmp_path: Path) -> None:
    where = f"oci:{tmp_path}/layout"
    put(f"{where}:1", "one")
    path = tmp_path / "layout" / "index.json"
    content = json.loads(path.read_bytes())
    content["manifests"].append({"mediaType": artifact.INDEX, "digest": content["manifests"][0]["digest"], "size": 1})
    path.write_text(json.dumps(content))
    before = blobs(tmp_path, where)
    assert "cannot tell which blobs are needed" in run("rm", f"{where}:1", code=8)
    assert blobs(tmp_path, where) == before


def test_a_wildcard_matches_the_names_of_other_tools_too(tmp_path: Path) -> None:
    where = f"oci:{tmp_path}/layout"
    put(f"{where}:1", "one")
    path = tmp_path / "layout" / "index.json"
    path.write_text(path.read_text().replace('"1"', '"detector:\\u001b[2J1"'))
    assert "\x1b" not in run("rm", f"{where}:det*", code=2)
    assert printed("rm", f"{where}:det*", "--yes")["bundles"][0]["name"] == "detector:\x1b[2J1"
    assert tags(where) == {}


def test_a_damaged_bundle_can_be_removed_and_blocks_the_removal_of_others(where: str, tmp_path: Path) -> None:
    if "/names/" in where:
        return  # the files of a registry are its own
    first = put(f"{where}:1", "one")
    put(f"{where}:2", "two")
    path = tmp_path / ("store" if where == "n" else "layout") / "blobs" / "sha256" / first.removeprefix("sha256:")
    path.chmod(0o600)
    path.write_bytes(b"{" + path.read_bytes()[1:] + b" ")
    assert "cannot be read" in run("rm", f"{where}:2", code=8)
    assert "cannot be read" in run("prune", where, "--keep-last", "1", code=8)
    run("rm", f"{where}:1")
    assert list(tags(where)) == ["2"]


@pytest.mark.parametrize(("answer", "stays"), [("y", 0), ("n", 2)])
def test_the_terminal_is_asked_before_a_wildcard_removes(answer: str, stays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (1, 2):
        put(f"n:{day}", str(day))
    monkeypatch.setattr("bundler.cli.place.is_terminal", lambda: True)
    shown = run("rm", "n:*", code=2 if stays else 0, given=f"{answer}\n")
    assert ("not confirmed" in shown) == bool(stays)
    assert len(LocalStore(LocalReference("")).names()) == stays


def removed_until(step: int, reference: str) -> int:
    """Remove a bundle in a process that ends without a word before so many changes of the disk; gives its exit code."""
    if (process := os.fork()) == 0:
        changes = itertools.count(1)

        def end(event: str, _: object) -> None:
            if event in ("os.remove", "os.rename") and next(changes) == step:
                os._exit(137)

        sys.addaudithook(end)
        os._exit(CliRunner().invoke(app, ["rm", reference]).exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_removal_that_is_killed_before_any_change_of_the_disk_leaves_whole_bundles(tmp_path: Path) -> None:
    for tag in ("1", "2"):
        put(f"oci:{tmp_path}/whole:{tag}", tag)
    left = set()
    for step in itertools.count(1):
        layout = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole", layout)
        ended = removed_until(step, f"oci:{layout}:1")
        found = tags(f"oci:{layout}")
        left.add(tuple(found))
        assert [str(verified(store(f"oci:{layout}:{tag}"))) for tag in found] == list(found.values())
        if ended == 0:
            break
        assert ended == 137
        run("rm", f"oci:{layout}:1", code=0 if "1" in found else 6)
        run("prune", f"oci:{layout}")
        stays = LayoutStore(layout, "2")
        assert {it.name for it in (layout / "blobs" / "sha256").iterdir()} == {
            it.digest.hex for it in (stays.resolve(), *read_bundle(stays).manifest.blobs)
        }
    assert left == {("1", "2"), ("2",)}
