"""Any state that a model can have comes out as it went in, from host to host and generation to generation.

States are drawn at random and go in batches: one model has several, and exports of each what was drawn for it.
What is compared is written down by ``state_lister.py`` inside the containers, before the push and in the applied image.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tally
from states import BIG, PLAIN_EXPORTS, Changes, draw, with_big_file
from world import MODEL, NO_NETWORK, Host, program

STATES = int(os.environ.get("FPS_BUNDLE_STATES", "20"))
DEEP_STATES = int(os.environ.get("FPS_BUNDLE_DEEP_STATES", "0"))
"""How many of the states, the first ones, go through ten generations; the others go through two."""
SEED = os.environ.get("FPS_BUNDLE_SEED", "20261123")
BATCH = 5
BATCHES = [(first, 10 if first < DEEP_STATES else 2) for first in range(0, STATES, BATCH)]
BASE = "example-model:9.0"  # a name that `Host.clean` leaves alone

LIST = "import runpy; runpy.run_path('/script/state_lister.py')"
MAKE = "import runpy; runpy.run_path('/script/state_maker.py')"

Entry = dict[str, Any]


class Listing:
    """All that is below ``/srv`` of a container, by path, and the topmost places of what its model exports."""

    def __init__(self, written: bytes) -> None:
        found = json.loads(written)
        self.entries = {bytes.fromhex(entry["path"]): entry for entry in sorted(found["entries"], key=lambda entry: entry["path"])}
        exports = [bytes.fromhex(export) for export in found["exports"]]
        self.roots = [path for path in exports if not any(is_below(path, other) for other in exports)]

    def part(self, wanted: Callable[[bytes, Entry], bool]) -> dict[bytes, Entry]:
        """Some of the entries; instead of its inode each has the first of its names among them."""
        names: dict[tuple[int, ...], bytes] = {}
        return {
            path: {**entry, "inode": names.setdefault(tuple(entry["inode"]), path)}
            for path, entry in self.entries.items()
            if wanted(path, entry)
        }

    def kind(self, path: bytes) -> int | None:
        return self.entries[path]["kind"] if path in self.entries else None

    def state(self, root: bytes) -> dict[bytes, Entry]:
        """What a bundle holds of one export."""
        return self.part(lambda path, entry: is_within(path, root) and is_state(entry))

    def big_files(self, root: bytes) -> int:
        """How many files of an export are layers of their own."""
        return len({entry["inode"] for entry in self.state(root).values() if entry["size"] >= 64 << 20})

    def others(self, root: bytes) -> dict[bytes, int]:
        """The FIFOs, sockets and devices in an export."""
        return {path: entry["kind"] for path, entry in self.entries.items() if is_within(path, root) and not is_state(entry)}


@pytest.fixture(scope="module")
def base(_hosts: tuple[Host, Host], _podman: Host) -> Iterator[dict[Host, Listing]]:
    """On every host a base that has random states already; gives what is in it."""
    here, *others = hosts = [*_hosts, _podman]
    container, _ = learn(here, "making-the-base", MODEL, draw(BATCH, f"{SEED}/base"))
    here.api.commit(container, *BASE.split(":"))
    here.api.remove_container(container, force=True)
    for host in others:
        host.take_image(here, BASE)
    yield {host: run(host, BASE) for host in hosts}
    for host in hosts:
        host.api.remove_image(BASE, force=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("first", "generations"), BATCHES)
def test_any_state_comes_out_as_it_went_in(
    base: dict[Host, Listing],
    here: Host,
    there: Host,
    podman: Host,
    registry: str,
    tmp_path: Path,
    first: int,
    generations: int,
) -> None:
    batch, count = first // BATCH, min(BATCH, STATES - first)
    origin, goal = (podman, here) if batch % 2 else (here, there)
    image = BASE
    for generation in range(generations):
        changes = draw(count, f"{SEED}/{first}/{generation}")
        reader = "direct" if (batch // 2 + generation) % 2 else "api"
        if generation == 0 and batch % 5 == 0:
            changes[0] = with_big_file(changes[0], BIG[batch // 5 % len(BIG)])
        if origin.is_podman and reader == "api":  # it takes a path that it is asked about for a glob pattern
            changes = [{**change, "exports": PLAIN_EXPORTS} for change in changes]
        name, new = f"generation-{generation}", f"state:{generation}"
        source, before = learn(origin, name, image, changes)
        bundle = str(tmp_path / f"{generation}.tar") if (batch + generation) % 2 else f"{registry}/states/{first}:{generation}"
        origin.must("push", name, bundle, "--quiet", "--reader", reader)
        goal.must("apply", bundle, "--tag", new, "--quiet", "--allow-privileged")
        check(before, run(goal, new), base[goal])
        assert len(goal.layers(new)) <= len(goal.layers(BASE)) + 1 + sum(map(before.big_files, before.roots))
        origin.api.remove_container(source, force=True)
        if image != BASE:
            origin.api.remove_image(image, force=True)
        origin, goal, image = goal, origin, new
        tally.count(f"random states pushed and applied (FPS_BUNDLE_SEED={SEED})", f"in generation {generation}", count)


def learn(host: Host, name: str, image: str, changes: list[Changes]) -> tuple[str, Listing]:
    """Start a model in which these changes happen; gives its ID and what there is before anybody reads it."""
    files = {"changes": json.dumps(changes), **program("state_maker"), **program("state_lister")}
    container = host.run_model(name, f"{MAKE}\n{LIST}", files, image)
    return container, Listing(host.read(container, "/script/listing"))


def run(host: Host, image: str) -> Listing:
    """What a container of an image sees when it runs."""
    container = host.run_python("lister", LIST, {"paths": "[]", **program("state_lister")}, image, host_config=NO_NETWORK)
    assert host.api.wait(container)["StatusCode"] == 0, host.api.logs(container)
    found = Listing(host.read(container, "/script/listing"))
    host.api.remove_container(container, force=True)
    return found


def check(source: Listing, copy: Listing, base: Listing) -> None:
    """What the model exported is in the copy as the model has it, and all else is as in the base."""
    for root in source.roots:
        state = source.state(root)
        same(copy.state(root), state)
        kinds = base.others(root)
        assert copy.others(root) == {path: kind for path, kind in source.others(root).items() if kinds.get(path) == kind}
        tally.count("entries of random states compared", "alike", len(state))

    # A FIFO or the like that is exported itself leaves nothing in a bundle, unless the base has something else there.
    moved = [root for root in source.roots if is_state(source.entries[root]) or base.kind(root) not in (None, source.kind(root))]
    above = {path for path in source.entries for root in moved if is_below(root, path)}

    def is_beyond(path: bytes, _: Entry) -> bool:
        return path not in above and not any(is_within(path, root) for root in source.roots)

    same(copy.part(is_beyond), base.part(is_beyond))
    parents = {path: {**entry, "mtime": 0} for path, entry in source.part(lambda path, _: path in above).items()}
    same(copy.part(lambda path, _: path in above), parents)


def same(copy: dict[bytes, Entry], source: dict[bytes, Entry]) -> None:
    """Fail, and say briefly what differs."""
    for path in sorted(copy.keys() | source.keys()):
        got, expected = copy.get(path, {}), source.get(path, {})
        differing = [field for field in got | expected if got.get(field) != expected.get(field)]
        assert not differing, {field: (path, got.get(field), expected.get(field)) for field in differing}


def is_state(entry: Entry) -> bool:
    return entry["kind"] in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def is_below(path: bytes, directory: bytes) -> bool:
    return path.startswith(directory + b"/")


def is_within(path: bytes, top: bytes) -> bool:
    return path == top or is_below(path, top)
