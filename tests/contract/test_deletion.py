"""What registries answer to a deletion, and what then stays: a name never outlives its content, and a second run ends the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import bundle
from deletingregistry import DeletingRegistry, deleting_registry, index
from fakes import MemoryStore, RecordingProgress, file, tree
from opened import store
from privateregistry import private_registry
from typer.testing import CliRunner

from bundler.cli.main import app
from bundler.errors import BusyError
from bundler.format import signature
from bundler.format.content import Digest
from bundler.format.reference import RegistryReference
from bundler.stores.registry.repository import Repository
from bundler.stores.registry.store import fallback_tag
from bundler.verbs import copy


@pytest.fixture
def registry() -> Iterator[DeletingRegistry]:
    with deleting_registry() as found:
        yield found


@pytest.fixture
def signed(registry: DeletingRegistry) -> list[str]:
    """A signed bundle under two tags, and another one; gives the names of the first one's tags, manifest, signature and index."""
    source = MemoryStore()
    first, second = bundle(source, name="1"), bundle(source, tree(file("/s/g")), name="2")
    attached = signature.build(first, b"{}", b"signature").referrer
    registry.blobs = {str(digest): data for digest, data in source.blobs.items()}
    for tag, manifest in (("1", first), ("also", first), ("2", second)):
        registry.put(tag, source.blobs[manifest.digest])
    registry.manifests[str(attached.descriptor.digest)] = attached.data
    registry.blobs |= {str(blob.digest): b"" for blob in attached.blobs}
    listed = index(attached.data)
    registry.put(fallback_tag(first.digest), listed)
    return ["1", "also", str(first.digest), str(attached.descriptor.digest), str(Digest.of(listed))]


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, (arguments, done.output)
    return done.stderr


def test_tags_go_before_their_manifest_and_signatures_after_it(registry: DeletingRegistry, signed: list[str]) -> None:
    where = f"{registry.address}/x"
    run("untag", f"{where}:also")
    assert registry.deleted == ["also"]
    run("rm", f"{where}:1")
    assert registry.deleted == ["also", "1", *signed[2:]]
    assert list(registry.tags) == ["2"]


def test_a_tag_goes_alone_while_another_one_stays(registry: DeletingRegistry, signed: list[str]) -> None:
    run("rm", f"{registry.address}/x:1")
    assert registry.deleted == ["1"]
    assert f"{signed[2]} has tags: also" in run("rm", f"{registry.address}/x@{signed[2]}", code=2)


@pytest.mark.parametrize("failing", range(5))
def test_a_failure_in_the_middle_leaves_no_name_without_content(
    registry: DeletingRegistry, signed: list[str], failing: int
) -> None:
    where = f"{registry.address}/x"
    denied = {signed[failing]}
    registry.refuse = lambda name: 403 if name in denied else 0
    run("rm", f"{where}:1", f"{where}:also", code=7)
    assert registry.deleted == signed[:failing]
    assert all(digest in registry.manifests for digest in registry.tags.values())
    denied.clear()
    if failing < 2:
        run("rm", f"{where}:*", "--yes")
        return
    # The tags are gone: the rest can be named by its digest, and a signature without its bundle is found by prune.
    run(*(["rm", f"{where}@{signed[2]}"] if failing == 2 else ["prune", where]))
    assert sorted(registry.deleted) == sorted(signed)


def test_a_signature_without_its_bundle_stays_if_it_is_not_ours(registry: DeletingRegistry, signed: list[str]) -> None:
    del registry.manifests[signed[2]], registry.tags["1"], registry.tags["also"]
    other = registry.manifests[signed[3]].replace(signature.ARTIFACT_TYPE.encode(), b"application/x-sbom")
    del registry.manifests[signed[3]]
    registry.manifests[str(Digest.of(other))] = other
    registry.put(fallback_tag(Digest.parse(signed[2])), index(other))
    run("prune", f"{registry.address}/x")
    assert registry.deleted == []


@pytest.mark.usefixtures("signed")
def test_a_registry_that_keeps_the_tag_of_a_deleted_manifest_is_reported(registry: DeletingRegistry) -> None:
    registry.keeps_tags = True
    registry.refuse = lambda name: 405 if name in registry.tags else 0
    assert "still has it" in run("rm", f"{registry.address}/x:also", f"{registry.address}/x:1", code=5)


@pytest.mark.usefixtures("signed")
def test_a_tag_that_moved_meanwhile_is_not_deleted(registry: DeletingRegistry) -> None:
    place = Repository(RegistryReference(registry.address, "x"))
    entries = place.entries()
    removal = place.removal(entries, [entry for entry in entries if entry.named.name != "2"], sweep=False)
    registry.tags["1"] = registry.tags["2"]
    with pytest.raises(BusyError, match="another process moved this tag"):
        removal.carry_out()
    assert registry.deleted == []


def test_a_registry_without_deletion_is_reported_and_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    with private_registry(deletes=False) as address:
        source = MemoryStore()
        bundle(source)
        for tag in ("1", "2"):
            copy.copy(source, store(f"{address}/x:{tag}"), RecordingProgress())
        assert "405" in run("untag", f"{address}/x:1", code=5)
        assert "REGISTRY_STORAGE_DELETE_ENABLED" in run("rm", f"{address}/x:1", f"{address}/x:2", code=5)
        assert len(store(f"{address}/x").names()) == 2
