"""Docker with containerd's image store: what an image's ID is there, and a base whose content is there in part only."""

from __future__ import annotations

from pathlib import Path

import pytest
from registryimage import push_attested
from test_round_trip import STATE_SETUP
from world import MODEL, Host

PULLED = "team/attested"


@pytest.fixture(scope="module")
def archive(_hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of a model with every kind of entry, for all tests: none of them changes it."""
    here, path = _hosts[0], tmp_path_factory.mktemp("bundle") / "x.tar"
    here.run_script("first", ["/srv/state"], STATE_SETUP)
    here.must("push", "first", str(path))
    here.clean()
    return str(path)


@pytest.mark.operation("push and apply", only="containerd")
def test_the_id_of_an_image_is_not_its_config_digest_and_it_is_found_again(there: Host, archive: str) -> None:
    first = there.must("apply", archive, "--tag", "made:1", "--json").json
    assert first["imageID"] != first["configDigest"]
    again = there.must("apply", archive, "--tag", "made:2", "--json").json
    assert (again["existed"], again["imageID"]) == (True, first["imageID"])
    assert "loading the new layers" not in there.must("apply", archive, "--tag", "made:3").err


@pytest.mark.operation("push and apply", only="containerd")
def test_an_image_of_the_same_bundle_with_other_labels_is_another_one(there: Host, archive: str) -> None:
    first = there.must("apply", archive, "--tag", "made:1", "--json").json
    marked = there.must("apply", archive, "--tag", "made:2", "--insecure-ignore-signatures", "--json").json
    assert (marked["existed"], marked["imageID"] != first["imageID"]) == (False, True)


@pytest.mark.operation("push and apply", only="containerd")
def test_a_base_that_was_pulled_while_its_layers_were_here_in_another_compression(
    builder: Host, there: Host, archive: str, registry: str
) -> None:
    """containerd fetched no layer, as all were unpacked: `docker save` of what was pulled has none, that of the older image has."""
    push_attested(builder, registry, PULLED)
    pulled = f"{registry}/{PULLED}:1"
    for line in there.api.pull(f"{registry}/{PULLED}", tag="1", stream=True, decode=True):
        assert "error" not in line, line
    there.must("apply", archive, "--tag", "made:1")
    copy = there.api.create_container("made:1", ["x"])["Id"]
    assert there.tree(copy, "/srv/state/deep")
    outcome = there.bundle("apply", archive, "--tag", "made:2", "--base", pulled, "--force")
    if outcome.code:  # Docker 28 tells no layers of such an image
        assert outcome.code == 4
        assert f"the engine has only a part of the image {pulled}" in outcome.err
    else:
        assert there.api.inspect_image("made:2")["Id"] == there.api.inspect_image("made:1")["Id"]
    there.api.remove_container(copy)


@pytest.mark.operation("push and apply", only="containerd")
def test_what_fails_leaves_no_image(builder: Host, saved_models: Path, there: Host, archive: str, registry: str) -> None:
    push_attested(builder, registry, PULLED)
    there.api.pull(f"{registry}/{PULLED}", tag="1")
    there.api.remove_image(MODEL, force=True)
    before = there.images()
    try:
        outcome = there.bundle("apply", archive, "--tag", "made:1", "--base", f"{registry}/{PULLED}:1")
        assert outcome.code in (4, 10)
        assert there.images() == before
    finally:
        there.take_model(saved_models)
