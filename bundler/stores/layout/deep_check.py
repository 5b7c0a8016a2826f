"""Full check of the local store: reads every blob, and checks that no bundle lacks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bundler.errors import BundlerError, disk_errors
from bundler.format import artifact
from bundler.format.content import Descriptor, Digest
from bundler.format.reference import LocalReference
from bundler.ports import Named
from bundler.stores.layout import index, verified_cache
from bundler.stores.layout.local import LocalStore, directory


def faults() -> Sequence[str]:
    """List each damaged or missing blob with the bundles that need it; raises what opening the store raises."""
    with disk_errors(directory()):
        return _faults(LocalStore(LocalReference(""))) if directory().is_dir() else ()


def _faults(store: LocalStore) -> Sequence[str]:
    users = _users(store)
    damaged = [digest for digest in _digests(store) if not verified_cache.is_sound(store.blobs / digest.hex, digest, medium=True)]
    missing = [digest for digest in users if digest not in damaged and not (store.blobs / digest.hex).exists()]
    damage = [f"blob {digest} is damaged{_needed(users, digest)}" for digest in damaged]
    return damage + [f"blob {digest} is missing{_needed(users, digest)}" for digest in missing]


def _users(store: LocalStore) -> Mapping[Digest, Sequence[str]]:
    """Return for each blob the bundles that need it, by name or else by digest."""
    users: dict[Digest, list[str]] = {}
    for item in store.names():
        for digest in (item.manifest.digest, *(blob.digest for blob in _blobs(store, item))):
            users.setdefault(digest, []).append(item.name or str(item.manifest.digest))
    return users


def _blobs(store: LocalStore, item: Named) -> Sequence[Descriptor]:
    try:
        return artifact.blobs(store.manifest(item.manifest), store.where)
    except BundlerError:
        return ()  # a damaged manifest is reported as a damaged blob


def _digests(store: LocalStore) -> Sequence[Digest]:
    found = (index.blob(f"blobs/sha256/{path.name}", 0) for path in sorted(store.blobs.iterdir()))
    return [blob.digest for blob in found if blob]


def _needed(users: Mapping[Digest, Sequence[str]], digest: Digest) -> str:
    names = users.get(digest, ())
    return f", which is needed by {', '.join(names)}" if names else ", which no bundle needs"
