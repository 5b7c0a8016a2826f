"""Damage: find all damaged blobs of a bundle, after a check has failed on the first one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bundler.errors import (
    BundlerError,
    IntegrityError,
    MissingSourceError,
    NotFoundError,
    OtherCompressionError,
    StoreError,
    joined,
)
from bundler.format import artifact
from bundler.format.content import Descriptor
from bundler.ports import Store
from bundler.streams import Progress, drain, watched


class DamageError(IntegrityError):
    """Blobs of a bundle are damaged or missing; the message names all of them."""


@contextmanager
def named(store: Store, progress: Progress, manifest: Descriptor) -> Iterator[None]:
    """Replace an error of the block by one that names every damaged blob of a bundle and its referrers.

    Without damaged blobs the error stays: then the content is invalid.
    """
    try:
        yield
    except (DamageError, MissingSourceError, OtherCompressionError):
        raise
    except (IntegrityError, NotFoundError, StoreError) as error:
        faults = find(store, progress, manifest) if store.rereadable or not isinstance(error, StoreError) else []
        if not faults:
            raise
        raise DamageError(joined(store.where, faults), hint=faults[0].hint, command=faults[0].command) from error


def find(store: Store, progress: Progress, manifest: Descriptor) -> list[BundlerError]:
    """Return an error for each damaged or missing blob of a bundle; none where its manifest cannot be read."""
    try:
        blobs = artifact.blobs(store.manifest(manifest), store.where)
    except BundlerError:
        return []
    referring, faults = _referring(store, manifest)
    each = list(dict.fromkeys([*blobs, *referring]))
    progress.stage(f"checking all blobs of {store.where}", sum(blob.size for blob in each))
    return faults + [fault for blob in each if (fault := _fault(store, blob, progress))]


def _referring(store: Store, manifest: Descriptor) -> tuple[Sequence[Descriptor], list[BundlerError]]:
    """Return the blobs of all referrers of a manifest, and the errors for referrers that cannot be read."""
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
    """Return possible referrers of a manifest; in a layout these are all manifests without a name."""
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
        if not store.rereadable:  # a fault of the network, not of the blob
            raise
        return error
    return None
