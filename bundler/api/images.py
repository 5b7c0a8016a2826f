"""Write the image of a bundle into a registry, layout or archive, with the adapters of this host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.api import stores
from bundler.api.stores import StoreOptions
from bundler.errors import StoreError, UsageError
from bundler.format import reference
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference, Reference, RegistryReference
from bundler.streams import NULL_PROGRESS, Progress

if TYPE_CHECKING:
    from bundler.bundle import Bundle
    from bundler.format.metadata import Base, Platform
    from bundler.ports import Engine, ImageStore, Spool, Store
    from bundler.trust.admission import Admission
    from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult
    from bundler.verbs.base_source import Candidate, FoundBase

ImageReference = RegistryReference | LayoutReference | ArchiveReference
"""Where an ordinary image can be."""

ENGINE = "engine:"
"""What precedes the name of an engine's image."""

_MAX_TAG = 128
_FORMS = "Write REGISTRY/REPOSITORY:TAG, oci:DIR:TAG or oci-archive:FILE:TAG."


def apply_to(
    source: Store,
    destination: str,
    *,
    admission: Admission,
    options: ApplyToOptions | None = None,
    base: str | None = None,
    engine: Engine | None = None,
    store_options: StoreOptions | None = None,
    progress: Progress = NULL_PROGRESS,
) -> ApplyToResult:
    """Write a new image of the bundle of ``source`` and its base to a registry, layout or archive, without an engine.

    ``base`` names the base where it is not to be searched: a reference, or ``engine:NAME`` for an image of ``engine``. Raises
    `TrustError` for an untrusted or older bundle, `BaseMismatchError`, and `BusyError` when the destination changes meanwhile.
    """
    from bundler.bundle import read_bundle
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import apply_to as verb

    options, store_options = options or verb.ApplyToOptions(), store_options or StoreOptions(progress=progress)
    target = parse_destination(destination)
    check_options(target, base, options)
    named = parse_base(base) if base is not None else None
    if engine:
        stores.look_for_sources_on(engine, source)
    bundle = read_bundle(source)
    target = _with_tag(target, bundle)
    spool = LocalSpool()
    find = partial(_find, named, target, engine, spool, store_options, progress, options)
    where = verb.Destination(open_images(target, store_options), repository(target))
    if options.keep_previous:
        kept = replace(target, tag=_previous(target))
        where = replace(where, previous=kept.tag, previous_store=open_images(kept, store_options))
    return verb.apply_to(
        bundle, stores.containing_store(source), where, find, spool, progress, admission=admission, options=options
    )


def parse_destination(text: str) -> ImageReference:
    """Read the destination of an image; raises `UsageError` for a form that no image can be written to."""
    parsed = reference.parse(text)
    if isinstance(parsed, LocalReference):
        raise UsageError(f"{text!r} is in no registry, and the local store keeps bundles, not images", hint=_FORMS)
    if isinstance(parsed, ArchiveReference) and parsed.is_pipe:
        raise UsageError("an image cannot be written to a pipe", hint=_FORMS)
    if parsed.digest:
        raise UsageError(f"{text!r} names a digest, which a new image does not have yet", hint=_FORMS)
    return parsed


def parse_base(text: str) -> ImageReference | str:
    """Read the name of a base: a reference, or the name of an engine's image after ``engine:``."""
    if text.startswith(ENGINE):
        if name := text.removeprefix(ENGINE):
            return name
        raise UsageError("the name of the engine's image is missing", hint="Write engine:NAME:TAG.")
    parsed = reference.parse(text)
    if isinstance(parsed, LocalReference) or (isinstance(parsed, ArchiveReference) and parsed.is_pipe):
        raise UsageError(
            f"{text!r} names no image",
            hint=f"For an image of the engine write {ENGINE}{text}, else REGISTRY/REPOSITORY:TAG, oci:DIR or oci-archive:FILE.",
        )
    return parsed


def check_options(target: ImageReference, base: str | None, options: ApplyToOptions) -> None:
    """Raise `UsageError` for options that have no meaning together."""
    if options.state_only and (base is not None or options.same_version):
        raise UsageError("an image of the state alone has no base", hint="Omit --base and --base-match.")
    if options.ignore_removed and not options.state_only:
        raise UsageError("--ignore-removed needs --state-only", hint="Omit it: the whole image deletes what the model deleted.")
    if options.keep_previous and isinstance(target, ArchiveReference):
        raise UsageError("an archive holds one image, so --tag-previous cannot keep another one", hint="Name another file.")
    if options.keep_previous and len(_previous(target)) > _MAX_TAG:
        raise UsageError(f"the tag {_previous(target)} would be longer than {_MAX_TAG} characters", hint="Choose a shorter tag.")


def open_images(where: ImageReference, options: StoreOptions) -> ImageStore:
    """Open a place for ordinary images."""
    if isinstance(where, RegistryReference):
        from bundler.stores.registry.images import RegistryImages

        return RegistryImages(where, verify_written=bool(options.verify_written), **stores.registry_options(options))
    written: dict[str, Any] = {"verify_written": options.verify_files, "progress": options.progress}
    if isinstance(where, LayoutReference):
        from bundler.stores.layout.images import LayoutImages

        return LayoutImages(Path(where.path), where.tag, where.digest, **written)
    from bundler.stores.archive.images import ArchiveImages

    return ArchiveImages(Path(where.path), where.tag, where.digest, **written)


def repository(target: ImageReference) -> str:
    """Return the place for which downgrades are refused: the repository as written, or the absolute path."""
    if isinstance(target, RegistryReference):
        return f"{target.registry}/{target.repository}"
    return str(Path(target.path).absolute())


def _with_tag(target: ImageReference, bundle: Bundle) -> ImageReference:
    return target if target.tag else replace(target, tag=reference.image_tag(bundle.metadata.model.version))


def _previous(target: ImageReference) -> str:
    return f"{target.tag}-previous"


def _find(
    named: ImageReference | str | None,
    target: Reference,
    engine: Engine | None,
    spool: Spool,
    store_options: StoreOptions,
    progress: Progress,
    options: ApplyToOptions,
    bundle: Bundle,
) -> tuple[FoundBase, Base | None]:
    from bundler.verbs import base_source

    if isinstance(named, str):
        from bundler.api.engines import connect_engine

        given = base_source.on_engine(named, engine or connect_engine(progress=progress), spool, options.compression, progress)
        return base_source.find_given(bundle.metadata, given, same_version=options.same_version)
    if named:
        given = base_source.in_store(open_images(named, store_options))
        return base_source.find_given(bundle.metadata, given, same_version=options.same_version)
    candidates = _candidates(base_source.references(bundle.metadata.base, target), store_options)
    return base_source.find(bundle.metadata, candidates, progress, same_version=options.same_version)


def _candidates(found: Sequence[RegistryReference], store_options: StoreOptions) -> list[Candidate]:
    """The places to look for a base; a registry that failed is not asked again, as each attempt may last until its timeout."""
    from bundler.verbs.base_source import Candidate, in_store

    unreachable: dict[str, StoreError] = {}

    def read(where: RegistryReference, platform: Platform) -> FoundBase:
        if error := unreachable.get(where.registry):
            raise error
        try:
            return in_store(open_images(where, store_options)).read(platform)
        except StoreError as error:
            unreachable[where.registry] = error
            raise

    return [Candidate(str(where), partial(read, where)) for where in found]
