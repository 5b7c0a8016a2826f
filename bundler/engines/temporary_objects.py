"""What we make on an engine and take away again, also when we are killed: then the next command does it."""

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
"""Repository under which an image stands between being made and being verified."""

CONTAINERS = "fps-bundle"
"""How the names of temporary containers begin."""

PATIENCE = 24 * 3600
"""Seconds for which a thing that is not there may still appear, from a request that was under way when we died."""


Remove = Callable[[str], bool]
"""Removes a thing by its name; False when there was none."""


@contextmanager
def noted(state: Path, url: str, kind: str) -> Iterator[tuple[str, Note]]:
    """A name for a ``container`` or an ``image`` of the engine at ``url``; the note is to be settled when it is gone."""
    unique = uuid.uuid4().hex
    name = f"{IMAGES}:{unique}" if kind == "image" else f"{CONTAINERS}-{unique[:12]}"
    with journal.noted(_directory(state), f"{kind}-{unique}", {"host": url, "kind": kind, "name": name}) as note:
        yield name, note


def sweep(state: Path, url: str, removers: Mapping[str, Remove]) -> list[str]:
    """Remove what dead processes of ours left on the engine at ``url``; gives the names.

    ``removers`` are by kind. What cannot be removed now is left for the next time.
    """
    swept = []
    for left in journal.abandoned(_directory(state)):  # by name: containers come before the images that they are of
        if left.content.get("host") != url:
            continue
        with contextlib.suppress(EngineError, FileNotFoundError):
            found = removers[left.content["kind"]](left.content["name"])
            if found:
                swept.append(left.content["name"])
            if found or time.time() - left.path.stat().st_mtime > PATIENCE:
                left.path.unlink()
    return swept


def _directory(state: Path) -> Path:
    return state / "temporary"
