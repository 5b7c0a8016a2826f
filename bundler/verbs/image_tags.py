"""Names of new images: which may be given, and what becomes of the image that had one."""

from __future__ import annotations

from bundler.errors import NotFoundError, UsageError
from bundler.format import image, reference
from bundler.ports import Engine, Image


def check(wanted: str, engine: Engine, *, force: bool) -> str:
    """The name as it will be; raises `UsageError` for one that is no tag, or names an image that we did not make."""
    parsed = reference.parse(wanted)
    if not isinstance(parsed, reference.LocalReference | reference.RegistryReference) or parsed.digest:
        raise UsageError(f"{wanted!r} is no name for an image", hint="Write NAME:TAG.")
    tag = str(parsed)
    try:
        holder = engine.image(tag)
    except NotFoundError:
        return tag
    if not image.is_ours(holder.labels) and not force:
        raise UsageError(
            f"{tag} names an image that fps-bundle did not make",
            hint="Choose another --tag, or take the name away from it with --force.",
        )
    return tag


def give(engine: Engine, new: Image, tag: str) -> str:
    """Give a new image its name; what had it stays reachable under the name that is returned."""
    kept = ""
    try:
        holder = engine.image(tag)
        if holder.id != new.id:
            kept = _previous(tag)
            engine.tag(holder, kept)
    except NotFoundError:
        pass  # the name is free
    engine.tag(new, tag)
    return kept


def undo(tag: str, engine: Engine) -> Image:
    """Swap a tag with the image that it named before; gives the image that it names now.

    Raises `NotFoundError` when there is none.
    """
    current, previous = engine.image(tag), engine.image(_previous(tag))
    engine.tag(previous, tag)
    engine.tag(current, _previous(tag))
    return previous


def repository(tag: str) -> str:
    """What a tag is a tag of, in the short form of Docker, which Podman writes as ``localhost/``."""
    parsed = reference.parse(tag)
    if isinstance(parsed, reference.LocalReference):
        return parsed.name
    assert isinstance(parsed, reference.RegistryReference)
    if parsed.registry in ("docker.io", "localhost"):
        return parsed.repository.removeprefix("library/")
    return f"{parsed.registry}/{parsed.repository}"


def _previous(tag: str) -> str:
    return f"{tag}-previous"
