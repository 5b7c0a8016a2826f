"""Getting the state onto the clean base image: ours beside what else one could do, and the engine's own work as the floor."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import Case, Results
from place import Place
from pushes import BUNDLE, COMMITTED, COMPRESS

from bundler.bundle import read_bundle
from bundler.format import image
from bundler.format.image_archive import NewImage, NewLayer, partial_docker_archive
from bundler.format.reference import parse
from bundler.stores.layout.store import LayoutStore

LOAD = "load of the layers"
VERIFIED = "apply, verified before"
UNVERIFIED = "apply, not verified before"
REMOTE = "apply from a registry"
VERIFY = "verify"
BARS = frozenset({LOAD, VERIFY, VERIFIED, UNVERIFIED, REMOTE})
"""What the bars compare, and a verification alone, after which the bundle counts as verified."""
APPLIED = "applied:1"
LOADED = "loaded:1"
PULLED = "bench/committed:1"


class Applies:
    """The bundle of the last push, in all the forms that are put onto the base."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._files = place.out.parent / "forms"
        self._files.mkdir()
        place.environment |= {"FORMS": str(self._files), "LAYERS": " ".join(map(str, place.layers(BUNDLE)))}
        self._write_partial_archive(self._files / "partial.tar")
        self._sh(f"docker save {COMMITTED} | {COMPRESS} > $FORMS/image.tar.zst")
        place.open_registry()
        self._sh(f"docker tag {COMMITTED} $REGISTRY/{PULLED} && docker push --quiet $REGISTRY/{PULLED}")
        place.bundle("copy", BUNDLE, f"{place.environment['REGISTRY']}/bench/{BUNDLE}", "--plain-http", "--quiet")

    def close(self) -> None:
        """Take all forms away."""
        self._place.close_registry()
        shutil.rmtree(self._files)

    def measure(self, results: Results, *, bars_alone: bool) -> None:
        """One round of everything; nothing that a case makes is there when the next one begins."""
        for case in self._cases():
            if case.name in BARS or not bars_alone:
                results.measure(case, self._place.environment)

    def _cases(self) -> list[Case]:
        place = self._place
        remote = f"$REGISTRY/bench/{BUNDLE}"
        apply = f"fps-bundle apply %s --tag {APPLIED} --json --quiet"
        fresh = place.out / "fresh"
        stranger = "FPS_BUNDLE_STORE=$OUT/fresh XDG_STATE_HOME=$OUT/state"  # where what was verified is noted, too

        def case(name: str, command: str, before: Callable[[], object] = lambda: None) -> Case:
            def prepare() -> None:
                self._remove_images()
                before()

            def clear() -> None:
                self._remove_images()
                place.empty_out()

            return Case(name, command, prepare, clear)

        return [
            case("zstd -d", "zstd -q -d -c $LAYERS > /dev/null"),
            case("zstd -d | tar -x", "for layer in $LAYERS; do zstd -q -d -c $layer | tar -x -C $OUT; done"),
            case(
                LOAD,
                "curl -sSf --unix-socket $SOCKET -X POST -H Expect: -H 'Content-Type: application/x-tar' "
                "-T $FORMS/partial.tar 'http://engine/images/load?quiet=1'",
            ),
            case("zstd -d | docker load", "zstd -q -d -c $FORMS/image.tar.zst | docker load --quiet"),
            case(
                "docker create, docker cp, docker commit",
                "id=$(docker create $BASE) && for layer in $LAYERS; do zstd -q -d -c $layer | docker cp - $id:/ || exit; done && "
                f"docker commit $id {LOADED} && docker rm $id",
            ),
            case("docker pull", f"docker pull --quiet $REGISTRY/{PULLED}"),
            case(VERIFY, f"fps-bundle verify {BUNDLE} --quiet"),
            case(VERIFIED, apply % BUNDLE),
            case(UNVERIFIED, f"{stranger} {apply % BUNDLE}", partial(self._copy_store, fresh)),
            case(REMOTE, f"{stranger} {apply % remote} --plain-http"),
        ]

    def _copy_store(self, target: Path) -> None:
        """The same bundles in a store of which this program knows nothing yet."""
        for name in ("oci-layout", "index.json", "blobs"):
            self._sh(f"mkdir -p -m 700 {target} && cp -r $FPS_BUNDLE_STORE/{name} {target}/{name}")

    def _remove_images(self) -> None:
        for name in (APPLIED, f"{APPLIED}-previous", LOADED, COMMITTED, f"{self._place.environment['REGISTRY']}/{PULLED}"):
            self._place.remove_image(name)

    def _write_partial_archive(self, path: Path) -> None:
        """What `apply` sends to this engine, as a file whose length is known before."""
        store = LayoutStore(self._place.store, str(parse(BUNDLE)))
        bundle = read_bundle(store)
        layers = tuple(
            NewLayer(descriptor, described, partial(store.open, descriptor))
            for descriptor, described in zip(bundle.manifest.layers, bundle.metadata.layers, strict=True)
        )
        config = image.build_config(bundle.metadata, bundle.digest, None, image.NO_MARKS)
        with path.open("wb") as file:
            file.writelines(partial_docker_archive(NewImage(config, bundle.metadata.base.diff_ids, layers), LOADED))

    def _sh(self, command: str) -> None:
        subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], env=self._place.environment, check=True, stdout=subprocess.DEVNULL
        )
