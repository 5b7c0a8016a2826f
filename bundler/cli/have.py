"""Read the values of ``--have``: bundles that the destination host has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.api.stores import StoreOptions
from bundler.bundle import read_bundle
from bundler.cli import named_files, wiring
from bundler.errors import UsageError, disk_errors
from bundler.format import strict_json, thin_list
from bundler.format.reference import LocalReference, RegistryReference, is_exact, parse
from bundler.format.thin_list import Had
from bundler.verbs.have import had


def read(named: Sequence[str], store_options: StoreOptions) -> list[Had]:
    """Return the bundles of references, and of lists that ``fps-bundle list --have`` printed."""
    return [had for name in named for had in _read(name, store_options)]


def _read(name: str, store_options: StoreOptions) -> Sequence[Had]:
    if is_list(name):
        return read_list(Path(name))
    with wiring.opened(parse(name), store_options) as store:
        return [had(store.where, read_bundle(store).manifest, store)]


def read_list(path: Path) -> list[Had]:
    """Return the bundles of a list that ``fps-bundle list --have`` printed."""
    named_files.check(path)
    with disk_errors(path), path.open("rb") as file:
        return thin_list.read(file.read(strict_json.MAX_SIZE + 1), str(path))


def is_list(name: str) -> bool:
    """Whether the name is a file: it exists, or ends in ``.json``. A name with a tag or digest is a bundle."""
    try:
        reference = parse(name)
    except UsageError:
        return True
    if not isinstance(reference, LocalReference | RegistryReference) or is_exact(name, reference):
        return False
    return wiring.is_path(Path(name)) or name.endswith(".json")
