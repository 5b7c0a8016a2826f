"""What ``--have`` names: bundles that the other side has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler import transfer
from bundler.cli import namedfiles, parts
from bundler.errors import UsageError, disk_errors
from bundler.format import document, have
from bundler.format.have import Had
from bundler.format.reference import LocalReference, RegistryReference, is_exact, parse


def read(named: Sequence[str], link: parts.Link) -> list[Had]:
    """The bundles that references name, and those of lists that ``fps-bundle list --have`` has printed."""
    return [had for name in named for had in _read(name, link)]


def _read(name: str, link: parts.Link) -> Sequence[Had]:
    if _is_list(name):
        path = namedfiles.check(Path(name))
        with disk_errors(path), path.open("rb") as file:
            return have.read(file.read(document.MAX_SIZE + 1), name)
    with parts.opened(parse(name), link) as store:
        return [transfer.had(store.where, transfer.read_bundle(store).manifest, store)]


def _is_list(name: str) -> bool:
    """Whether a file is named: it is here, or is called as files are. A name with a tag or digest is a bundle."""
    try:
        reference = parse(name)
    except UsageError:
        return True
    if not isinstance(reference, LocalReference | RegistryReference) or is_exact(name, reference):
        return False
    return parts.is_path(Path(name)) or name.endswith(".json")
