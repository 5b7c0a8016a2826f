"""The container of a process on this host, in place of an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bundler.api import images
from bundler.api.engines import resume_abandoned
from bundler.api.stores import StoreOptions
from bundler.errors import UsageError
from bundler.format.reference import RegistryReference
from bundler.streams import NULL_PROGRESS, Progress

if TYPE_CHECKING:
    from bundler.engines.process.base_files import StoredImage
    from bundler.engines.process.engine import ProcessEngine
    from bundler.format.metadata import Platform
    from bundler.streams import Readable
    from bundler.verbs.base_layers import ImageLayer

_ARCHITECTURES = {"x86_64": ("amd64", None), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7"), "i686": ("386", None)}
"""What images call the machine of a kernel (OCI image spec, image-index.md, "Platform Variants")."""


def connect_process(
    pid: int, base: str, *, store_options: StoreOptions | None = None, progress: Progress = NULL_PROGRESS
) -> ProcessEngine:
    """Return the container of a process for `push`, which then takes the PID as the name of the container.

    ``base`` is the image that it was started from, or its clean base: a reference to a registry, layout or archive. What an
    interrupted run left paused is resumed first, with a warning. Raises `NotFoundError` for a missing process or image,
    `AuthorizationError` when not run by root, `UsageError` for a process without a container, and `BaseMismatchError`.
    """
    from bundler.engines.process import identity
    from bundler.engines.process.engine import ProcessEngine

    resume_abandoned(progress)
    identity.find(pid)  # before anything is fetched
    return ProcessEngine(pid, _stored_image(base, store_options or StoreOptions(progress=progress)), progress)


def _stored_image(base: str, options: StoreOptions) -> StoredImage:
    from bundler.engines.process.base_files import StoredImage
    from bundler.ports import Image
    from bundler.verbs import base_source

    where = images.parse_base(base)
    if isinstance(where, str):
        raise UsageError("the base of a process is not read from an engine", hint="Name it in a registry, layout or archive.")
    found = base_source.in_store(images.open_images(where, options)).read(_platform())
    config, digest = found.config, str(found.digest)
    image = Image(
        id=digest,
        names=(f"{where.registry}/{where.repository}:{where.tag}",) if isinstance(where, RegistryReference) and where.tag else (),
        repo_digests=(f"{where.registry}/{where.repository}@{digest}",) if isinstance(where, RegistryReference) else (),
        platform=config.platform,
        diff_ids=config.diff_ids,
        config=config.settings,
        created="",
        size=0,
    )
    with found.layers() as layers:  # of a store they need no block
        opened = [partial(_plain, layer, found.name) for layer in layers]
    return StoredImage(image, found.name, opened)


@contextmanager
def _plain(layer: ImageLayer, where: str) -> Iterator[Readable]:
    """Open a layer as uncompressed tar."""
    from bundler.format import image_compression

    with layer.open() as blob, image_compression.errors(layer.descriptor, where):
        yield image_compression.plain(blob, layer.descriptor)


def _platform() -> Platform:
    from bundler.format.metadata import Platform

    machine = os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, None))
    return Platform(os="linux", architecture=architecture, variant=variant)
