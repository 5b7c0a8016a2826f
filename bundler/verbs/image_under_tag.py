"""What a destination has under the name of a new image, and whether the new image may replace it."""

from __future__ import annotations

from dataclasses import dataclass

from bundler.errors import IntegrityError, TrustError, UsageError
from bundler.format import artifact, image, oci_image
from bundler.format.content import Descriptor, Digest
from bundler.format.delta_manifest import DELTA
from bundler.format.image_compression import ImageCompression
from bundler.format.oci_image import ImageConfig, ImageManifest
from bundler.format.strict_json import load
from bundler.ports import ImageStore
from bundler.trust.admission import Admitted
from bundler.verbs.base_source import read_image


@dataclass(frozen=True)
class Holder:
    """What has the name now: an image with ``manifest`` and ``config``, or something else that ``kind`` names; nothing at all."""

    descriptor: Descriptor | None = None
    manifest: ImageManifest | None = None
    config: ImageConfig | None = None
    kind: str = ""

    @property
    def digest(self) -> Digest | None:
        return self.descriptor.digest if self.descriptor else None

    def has(self, store: ImageStore, config: Digest, compression: ImageCompression, new_layers: int) -> bool:
        """Whether it is the image with this config, with its last layers in this compression, and the store has all of it."""
        if not self.manifest or self.manifest.config.digest != config or self.manifest.descriptor.media_type != artifact.MANIFEST:
            return False
        last = self.manifest.layers[len(self.manifest.layers) - new_layers :]
        is_same = all(layer.media_type == compression.media_type for layer in last)
        return is_same and all(store.contains(blob) for blob in self.manifest.blobs)


def read(store: ImageStore) -> Holder:
    """Read what has the name of a store; a damaged image counts as one that fps-bundle did not make."""
    descriptor = store.current()
    if descriptor is None:
        return Holder()
    if descriptor.media_type in oci_image.IMAGE_INDEXES:
        return Holder(descriptor, kind="an index of images")
    try:
        data = store.manifest(descriptor)
        if (kind := load(data, store.where).get("artifactType")) in (artifact.BUNDLE, DELTA):
            return Holder(descriptor, kind=artifact.BUNDLE)
        if kind:
            return Holder(descriptor, kind=f"an artifact of type {str(kind)[:100]!r}")
        return Holder(descriptor, *read_image(store, descriptor, data))
    except IntegrityError:
        return Holder(descriptor, kind="something that cannot be read")


def check(holder: Holder, where: str, *, force: bool) -> None:
    """Raise `UsageError` for a bundle, and without ``force`` for an image of another tool."""
    if holder.kind == artifact.BUNDLE:
        raise UsageError(f"{where} names a bundle, which an image must not replace", hint="Choose another tag for the image.")
    is_ours = holder.config is not None and image.is_ours(holder.config.labels)
    if holder.descriptor and not is_ours and not force:
        what = holder.kind or "an image that fps-bundle did not make"
        raise UsageError(f"{where} names {what}", hint="Choose another tag, or replace this one with --force.")


def check_lineage(holder: Holder, where: str, admitted: Admitted) -> None:
    """Raise `TrustError` for an image of a bundle that came from the admitted one, unless a downgrade is allowed."""
    if not holder.config or admitted.by.allow_downgrade is not None:
        return
    line = image.lineage(holder.config.labels, holder.config.diff_ids)
    if admitted.bundle.digest in [ancestor.digest for ancestor in line[1:]]:
        raise TrustError(
            f"refusing to downgrade: the image at {where} has the bundle {line[0].digest} of {line[0].created}, "
            f"which came from this one, {admitted.bundle.digest} of {admitted.bundle.metadata.created}",
            hint="To apply it anyway, use --allow-downgrade REASON (recorded).",
        )
