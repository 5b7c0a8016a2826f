"""An image without an engine, pulled and run by real engines: what was pushed is what comes out, and goes on from there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from privatecontainerd import Containerd, private_containerd
from test_exact import DELETIONS
from test_round_trip import STATE_SETUP
from world import MODEL, Host

from bundler.format import image_compression, oci_image
from bundler.stores.layout.images import LayoutImages
from bundler.streams import BLOCK

STATE = ("/srv/state", "/app")
GROW = "open('/srv/state/grown', 'w').write('more'); import os; os.remove('/srv/state/empty')"


Tree = dict[str, tuple[Any, ...]]


def comparable(trees: list[Tree]) -> list[Tree]:
    """Trees of different engines: some write the type of an entry into its mode, too."""
    return [{name: (kind, int(mode, 8) & 0o7777, *rest) for name, (kind, mode, *rest) in tree.items()} for tree in trees]


@dataclass(frozen=True)
class Published:
    """A model that was pushed, the images of its bundle in the registry, and the tree that each of them must have."""

    bundle: str
    images: dict[str, str]
    config: str
    tree: list[Tree]


@pytest.fixture(scope="module")
def published(builder: Host, registry: str) -> Published:
    """Push base and bundle once; the base is found under the digest that the engine recorded when it pushed it."""
    base, bundle = f"{registry}/base/model", f"{registry}/bundles/model:1"
    builder.api.tag(MODEL, base, "1.0")
    for line in builder.api.push(base, "1.0", stream=True, decode=True):
        assert "error" not in line, line
    container = builder.run_script("published", list(STATE), STATE_SETUP + DELETIONS)
    builder.must("push", "published", bundle)
    made = {
        kind: builder.must("apply", bundle, "--to", f"{registry}/images/model:{kind}", "--layer-compression", kind, "--json").json
        for kind in ("zstd", "gzip")
    }
    assert made["zstd"]["base"]["name"].startswith(f"{base}@sha256:")
    assert made["zstd"]["configDigest"] == made["gzip"]["configDigest"]
    assert made["zstd"]["manifestDigest"] != made["gzip"]["manifestDigest"]
    images = {kind: it["reference"] for kind, it in made.items()}
    tree = comparable(builder.trees(container, *STATE))
    builder.clean()
    builder.api.remove_image(f"{base}:1.0")
    return Published(bundle, images, made["zstd"]["configDigest"], tree)


def pulled(host: Host, published: Published) -> str:
    """Pull the image on a host, in the compression that its engine reads."""
    image = published.images["zstd" if host.is_podman or not host.has_config_ids else "gzip"]
    if host.is_podman:  # Docker's API has no word for a registry without TLS
        url = host.api._url("/v4.0.0/libpod/images/pull", versioned_api=False)
        answer = host.api.post(url, params={"reference": image, "tlsVerify": "false"}, timeout=300)
        assert '"error"' not in answer.text, answer.text
    else:
        for line in host.api.pull(*image.rsplit(":", 1), stream=True, decode=True):
            assert "error" not in line, line
    return image


@pytest.mark.operation("apply")
def test_an_engine_pulls_what_it_would_have_made_itself(there: Host, published: Published, tmp_path: Path) -> None:
    """The config has the same digest in the registry, in a layout, and as this engine gets it from `apply`."""
    image = pulled(there, published)
    copy = there.api.create_container(image, ["x"])["Id"]
    assert comparable(there.trees(copy, *STATE)) == published.tree
    assert "app/state.py" not in there.tree(copy, "/app")
    assert printed(there, image, "print(open('/srv/state/small').read())") == "small\n"
    applied = there.must("apply", published.bundle, "--tag", "applied:1", "--json").json
    assert applied["configDigest"] == published.config
    if there.has_config_ids:
        assert (applied["existed"], applied["imageID"]) == (True, published.config)
    # containerd's store fetches no layer of the base that it unpacked from blobs in another compression, and does not list the
    # image then; Docker 28 reports only a part of it.
    one, other = (there.api.inspect_image(name) for name in (image, "applied:1"))
    if one.get("RootFS", {}).get("Layers"):
        assert [one[key] for key in ("Config", "RootFS", "Created")] == [other[key] for key in ("Config", "RootFS", "Created")]
    layout = there.must("apply", published.bundle, "--to", f"oci:{tmp_path}/l:1", "--base", f"engine:{MODEL}", "--json").json
    assert layout["configDigest"] == published.config
    check_layers(tmp_path / "l", there.layers("applied:1"))


def printed(host: Host, image: str, code: str) -> str:
    """What Python code prints in a container of an image, of which the engine may report no settings."""
    python = host.api.inspect_image(MODEL)["Config"]["Cmd"][0]
    container = host.api.create_container(image, [python, "-c", code])["Id"]
    host.api.start(container)
    assert host.api.wait(container)["StatusCode"] == 0
    return str(host.api.logs(container).decode())


def check_layers(layout: Path, diff_ids: list[str]) -> None:
    """Read the image of a layout; its layers must have these digests when they are decompressed."""
    store = LayoutImages(layout, "1")
    found = store.resolve_image()
    manifest = oci_image.read_manifest(found.media_type, store.manifest(found), "the layout")
    digests = []
    for layer in manifest.layers:
        digest = hashlib.sha256()
        with store.open(layer) as blob:
            content = image_compression.plain(blob, layer)
            while data := content.read(BLOCK):
                digest.update(data)
        digests.append(f"sha256:{digest.hexdigest()}")
    assert digests == diff_ids


def test_the_next_generation_comes_from_a_pulled_image(here: Host, there: Host, published: Published, registry: str) -> None:
    """It has the same base, and the bundle in its lineage; the older bundle may not replace its image."""
    image = pulled(there, published)
    grown = there.run_script("grown", list(STATE), GROW, image=image)
    second = f"{registry}/bundles/model:2"
    there.must("push", "grown", second)
    metadata = there.must("inspect", second, "--json").json["metadata"]
    first = here.must("inspect", published.bundle, "--json").json
    assert [it["digest"] for it in metadata["lineage"]] == [first["digest"]]
    assert metadata["base"]["diffIDs"] == first["metadata"]["base"]["diffIDs"]
    to = f"{registry}/images/model:current"
    base = f"{registry}/base/model:1.0"
    assert here.must("apply", published.bundle, "--to", to, "--base", base, "--json").json["existed"] is False
    assert here.must("apply", second, "--to", to, "--base", base, "--tag-previous", "--json").json["previous"] == "current-previous"
    outcome = here.bundle("apply", published.bundle, "--to", to, "--base", base)
    assert (outcome.code, "refusing to downgrade" in outcome.err) == (9, True)
    here.must("apply", second, "--to", f"{to}-gzip", "--base", base, "--layer-compression", "gzip")
    for line in here.api.pull(f"{registry}/images/model", tag="current-gzip", stream=True, decode=True):
        assert "error" not in line, line
    copy = here.api.create_container(f"{to}-gzip", ["x"])["Id"]
    assert comparable(here.trees(copy, *STATE)) == comparable(there.trees(grown, *STATE))


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    with private_containerd() as running:
        yield running


@pytest.mark.parametrize("kind", ["zstd", "gzip"])
def test_containerd_alone_pulls_and_runs_it(containerd: Containerd, published: Published, there: Host, kind: str) -> None:
    image = published.images[kind]
    containerd.pull(image)
    assert published.config in containerd.ctr("content", "ls")
    with containerd.mounted(image) as root:
        found = [there._entries(packed(root, path), path) for path in STATE]
        assert comparable(found) == published.tree
        python = str(there.api.inspect_image(MODEL)["Config"]["Cmd"][0])
    code = "import os; print(open('/srv/state/small').read(), os.path.exists('/app/state.py'))"
    assert containerd.run(image, f"run-{kind}", python, "-c", code).split() == ["small", "False"]


def packed(root: Path, path: str) -> bytes:
    """What lies at a path below a root, as an archive in the manner of the engine's."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(root / path[1:], path.rpartition("/")[2])
    return buffer.getvalue()


def test_an_image_of_the_state_alone_is_mounted_as_it_is(containerd: Containerd, here: Host, registry: str) -> None:
    container = here.run_script("first", ["/srv/state"], STATE_SETUP)
    here.must("push", "first", f"{registry}/bundles/state:1")
    to = f"{registry}/images/state:1"
    here.must("apply", f"{registry}/bundles/state:1", "--to", to, "--state-only")
    containerd.pull(to)
    with containerd.mounted(to) as root:
        assert comparable([here._entries(packed(root, "/srv/state"), "/srv/state")]) == comparable(
            here.trees(container, "/srv/state")
        )
        assert sorted(path.name for path in root.iterdir()) == ["srv"]
