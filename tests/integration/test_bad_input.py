"""What bad input gets: one sentence, the right exit code, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from world import MODEL, Host


@pytest.fixture(scope="module")
def archive(_hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of the example model."""
    here = _hosts[0]
    path = tmp_path_factory.mktemp("sound") / "sound.tar"
    here.run(MODEL, "sound")
    here.must("push", "sound", str(path))
    here.clean()
    return path


def refused(host: Host, code: int, *arguments: str, saying: str) -> None:
    images, before = host.images(), host.must("list").out
    outcome = host.bundle(*arguments)
    assert outcome.code == code, outcome.err
    assert saying in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert host.images() == images
    assert host.must("list").out == before
    assert host.leftovers() == []
    assert not any(host.paused(container["Id"]) for container in host.api.containers())


def test_a_container_that_is_not_there_or_not_running(here: Host) -> None:
    container = here.run(MODEL, "present")
    refused(here, 6, "push", "absent", saying="Available: present")
    here.api.pause(container)
    assert here.bundle("push", "present").code == 3
    assert here.paused(container)  # as another program had paused it
    here.api.unpause(container)
    here.api.stop(container, timeout=0)
    refused(here, 3, "push", "present", saying="docker start present")


def test_a_prefix_of_two_containers(here: Host) -> None:
    for name in ("twin-1", "twin-2"):
        here.api.create_container(MODEL, name=name)
    refused(here, 6, "push", "twin", saying="twin-1, twin-2")


WRONG_PATHS: list[tuple[list[str], str]] = [
    ([], "named no paths"),
    (["relative/path"], "'relative/path' is not absolute"),
    (["/"], "is the root"),
    (["/proc/self", "/opt/../etc"], "'/opt/../etc' is not a clean path"),
    (["/nowhere/a", "/etc/passwd", "/nowhere/b"], "/nowhere/a, /nowhere/b"),
]


def test_paths_that_cannot_be_exported(here: Host) -> None:
    container = here.run_script("first", [])
    for paths, saying in WRONG_PATHS:
        here.put(container, {"script/paths": json.dumps(paths)})
        refused(here, 3, "push", "first", saying=saying)


def test_a_tmpfs_is_refused(here: Host) -> None:
    here.run_script("first", ["/scratch/state"], "open('/scratch/state','w')", host_config={"Tmpfs": {"/scratch": ""}})
    refused(here, 3, "push", "first", saying="tmpfs")


def test_a_model_whose_export_fails_or_never_ends(here: Host) -> None:
    container = here.run_script("first", ["/etc/passwd"], mood="failing")
    refused(here, 3, "push", "first", saying="the disk of the model is on fire")
    here.put(container, {"script/mood": "silent"})
    refused(here, 3, "push", "first", "--export-timeout", "1", saying="did not finish Export in time")


def test_a_name_that_a_layer_cannot_hold(here: Host) -> None:
    here.run_script("first", ["/srv"], "import os; os.makedirs('/srv/a'); open('/srv/a/.wh.x', 'w')")
    refused(here, 3, "push", "first", saying="/srv/a/.wh.x")


def test_targets_that_are_refused(here: Host, tmp_path: Path) -> None:
    here.run(MODEL, "first")
    refused(here, 2, "push", "first", "Not A Reference", saying="cannot read the reference")
    refused(here, 5, "push", "first", "127.0.0.1:9/team/x:1", saying="127.0.0.1:9")
    refused(here, 3, "push", "first", "--port", "9", "--wait", "1", saying="no Migrator answered")
    (tmp_path / "work.tar").write_bytes(b"precious")
    here.bundle("push", "first", str(tmp_path / "work.tar"))
    assert (tmp_path / "work.tar").read_bytes() == b"precious"


def test_an_engine_that_is_not_there(here: Host) -> None:
    outcome = here.bundle("push", "first", "--host", "unix:///nowhere.sock")
    assert outcome.code == 4
    assert "cannot connect to the Docker daemon at unix:///nowhere.sock: no such file or directory" in outcome.err


def test_a_bundle_that_is_not_there(there: Host, registry: str, tmp_path: Path) -> None:
    refused(there, 2, "apply", str(tmp_path / "none.tar"), saying="No such file")
    refused(there, 6, "apply", "nothing:1", saying="no such bundle")
    refused(there, 6, "apply", f"{registry}/team/nothing:1", saying="not found")


def test_another_base_is_refused_with_what_differs(there: Host, archive: Path) -> None:
    container = there.run_script("changed", [])
    there.api.commit(container, "other", "1")
    there.api.remove_container(container, force=True)
    refused(there, 10, "apply", str(archive), "--base", "other:1", saying="number of layers")


def test_a_missing_base_is_named(there: Host, here: Host, tmp_path: Path) -> None:
    container = here.run_script("building", [])
    here.api.commit(container, "elsewhere", "1")
    here.api.remove_container(container, force=True)
    here.run_script("first", ["/srv/state"], "import os; os.makedirs('/srv/state')", image="elsewhere:1")
    here.must("push", "first", str(tmp_path / "x.tar"))
    refused(there, 10, "apply", str(tmp_path / "x.tar"), saying="elsewhere:1")


def test_a_damaged_archive_is_refused_before_the_engine_is_touched(there: Host, archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[2048 + 100] ^= 1
    (tmp_path / "damaged.tar").write_bytes(data)
    refused(there, 8, "apply", str(tmp_path / "damaged.tar"), saying="damaged")


def test_the_clean_bases_own_tag_is_not_taken(there: Host, archive: Path) -> None:
    refused(there, 2, "apply", str(archive), "--tag", MODEL, saying="--force")


def test_a_dry_run_changes_nothing(there: Host, archive: Path) -> None:
    images = there.images()
    outcome = there.must("apply", str(archive), "--dry-run", "--json")
    assert outcome.json["imageID"] is None
    assert there.images() == images


def test_a_bundle_that_was_damaged_after_it_had_been_verified(there: Host, archive: Path) -> None:
    there.must("copy", str(archive), "taken:1")
    store = there.home / "store"
    blob = max((store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(there, 8, "apply", "taken:1", saying=blob.name)
    blob.write_bytes(data)
    assert "verifying" not in there.must("apply", "taken:1", "--tag", "copy:1").err
