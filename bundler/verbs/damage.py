"""All damaged blobs of a bundle: looked for when the first error of a check has shown that there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError, joined
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.ports import Store
from bundler.streams import Progress, drain, watched


class DamageError(IntegrityError):
    """Blobs of a bundle are damaged or missing; all of them are named."""


@contextmanager
def named(store: Store, progress: Progress, manifest: Descriptor) -> Iterator[None]:
    """Replace an error of the block by one that names every damaged blob of a bundle, and of what refers to it.

    Without damage the error stays: then it is the content that is refused.
    """
    try:
        yield
    except DamageError:
        raise
    except (IntegrityError, NotFoundError, StoreError) as error:
        faults = find(store, progress, manifest) if store.rereadable or not isinstance(error, StoreError) else []
        if not faults:
            raise
        raise DamageError(joined(store.where, faults), hint=faults[0].hint, command=faults[0].command) from error


def find(store: Store, progress: Progress, manifest: Descriptor) -> list[BundlerError]:
    """Why each blob of a bundle that is damaged or missing cannot be used; nothing where its manifest cannot be read."""
    try:
        blobs = artifact.blobs(store.manifest(manifest), store.where)
    except BundlerError:
        return []
    found, faults = _referring(store, manifest)
    each = list(dict.fromkeys([*blobs, *found]))
    progress.stage(f"looking for all damaged blobs of {store.where}", sum(blob.size for blob in each))
    return faults + [fault for blob in each if (fault := _fault(store, blob, progress))]


def _referring(store: Store, manifest: Descriptor) -> tuple[Sequence[Descriptor], list[BundlerError]]:
    """The blobs of what refers to a manifest, and the faults of the referrers that cannot be read."""
    blobs: list[Descriptor] = []
    faults: list[BundlerError] = []
    for descriptor in _referrers(store, manifest):
        try:
            referrer = artifact.read_referrer(store.manifest(descriptor), store.where)
        except (IntegrityError, NotFoundError) as error:
            faults.append(error)
        else:
            blobs += referrer.blobs if referrer.subject == manifest.digest else ()
    return blobs, faults


def _referrers(store: Store, manifest: Descriptor) -> Sequence[Descriptor]:
    """What may refer to a manifest: in an index all that has no name, as only its content tells."""
    if not store.rereadable:
        return store.referrers(manifest)
    return [named.manifest for named in store.names() if not named.name and named.manifest.artifact_type != artifact.BUNDLE]


def _fault(store: Store, blob: Descriptor, progress: Progress) -> BundlerError | None:
    try:
        with watched(store.open(blob), progress) as content:
            drain(content)
    except (IntegrityError, NotFoundError) as error:
        return error
    except StoreError as error:
        if not store.rereadable:  # the network, and not the blob
            raise
        return error
    return None
