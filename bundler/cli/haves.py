"""What ``--have`` names: bundles that the other side has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler import transfer
from bundler.cli import parts
from bundler.errors import disk_errors
from bundler.format import document, have
from bundler.format.have import Had
from bundler.format.reference import parse


def read(named: Sequence[str], link: parts.Link) -> list[Had]:
    """The bundles that references name, and those of lists that ``fps-bundle list --have`` has printed."""
    return [had for name in named for had in _read(name, link)]


def _read(name: str, link: parts.Link) -> Sequence[Had]:
    path = Path(name)
    with disk_errors(path):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(1) == b"{":
                    return have.read(b"{" + file.read(document.MAX_SIZE), name)
    with parts.opened(parse(name), link) as store:
        return [transfer.had(store.where, transfer.read_bundle(store).manifest, store)]
