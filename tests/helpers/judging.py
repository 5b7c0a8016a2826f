"""Layers of entries, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundles import metadata

from bundler.format import metadata as meta
from bundler.format import paths
from bundler.format.content import Digest
from bundler.format.faults import FaultCode
from bundler.format.layer_rules import LayerChecker
from bundler.format.metadata import Metadata
from bundler.format.tar import Entry, Kind

Layers = Sequence[Sequence[Entry]]


def described(layers: Layers, exports: Sequence[str] = ("/s",), **changes: Any) -> Metadata:
    """Metadata that speaks the truth of entries, but for the ``changes``."""
    tops = [top for top in exports if not any(top != other and paths.is_within(top, other) for other in exports)]
    truth = {"exports": tuple(_export(layers, top) for top in exports)}
    return metadata(list(_layers(layers, tops)), **{**truth, **changes})


def judge(layers: Layers, of: Metadata | None = None, **changes: Any) -> FaultCode | None:
    """Return the code of the first rule that layers break."""
    checker = LayerChecker(of or described(layers, **changes))
    for number, entries in enumerate(layers):
        checker.begin_layer(number)
        for entry in entries:
            if fault := checker.check(entry):
                return fault.code
        if fault := checker.end_layer():
            return fault.code
    fault = checker.finish()
    return fault.code if fault else None


def _layers(layers: Layers, tops: Sequence[str]) -> tuple[meta.Layer, ...]:
    found = []
    for number, entries in enumerate(layers):
        counted = [entry for entry in entries if entry.kind is not Kind.DIRECTORY or number == len(layers) - 1]
        held = dict.fromkeys(top for entry in counted for top in tops if paths.is_within(entry.path, top) and not _deletes(entry))
        found.append(
            meta.Layer(
                diff_id=Digest.of(b"%d" % number), size=1 << 20, entries=len(entries), exports=tuple(map(paths.encode, held))
            )
        )
    return tuple(found)


def _export(layers: Layers, top: str) -> meta.Export:
    inside = [
        entry
        for number, entries in enumerate(layers)
        for entry in entries
        if paths.is_within(entry.path, top)
        and not _deletes(entry)
        and (entry.kind is not Kind.DIRECTORY or number == len(layers) - 1)
    ]
    kind = next((entry.kind.name.lower() for entry in inside if entry.path == top), "directory")
    size = sum(entry.size for entry in inside)
    text = paths.encode(top)
    return meta.Export(path=text, resolved=text, kind=kind, entries=len(inside), size=size, volume=False)


def _deletes(entry: Entry) -> bool:
    return entry.path.rpartition("/")[2].startswith(".wh.")
