"""What a place for bundles is to the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundler.ports import Store


@dataclass(frozen=True)
class Place:
    """One place for bundles: ``open`` it for a name, find its ``files``; ``skips`` when it can tell what it has."""

    kind: str
    open: Callable[..., Store]
    files: Callable[[], list[Path]]
    skips: bool


def files_below(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()] if path.is_dir() else [path] if path.exists() else []
