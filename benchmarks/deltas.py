"""Measures deltas: ``python benchmarks/deltas.py DIR`` makes a state in DIR, lets it learn a little, and sends the difference.

Making a delta and rebuilding from it are compared with packing the whole state, as a push does it. 1 % of the weights' pages of
4 KiB are replaced, and 2 MB of logs are appended. Each figure is the median of ``--runs``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import measuring
import numpy as np
import state

from bundler.concurrency.pipeline import Pipeline
from bundler.engines.direct_reader import DirectReader
from bundler.format import artifact, image, units
from bundler.format import metadata as meta
from bundler.format.pack import Packer
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool

EXPORT = f"/{state.DIRECTORY}"
PAGE = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the state and the stores are, for the length of the run")
    parser.add_argument("--size", default="2.44GB", help="bytes of the state, such as 250MB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pack", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pack:
        _pack(arguments.directory, arguments.pack)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for line in _measure(Path(directory), units.size(arguments.size), arguments.runs):
            sys.stdout.write(f"{line}\n")
    return 0


def _measure(directory: Path, size: int, runs: int) -> Iterator[str]:
    root, delta = directory / "root", directory / "delta.tar"
    _extract(root, size)
    here = {**os.environ, "FPS_BUNDLE_STORE": str(directory / "here"), "XDG_STATE_HOME": str(directory / "state")}
    pack = [sys.executable, __file__, str(root), "--pack"]
    subprocess.run([*pack, "old:1"], env=here, check=True)
    _learn(root)
    packed, made, rebuilt = [], [], []
    for number in range(runs):
        packed.append(measuring.run([*pack, f"new:{number}"], here))
        command = [sys.executable, "-m", "bundler", "copy"]
        made.append(measuring.run([*command, f"new:{number}", str(delta), "--delta-from", "old:1", "--quiet"], here))
        there = {**here, "FPS_BUNDLE_STORE": str(directory / "there"), "XDG_STATE_HOME": str(directory / "there-state")}
        shutil.rmtree(directory / "there", ignore_errors=True)
        subprocess.run(
            [*command, "old:1", f"oci:{directory}/carried:1", "--quiet"], env=here, check=True, stdout=subprocess.DEVNULL
        )
        subprocess.run(
            [*command, f"oci:{directory}/carried:1", "old:1", "--quiet"], env=there, check=True, stdout=subprocess.DEVNULL
        )
        rebuilt.append(measuring.run([*command, str(delta), "new:1", "--quiet"], there))
    yield f"delta: {units.shown(delta.stat().st_size)}"
    whole = statistics.median(run.seconds for run in packed)
    for name, taken in (("packing the state", packed), ("making the delta", made), ("rebuilding and storing", rebuilt)):
        seconds = statistics.median(run.seconds for run in taken)
        peak = max(run.peak for run in taken) / (1 << 20)
        cpu = statistics.median(run.cpu for run in taken)
        yield f"{name}: {seconds:.2f} s ({seconds / whole:.2f} of packing), {cpu:.2f} CPU s, peak {peak:.0f} MiB"


def _extract(root: Path, size: int) -> None:
    writing = subprocess.Popen([sys.executable, state.__file__, "--size", str(size)], stdout=subprocess.PIPE)
    assert writing.stdout
    with tarfile.open(fileobj=writing.stdout, mode="r|") as archive:
        archive.extractall(root, filter="data")
    writing.wait()


def _learn(root: Path) -> None:
    """Replace 1 % of the pages of each file of weights by other weights, and append to the logs."""
    chosen, made = np.random.default_rng(2), state.State(2)
    for path in sorted((root / state.DIRECTORY / "weights").iterdir()):
        pages = path.stat().st_size // PAGE
        with path.open("r+b") as file:
            for page in sorted(chosen.choice(pages, pages // 100, replace=False).tolist()):
                file.seek(page * PAGE)
                file.write(b"".join(made.weights(PAGE)))
    logs = sorted((root / state.DIRECTORY / "logs").iterdir())
    for path in logs:
        with path.open("ab") as file:
            file.writelines(made.log(2_000_000 // len(logs)))


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
