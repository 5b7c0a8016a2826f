"""Tags of new images: which are allowed, how they move from one image to another, and how a move is undone."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bundler.errors import NotFoundError, UsageError
from bundler.format import image, reference
from bundler.format.content import Digest
from bundler.localfs import state_directory
from bundler.ports import Engine, Image

_MAX_LOCK_NAME = 200
"""Most bytes of a tag that the name of its lock file contains; file systems limit a name to 255."""


def check(wanted: str, engine: Engine, *, force: bool) -> str:
    """Return the complete tag; raises `UsageError` for one that is invalid, or names an image that fps-bundle did not make."""
    parsed = reference.parse(wanted)
    if not isinstance(parsed, reference.LocalReference | reference.RegistryReference) or parsed.digest:
        raise UsageError(f"{wanted!r} is not a name for an image", hint="Write NAME:TAG.")
    tag = str(parsed)
    try:
        holder = engine.image(tag)
    except NotFoundError:
        return tag
    if not image.is_ours(holder.labels) and not force:
        raise UsageError(
            f"{tag} names an image that fps-bundle did not make",
            hint="Choose another --tag, or move this one with --force.",
        )
    return tag


def give(engine: Engine, new: Image, tag: str) -> str:
    """Tag a new image; return the name under which the image that had the tag is kept, or an empty text."""
    kept = ""
    try:
        holder = engine.image(tag)
        if holder.id != new.id:
            kept = _previous(tag)
            engine.tag(holder, kept)
    except NotFoundError:
        pass  # the tag is free
    engine.tag(new, tag)
    return kept


def undo(tag: str, engine: Engine) -> Image:
    """Roll a tag back to its previous image, which is returned; the two images swap names, so a second undo reverts this one.

    Raises `NotFoundError` when there is no previous image, and `BusyError` while another process works on the tag.
    """
    with locked(tag):
        current, previous = engine.image(tag), engine.image(_previous(tag))
        engine.tag(previous, tag)
        engine.tag(current, _previous(tag))
    return previous


def locked(tag: str, wait: float = 0) -> AbstractContextManager[None]:
    """Hold the lock of a tag on this host; raises `BusyError` when another process holds it longer than ``wait`` seconds."""
    name = tag.replace("/", "_")
    return state_directory.hold("image", name if len(name) <= _MAX_LOCK_NAME else Digest.of(tag.encode()).hex, wait)


def repository(tag: str) -> str:
    """Return the repository of a tag in Docker's short form, without the ``localhost/`` that Podman adds."""
    parsed = reference.parse(tag)
    if isinstance(parsed, reference.LocalReference):
        return parsed.name
    assert isinstance(parsed, reference.RegistryReference)
    if parsed.registry in ("docker.io", "localhost"):
        return parsed.repository.removeprefix("library/")
    return f"{parsed.registry}/{parsed.repository}"


def _previous(tag: str) -> str:
    return f"{tag}-previous"
