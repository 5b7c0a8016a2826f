"""Names of temporary containers and images, and their removal by the next command if this process is killed."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bundler.engines import journal
from bundler.engines.journal import Note
from bundler.errors import EngineError

IMAGES = "fps-bundle-loading"
"""Repository of an image that was made and is not verified yet."""

CONTAINERS = "fps-bundle"
"""Prefix of the names of temporary containers."""

PATIENCE = 24 * 3600
"""Seconds for which a missing object may still appear, from a request that was in progress when its process died."""


Remove = Callable[[str], bool]
"""Removes an object by its name; False if it does not exist."""


@contextmanager
def noted(state: Path, url: str, kind: str) -> Iterator[tuple[str, Note]]:
    """Give a new name for a ``container`` or an ``image`` of the engine at ``url``; settle the note when the object is removed."""
    unique = uuid.uuid4().hex
    name = f"{IMAGES}:{unique}" if kind == "image" else f"{CONTAINERS}-{unique[:12]}"
    with journal.noted(_directory(state), f"{kind}-{unique}", {"host": url, "kind": kind, "name": name}) as note:
        yield name, note


def sweep(state: Path, url: str, removers: Mapping[str, Remove]) -> list[str]:
    """Remove what dead processes of ours left on the engine at ``url``; returns the names.

    ``removers`` are by kind. An object that cannot be removed now is left for the next command.
    """
    removed = []
    for left in journal.abandoned(_directory(state)):  # by name, so containers before their images
        if left.content.get("host") != url:
            continue
        with contextlib.suppress(EngineError, FileNotFoundError):
            existed = removers[left.content["kind"]](left.content["name"])
            if existed:
                removed.append(left.content["name"])
            if existed or time.time() - left.path.stat().st_mtime > PATIENCE:
                left.path.unlink()
    return removed


def _directory(state: Path) -> Path:
    return state / "temporary"
