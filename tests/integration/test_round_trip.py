"""The main job: a model that learned here answers the same there."""

from __future__ import annotations

from pathlib import Path

import pytest
from world import MODEL, Host, short

LESSONS = [("smoke and flames", "fire"), ("rain and flood", "water"), ("burning grass", "fire")]
QUESTION = "flames in the rain"
LABELS = ("digest", "lineage", "base.chain-id", "base.name", "base.layers", "image.layers")


def teach(host: Host, container: str) -> None:
    for text, label in LESSONS:
        host.ask(container, "learn", text=text, label=label)


def trees(host: Host, container: str, *paths: str) -> list[object]:
    host.api.pause(container)
    try:
        return [host.tree(container, path) for path in paths]
    finally:
        host.api.unpause(container)


@pytest.mark.operation("push and apply")
def test_a_model_that_learned_here_answers_the_same_there(here: Host, there: Host, registry: str) -> None:
    goes_through(f"{registry}/team/detector:1", here, there)


@pytest.mark.parametrize("way", ["{}/bundle.tar", "oci:{}/layout:1"], ids=["file", "layout"])
def test_a_model_that_was_a_file_answers_the_same_there(here: Host, there: Host, tmp_path: Path, way: str) -> None:
    """On one engine: an engine does not see which store the bundle was in."""
    goes_through(way.format(tmp_path), here, there)


def goes_through(reference: str, here: Host, there: Host) -> None:
    """Push a model that has learned to a store, and apply it on the other host."""
    first = here.run(MODEL, "first")
    teach(here, first)

    digest = here.must("push", "first", reference).out.strip()
    applied = there.must("apply", reference, "--tag", "detector:1", "--json").json

    second = there.run("detector:1", "second")
    assert there.ask(second, "predict", text=QUESTION) == here.ask(first, "predict", text=QUESTION)
    assert trees(there, second, "/opt/model/weights.bin", "/opt/model/config.json") == trees(
        here, first, "/opt/model/weights.bin", "/opt/model/config.json"
    )
    assert applied["bundle"] == digest
    assert (applied["imageID"] == applied["configDigest"]) is there.has_config_ids


_SETUP = """
import os, subprocess
os.makedirs('/srv/state/deep/er', mode=0o750)
os.chown('/srv', 7, 8); os.chmod('/srv', 0o711)
os.chown('/srv/state', 1000, 3000000000)
open('/srv/state/empty', 'w').close()
open('/srv/state/small', 'w').write('small')
os.chmod('/srv/state/small', 0o640); os.chown('/srv/state/small', 4000000000, 12)
block = os.urandom(1 << 20)
with open('/srv/state/big', 'wb') as f:
    for _ in range(MEBIBYTES): f.write(block)
os.link('/srv/state/big', '/srv/state/deep/also-big')
os.link('/srv/state/small', '/srv/state/deep/also-small')
os.symlink('../small', '/srv/state/deep/link')
os.symlink('/nowhere', '/srv/state/dangling')
os.mkdir('/srv/state/sticky'); os.chmod('/srv/state/sticky', 0o1777)
open(b'/srv/state/not-utf8-\\xff\\n', 'w').write('x')
open('/srv/state/' + 'long' * 40, 'w').write('long name')
open('/srv/state/snow\\u2603', 'w').write('unicode')
os.utime('/srv/state/small', (0, 0)); os.utime('/srv/state/empty', (7258118400, 7258118400.75))
os.utime('/srv/state/big', (86400, 86400))
"""
STATE_SETUP = f"MEBIBYTES = 3{_SETUP}"
LARGE_STATE_SETUP = f"MEBIBYTES = 70{_SETUP}"
"""The same with a file that is large enough for a layer of its own."""


@pytest.mark.operation("exactness")
def test_every_kind_of_entry_comes_out_as_it_went_in(here: Host, there: Host, tmp_path: Path) -> None:
    first = here.run_script("first", ["/srv/state"], LARGE_STATE_SETUP)
    here.must("push", "first", "kinds:1")
    here.must("copy", "kinds:1", str(tmp_path / "kinds.tar"))
    there.must("apply", str(tmp_path / "kinds.tar"), "--tag", "kinds:1")
    second = there.api.create_container("kinds:1")["Id"]

    assert there.tree(second, "/srv/state") == here.tree(first, "/srv/state")
    assert there.tree(second, "/srv")["srv"][:4] == here.tree(first, "/srv")["srv"][:4]
    layers = here.must("inspect", "kinds:1", "--json").json["metadata"]["layers"]
    assert [layer["entries"] for layer in layers] == [5, 13]


def test_pushing_twice_gives_the_same_layers(here: Host) -> None:
    here.run_script("first", ["/srv/state"], LARGE_STATE_SETUP)
    for name in ("twice:1", "twice:2"):
        here.must("push", "first", name)
    one, other = (here.must("inspect", name, "--json").json for name in ("twice:1", "twice:2"))
    assert one["manifest"]["layers"] == other["manifest"]["layers"]
    assert one["metadata"]["layers"] == other["metadata"]["layers"]


@pytest.mark.operation("exactness")
def test_labels_and_settings_of_the_image_come_along(here: Host, there: Host, tmp_path: Path) -> None:
    here.run(MODEL, "first", environment={"ONLY_THIS_RUN": "1"}, labels={"only.this": "run"})
    here.must("push", "first", str(tmp_path / "labels.tar"))
    there.must("apply", str(tmp_path / "labels.tar"), "--tag", "labels:1")
    before, after = here.api.inspect_image(MODEL)["Config"], there.api.inspect_image("labels:1")["Config"]
    for setting in ("Cmd", "Env", "ExposedPorts", "Entrypoint", "User", "WorkingDir"):
        assert (after.get(setting) or None) == (before.get(setting) or None)
    ours = {key for key in after["Labels"] if key.startswith("fps.bundle.")}
    assert {key: value for key, value in after["Labels"].items() if key not in ours} == before["Labels"]
    assert ours == {f"fps.bundle.{key}" for key in LABELS}


def test_a_second_generation_lands_on_the_clean_base_again(here: Host, there: Host, tmp_path: Path) -> None:
    """On one engine: what further engines make of generations, `test_exact` compares file by file."""
    first = here.run(MODEL, "first")
    teach(here, first)
    here.must("push", "first", str(tmp_path / "1.tar"))
    here.must("apply", str(tmp_path / "1.tar"), "--tag", "detector:1")
    second = here.run("detector:1", "second")
    here.ask(second, "learn", text="more smoke", label="fire")
    here.must("push", "second", str(tmp_path / "2.tar"))
    there.must("apply", str(tmp_path / "2.tar"), "--tag", "detector:2")
    third = there.run("detector:2", "third")
    assert there.ask(third, "predict", text=QUESTION) == here.ask(second, "predict", text=QUESTION)
    assert len(there.api.inspect_image("detector:2")["RootFS"]["Layers"]) == 2


@pytest.mark.operation("push and apply")
def test_applying_twice_makes_one_image(there: Host, here: Host, tmp_path: Path) -> None:
    here.run(MODEL, "first")
    here.must("push", "first", str(tmp_path / "x.tar"))
    first = there.must("apply", str(tmp_path / "x.tar"), "--json").json
    second = there.must("apply", str(tmp_path / "x.tar"), "--json").json
    assert (first["existed"], second["existed"]) == (False, True)
    assert first["imageID"] == second["imageID"]
    assert short(first["tag"]) == f"example-model:1.0-{first['bundle'][7:19]}"
    assert not [name for image in there.api.images() for name in image["RepoTags"] if "loading" in name]


@pytest.mark.operation("undo")
def test_undo_gives_the_tag_back(here: Host, there: Host, tmp_path: Path) -> None:
    first = here.run(MODEL, "first")
    for number in ("1", "2"):
        here.ask(first, "learn", text=f"smoke {number}", label="fire")
        here.must("push", "first", str(tmp_path / f"{number}.tar"))
    one = there.must("apply", str(tmp_path / "1.tar"), "--tag", "detector:7", "--json").json
    two = there.must("apply", str(tmp_path / "2.tar"), "--tag", "detector:7", "--json").json
    assert (one["previous"], two["previous"]) == (None, "detector:7-previous")
    assert there.must("undo", "detector:7").out == f"image {one['imageID']}\n"
    assert there.api.inspect_image("detector:7")["Id"] == one["imageID"]
    assert there.api.inspect_image("detector:7-previous")["Id"] == two["imageID"]
    assert there.bundle("undo", "nothing:1").code == 6
