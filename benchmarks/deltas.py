"""Measures deltas: a state learns a little, and only the difference is sent; then other kinds of change, each on its own.

Making a delta and rebuilding from it are compared with packing the whole state, as a push does it, and with other tools. 1 % of
the weights' pages of 4 KiB are replaced, and 2 MB of logs are appended. ``make bench`` calls `measure`;
``python benchmarks/deltas.py DIR`` prints the same below a directory of your choice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import delta_cases
import delta_peers
import numpy as np
import state
from measuring import Case, Results

from bundler.concurrency.pipeline import Pipeline
from bundler.engines.direct_reader import DirectReader
from bundler.format import artifact, image, units
from bundler.format import metadata as meta
from bundler.format.pack import Packer
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool

EXPORT = f"/{state.DIRECTORY}"
PAGE = 4096
PACK, MAKE, REBUILD = "packing the state", "making the delta", "rebuilding and storing"
MOST = 21e6
"""Bytes that the delta of the whole state may take."""
ROOM = 9
"""How often the state lies on the disk while it is measured."""

_BUNDLER = f"{sys.executable} -m bundler copy --quiet"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the state and the stores are, for the length of the run")
    parser.add_argument("--size", default="2.44GB", help="bytes of the state, such as 250MB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="leave out the other tools and the kinds of change")
    parser.add_argument("--pack", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pack:
        _pack(arguments.directory, arguments.pack)
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        found = measure(
            Path(directory),
            units.size(arguments.size),
            arguments.runs,
            lambda text: print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True),
            bars_alone=arguments.ours,
        )
    tables = {"whole state": found["results"], **{kind: it["results"] for kind, it in found["kinds"].items()}}
    for kind, results in tables.items():
        for name, it in results.items():
            for run in it["runs"]:
                seconds = f"{run['seconds']:.2f} s, {run['cpu']:.2f} CPU s"
                print(f"{kind}, {name}: {run['produced']} bytes, {seconds}, {run['peak'] >> 20} MiB")
    return 0


def measure(directory: Path, size: int, runs: int, tell: Callable[[str], object], *, bars_alone: bool = False) -> dict[str, Any]:
    """Measure the whole state, and all kinds of change, in a directory; return what `report.py` shows."""
    part, results = size / state.WHOLE, Results(tell)
    tell("deltas: making two states")
    states = _States(directory / "state")
    _extract(states.old.parents[1], size)
    shutil.copytree(states.old.parents[1], states.new.parents[1], symlinks=True)
    _learn(states.new)
    states.pack("old", "old:1")
    for number in range(runs):
        tell(f"deltas, round {number + 1} of {runs}")
        states.measure(results)
        for case, note in delta_peers.cases(states.out, states.run, () if bars_alone else delta_peers.NAMES):
            results.measure(case, states.environment, note)
    shutil.rmtree(states.directory)
    kinds = {} if bars_alone else {kind.name: _kind(kind, directory, tell) for kind in delta_cases.kinds(part)}
    return {"part": part, "results": results.found, "kinds": kinds}


def _kind(kind: delta_cases.Kind, directory: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    """Measure one kind of change, once, as only the bytes matter."""
    found: dict[str, Any] = {"most": kind.most, "times_zstd": kind.times_zstd, "results": {}}
    if kind.absent:
        return {**found, "absent": kind.absent}
    tell(f"deltas: {kind.name}")
    states, results = _States(directory / "kind"), Results(lambda _: None)
    delta_cases.change_of(kind, states.old, states.new)
    states.pack("old", "old:1")
    states.pack("new", "new:1")
    results.measure(states.making(), states.environment)
    for case, note in delta_peers.cases(states.out, states.run, (delta_peers.ZSTD, delta_peers.XDELTA)):
        results.measure(case, states.environment, note)
    shutil.rmtree(states.directory)
    return {**found, "results": results.found}


class _States:
    """An old state and a new one in a directory, and the stores of two hosts, of which one has only the old one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.old, self.new = (directory / name / state.DIRECTORY for name in ("old", "new"))
        self.out = directory / "out"
        self._delta = directory / "delta.tar"
        self._changed = directory / "changed"
        stores = {"FPS_BUNDLE_STORE": str(directory / "here"), "XDG_STATE_HOME": str(directory / "here-state")}
        trees = {"OLD": str(self.old), "NEW": str(self.new), "OUT": str(self.out), "CHANGED": str(self._changed)}
        self._borg = {"BORG_BASE_DIR": str(directory / "borg"), **delta_peers.BORG_ENVIRONMENT}
        self._there = {"FPS_BUNDLE_STORE": str(directory / "there"), "XDG_STATE_HOME": str(directory / "there-state")}
        self._path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._here = {**os.environ, **self._path, **stores, **trees, **self._borg}
        directory.mkdir()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the commands; the list of changed files is made when it is first asked for."""
        if not self._changed.exists():
            self._changed.write_text("".join(f"{name}\n" for name in delta_peers.changed_files(self.old, self.new)))
        return self._here

    def run(self, command: str) -> None:
        subprocess.run(["bash", "-c", command], env=self._here, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def pack(self, tree: str, name: str) -> None:
        self.run(self._packing(tree, name))

    def measure(self, results: Results) -> None:
        """One round of ours: packing, making and rebuilding by turns."""
        results.measure(Case(PACK, self._packing("new", "new:1")), self.environment)
        results.measure(self.making(), self.environment)
        there = " ".join(f"{key}={value}" for key, value in self._there.items())
        rebuilding = Case(
            REBUILD,
            f"{there} {_BUNDLER} {self._delta} new:1",
            before=lambda: self._give_source(there),
            after=lambda: shutil.rmtree(self.directory / "there"),
        )
        results.measure(rebuilding, self.environment)

    def making(self) -> Case:
        command = f"{_BUNDLER} new:1 {self._delta} --delta-from old:1"
        return Case(MAKE, command, before=lambda: self._delta.unlink(missing_ok=True), produced=lambda: self._delta.stat().st_size)

    def _packing(self, tree: str, name: str) -> str:
        return f"{sys.executable} {__file__} {self.directory / tree} --pack {name}"

    def _give_source(self, there: str) -> None:
        """Copy the old bundle to the other host."""
        carried = f"oci:{self.directory}/carried:1"
        self.run(f"{_BUNDLER} old:1 {carried} && {there} {_BUNDLER} {carried} old:1")
        shutil.rmtree(self.directory / "carried")


def _extract(root: Path, size: int) -> None:
    writing = subprocess.Popen([sys.executable, state.__file__, "--size", str(size)], stdout=subprocess.PIPE)
    assert writing.stdout
    with tarfile.open(fileobj=writing.stdout, mode="r|") as archive:
        archive.extractall(root, filter="data")
    writing.wait()


def _learn(path: Path) -> None:
    """Replace 1 % of the pages of each file of weights by other weights, and append to the logs."""
    chosen, made = np.random.default_rng(2), state.State(2)
    for weights in sorted((path / "weights").iterdir()):
        pages = weights.stat().st_size // PAGE
        with weights.open("r+b") as file:
            for page in sorted(chosen.choice(pages, pages // 100, replace=False).tolist()):
                file.seek(page * PAGE)
                file.write(b"".join(made.weights(PAGE)))
    logs = sorted((path / "logs").iterdir())
    appended = sum(log.stat().st_size for log in logs) // 100
    for log in logs:
        with log.open("ab") as file:
            file.writelines(made.log(appended // len(logs)))


def _pack(root: Path, name: str) -> None:
    """Pack the state as a push does, without an engine and a model."""
    spool = LocalSpool()
    with Pipeline() as pipeline:
        packer = Packer(spool.new_blob, [EXPORT], 0, pipeline)
        for entry, content in DirectReader(os.open(root, os.O_RDONLY | os.O_DIRECTORY)).entries([EXPORT]):
            if len(entry.path) < len(EXPORT):
                packer.add_parent(entry)
            else:
                packer.add(entry, content)
        descriptors, layers = packer.finish()
    count = packer.counts[EXPORT]
    base = meta.Base(
        names=("base:1",),
        repo_digests=(),
        image_id="",
        platform=meta.Platform(os="linux", architecture="amd64"),
        diff_ids=(),
        chain_id=image.chain_id(()),
        config={},
    )
    described = meta.Metadata(
        created=meta.now(),
        tool=meta.Tool(name="fps-bundle", version="0"),
        source=meta.Source(engine="none", container_name="none", container_id="none"),
        model=meta.Model(title="Measured", version=name),
        base=base,
        image={},
        exports=(meta.Export(path=EXPORT, resolved=EXPORT, kind=count.kind, entries=count.entries, size=count.size, volume=False),),
        layers=tuple(layers),
        parents=tuple(meta.Parent(path=path, mode=it.mode, uid=it.uid, gid=it.gid) for path, it in sorted(packer.parents.items())),
    )
    blob = spool.new_blob()
    blob.write(described.to_bytes())
    config = blob.finish(artifact.CONFIG)
    repository, _, tag = name.partition(":")
    spool.add(LocalReference(repository, tag), artifact.build(described, config, descriptors))


if __name__ == "__main__":
    sys.exit(main())
