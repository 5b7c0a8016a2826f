"""Check that the metadata is consistent before any layer is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from bundler.errors import IntegrityError
from bundler.format import artifact, image, image_config, paths, units
from bundler.format.artifact import Manifest
from bundler.format.metadata import Metadata
from bundler.format.toc import Table

_MAX_SIZE = 2**63


def check(manifest: Manifest, metadata: Metadata, where: str) -> None:
    """Raise `IntegrityError` for the first two fields of a bundle that contradict each other."""
    try:
        fault = next(_faults(manifest, metadata), "")
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {error.message}") from error
    if fault:
        raise IntegrityError(f"{where}: {fault}")


def _faults(manifest: Manifest, metadata: Metadata) -> Iterator[str]:
    if len(metadata.layers) != len(manifest.layers):
        yield f"the metadata describes {units.counted(len(metadata.layers), 'layer')}, the manifest {len(manifest.layers)}"
    for layer in manifest.layers:
        Table.of(layer)
    expected = artifact.manifest_annotations(metadata)
    if {key: manifest.annotations.get(key) for key in expected} != expected:
        yield "the manifest's annotations say something else than the metadata"
    if metadata.base.chain_id != image.chain_id(metadata.base.diff_ids):
        yield "the chain ID in the metadata is not that of the base's layers"
    if metadata.size >= _MAX_SIZE:
        yield "the layers would have more bytes than can be counted"
    if any(image.is_ours(config.get("Labels", {})) for config in (metadata.base.config, metadata.image)):
        yield f"the metadata sets labels {image.LABEL_PREFIX}*, which only an applied image has"
    for config in (metadata.image, metadata.base.config):
        if found := image_config.fault(config):
            yield f"no engine takes the settings in the metadata: {found}"
    if strange := [time for time in (metadata.created, *(it.created for it in metadata.lineage)) if not _is_time(time)]:
        yield f"{strange[0]!r} in the metadata is no time"
    yield from _path_faults(metadata)


def _path_faults(metadata: Metadata) -> Iterator[str]:
    exports = [export.resolved for export in metadata.exports]
    given = [export.path for export in metadata.exports]
    layers = [path for layer in metadata.layers for path in layer.exports]
    parents = [parent.path for parent in metadata.parents]
    for text in (*given, *exports, *layers, *parents, *metadata.removed, *metadata.privileged):
        path = paths.decode(text)
        if found := paths.fault(path):
            yield f"the path {text[:200]!r} in the metadata {found}"
    tops = paths.merge(map(paths.decode, exports))
    if not _are_ancestors([paths.decode(path) for path in parents], tops):
        yield "the parents in the metadata are not the directories above the exports"
    inside = _Inside(tops)
    for text in (*metadata.removed, *metadata.privileged):
        if not inside.holds(paths.decode(text)):
            yield f"the path {text[:200]!r} in the metadata lies outside of the exports"
    if not _is_walk(metadata.removed):
        yield "the removed paths in the metadata are not the topmost ones, in their order"
    if metadata.removed and not metadata.layers:
        yield "the metadata has removed paths, and no layer that could remove them"


class _Inside:
    """Look up which paths lie in exports, without comparing all pairs."""

    def __init__(self, tops: Sequence[str]) -> None:
        self.tops = frozenset(tops)

    def holds(self, path: str) -> bool:
        return path in self.tops or any(above in self.tops for above in paths.ancestors(path))


def _are_ancestors(parents: Sequence[str], tops: Sequence[str]) -> bool:
    """Whether these are exactly the directories above some paths, each once."""
    left, known = set(parents), set(parents)
    for top in tops:
        for above in paths.ancestors(top):
            if above not in known:
                return False
            left.discard(above)
    return not left and len(known) == len(parents)


def _is_walk(texts: Sequence[str]) -> bool:
    """Whether paths come in walking order, none of them twice or inside of another."""
    walked = list(map(paths.decode, texts))
    return all(paths.sort_key(one) < paths.sort_key(other) and not paths.is_within(other, one) for one, other in pairwise(walked))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
