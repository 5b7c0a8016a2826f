"""Getting the state out of the engine: ours beside what else one could do. All read the same container in turn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Case, Results, size_of
from place import CONTAINER, STATE, Place

READ = "docker cp"
COMMIT = "docker commit"
SAVE = "docker save | zstd"
API = "push, api reader"
DIRECT = "push, direct reader"
REGISTRY = "push to a registry"
UPLOAD = "copy to a registry"
BUNDLE = "bench:1"
REMOTE = f"$REGISTRY/bench/{BUNDLE}"
COMMITTED = "committed:1"

COPY = f"docker cp {CONTAINER}:{STATE} -"
COMPRESS = "zstd -q -T0 -3"
CURL = """
put() {
    where=$(curl -sSf -X POST -D - -o /dev/null http://$REGISTRY/v2/bench/blobs/uploads/ | tr -d '\\r' | sed -n 's/^Location: //Ip')
    curl -sSf -o /dev/null -T $1 "$where&digest=sha256:$2"
}
export -f put
"""
"""Puts a file into the registry as the blob of a digest."""
CURL_LAYERS = CURL + "ls $LAYERS | xargs -P 3 -I{} bash -c 'put {} $(basename {})'"
"""The layers of the bundle, three at once, as we send them."""
TO_DISK = f"docker cp {CONTAINER}:{STATE} $OUT/state && tar -c -C $OUT state | {COMPRESS} > $OUT/state.tar.zst"


BARS = frozenset({READ, API, REGISTRY, DIRECT, UPLOAD, COMMIT, SAVE})
"""What the bars compare."""


def measure(place: Place, results: Results, *, bars_alone: bool) -> None:
    """One round of everything. It leaves the bundle in the local store, and the image that was committed on the engine."""
    for case, note in _cases(place):
        if case.name in BARS or not bars_alone:
            results.measure(case, place.environment, note)


def push(place: Place, name: str, reader: str, dest: str, produced: Callable[[], int], container: str = CONTAINER) -> Case:
    """A push of ours with an empty store."""
    return Case(
        name,
        f"fps-bundle push {container} {dest} --reader {reader} --json --quiet",
        before=place.empty_store,
        produced=produced,
        watched=place.store.parent,
    )


def push_to_registry(place: Place) -> Case:
    """A push of ours to an empty registry, with an empty store."""

    def before() -> None:
        place.empty_store()
        place.open_registry()

    command = f"fps-bundle push {CONTAINER} {REMOTE} --reader direct --plain-http --json --quiet"
    return Case(REGISTRY, command, before, place.close_registry, lambda: _registry(place))


def paused(output: bytes) -> dict[str, Any]:
    """What a push of ours tells of itself."""
    told = json.loads(output)
    return {"paused": told["pausedSeconds"], "bundle": told["size"], "state": told["uncompressedSize"], "entries": told["entries"]}


def _cases(place: Place) -> list[tuple[Case, Callable[[bytes], dict[str, Any]] | None]]:
    out = place.out

    def peer(name: str, command: str, produced: str = "", program: str = "", **more: Any) -> tuple[Case, None]:
        absent = f"no {program} here" if program and not shutil.which(program) else ""
        return Case(
            name, command, after=place.empty_out, produced=lambda: _size(out / produced, produced), absent=absent, **more
        ), None

    def after() -> None:
        place.close_registry()
        place.empty_out()

    def to_registry(name: str, command: str, program: str = "") -> tuple[Case, None]:
        absent = f"no {program} here" if program and not shutil.which(program) else ""
        return Case(name, command, place.open_registry, after, lambda: _registry(place), absent=absent), None

    return [
        peer(READ, f"{COPY} > /dev/null"),
        peer("docker cp | zstd", f"{COPY} | {COMPRESS} > $OUT/state.tar.zst", "state.tar.zst"),
        peer(
            "docker cp | sha256sum | zstd | sha256sum",
            f"{COPY} | tee >(sha256sum > $OUT/before) | {COMPRESS} | tee >(sha256sum > $OUT/after) > $OUT/state.tar.zst",
            "state.tar.zst",
        ),
        (push(place, API, "api", BUNDLE, lambda: size_of(place.store)), paused),
        (push_to_registry(place), paused),
        (push(place, DIRECT, "direct", BUNDLE, lambda: size_of(place.store)), paused),
        to_registry(UPLOAD, f"fps-bundle copy {BUNDLE} {REMOTE} --plain-http --json --quiet"),
        _curl(place),
        (Case(COMMIT, f"docker commit {CONTAINER} {COMMITTED}", before=lambda: place.remove_image(COMMITTED)), None),
        peer(SAVE, f"docker save {COMMITTED} | {COMPRESS} > $OUT/image.tar.zst", "image.tar.zst"),
        to_registry(
            "docker push", f"docker tag {COMMITTED} {REMOTE} && docker push --quiet {REMOTE} && docker rmi --no-prune {REMOTE}"
        ),
        to_registry(
            "skopeo copy",
            f"skopeo --insecure-policy copy --quiet --src-daemon-host $DOCKER_HOST --dest-tls-verify=false "
            f"docker-daemon:{COMMITTED} docker://{REMOTE}",
            "skopeo",
        ),
        to_registry(
            "docker cp to disk, tar | zstd, oras push",
            f"{TO_DISK} && cd $OUT && oras push --plain-http {REMOTE} state.tar.zst",
            "oras",
        ),
        to_registry(
            "docker cp to disk, tar | zstd, curl",
            f"{CURL}{TO_DISK} && digest=$(sha256sum $OUT/state.tar.zst) && put $OUT/state.tar.zst ${{digest%% *}}",
        ),
    ]


def _curl(place: Place) -> tuple[Case, None]:
    def before() -> None:
        place.open_registry()
        place.environment["LAYERS"] = " ".join(map(str, place.layers(BUNDLE)))

    return Case("curl to a registry", CURL_LAYERS.strip(), before, place.close_registry, lambda: _registry(place)), None


def _size(path: Path, name: str) -> int:
    return size_of(path) if name else 0


def _registry(place: Place) -> int:
    return size_of(Path(place.environment["REGISTRY_FILES"]))
