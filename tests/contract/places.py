"""What a place for bundles is to the contract suite."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundler.format.content import Digest
from bundler.format.reference import RegistryReference
from bundler.ports import Store
from bundler.stores.registry.store import RegistryStore

_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """One place for bundles: ``open`` it for a name, find its ``files``; ``skips`` when it can tell what it has."""

    kind: str
    open: Callable[..., Store]
    files: Callable[[], list[Path]]
    skips: bool


def files_below(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path] if path.exists() else []


def registry_place(address: str, storage: Path) -> Place:
    repository = f"tests/{next(_numbers)}"

    def open_store(name: str = "1", digest: Digest | None = None) -> Store:
        return RegistryStore(RegistryReference(address, repository, name, digest))

    return Place("registry", open_store, lambda: files_below(storage), True)
