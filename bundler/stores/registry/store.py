"""Bundles in a registry (OCI distribution spec)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from typing import TypeVar

import requests
import urllib3

from bundler.errors import AuthorizationError, BundlerError, BusyError, IntegrityError, NotFoundError, StoreError
from bundler.format import artifact, delta_manifest, strict_json
from bundler.format.content import Descriptor, Digest, RangeReader, VerifyingReader
from bundler.format.delta_manifest import DeltaSource
from bundler.format.reference import RegistryReference, is_tag
from bundler.format.signature import NewReferrer
from bundler.ports import Displaced, Named, Store
from bundler.stores.layout.index import check_digest
from bundler.stores.registry.client import RegistryClient, number_in
from bundler.stores.registry.download import Download
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.pages import TimeLimit, read_pages
from bundler.stores.registry.retry import TransientError
from bundler.stores.registry.upload import BlobUpload
from bundler.stores.registry.upload_record import UploadRecord
from bundler.streams import Begun, Opener, Stream, drain, from_memory

_AGAIN = "Run the same command again."
_TRIES = 5
MAX_LISTED = 100_000
"""Most tags of a repository, or referrers of a manifest."""

LOOKING_UP = 60
"""Factor on `Limits.timeout` for looking up the manifests of all tags."""

_Item = TypeVar("_Item")


class RegistryStore:
    """One tag or digest of a repository."""

    rereadable = False
    ordered = False

    def __init__(
        self,
        reference: RegistryReference,
        *,
        plain_http: bool = False,
        limits: Limits | None = None,
        tell: Callable[[str], None] | None = None,
        verify_written: bool = False,
    ) -> None:
        self.where = str(reference)
        self.reference = reference
        limits = limits or Limits()
        self.parallel = limits.parallel
        self._verify_written = verify_written
        self._tell = tell or (lambda _: None)
        self._client = RegistryClient(reference.registry, plain_http=plain_http, limits=limits, tell=tell)

    def rename(self, tag: str) -> None:
        """Use another tag from now on."""
        self.reference = replace(self.reference, tag=tag)
        self.where = str(self.reference)

    def resolve(self) -> Descriptor:
        wanted = self.reference.digest
        response, data = self._manifest(str(wanted or self.reference.tag), ", ".join(artifact.MANIFESTS), wanted)
        return Descriptor.of(response.headers.get("Content-Type", "").partition(";")[0].strip(), data)

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self._manifest(str(descriptor.digest), descriptor.media_type, descriptor.digest)[1]

    def has_manifest(self, digest: Digest) -> bool:
        return self.found(str(digest)) is not None

    def found(self, name: str) -> Digest | None:
        """Return the manifest under a tag or digest, or None."""
        headers = {"Accept": ", ".join(artifact.MANIFESTS)}
        response = self._client.request("HEAD", self._url(f"manifests/{name}"), self.where, (200, 404), headers=headers)
        return Digest.parse(response.headers.get("Docker-Content-Digest")) if response.status_code == 200 else None

    def _manifest(self, name: str, accept: str, wanted: Digest | None) -> tuple[requests.Response, bytes]:
        """Fetch a manifest and verify its digest, for a tag the one in the response header; a wrong one is fetched once more."""
        for _ in range(2):
            response, data = self._document(f"manifests/{name}", {"Accept": accept})
            strict_json.check_size(len(data), f"{self.where}: the manifest")
            stated = response.headers.get("Docker-Content-Digest") or str(wanted or Digest.of(data))
            if str(Digest.of(data)) == stated and wanted in (None, Digest.of(data)):
                return response, data
        raise IntegrityError(f"{self.where}: the registry returned another manifest than {wanted or stated}", hint=_AGAIN)

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        start = begun.size if begun else 0
        return VerifyingReader(self.read_from(blob, start), blob, self.where, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        content = Download(self._client, self._url(f"blobs/{blob.digest}"), blob, self.where, offset, offset + size)
        return RangeReader(content, blob, size, self.where)

    def read_from(self, blob: Descriptor, start: int) -> Stream:
        """Open a blob at ``start`` without verification."""
        return Download(self._client, self._url(f"blobs/{blob.digest}"), blob, self.where, start)

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        """Return what the referrers API lists, or without that API the index under the fallback tag.

        Source: distribution spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
        """
        for path in (f"referrers/{manifest.digest}", f"manifests/{fallback_tag(manifest.digest)}"):
            listing = self._pages(path, {"Accept": artifact.INDEX})
            try:
                first = next(listing)
            except (NotFoundError, StoreError) as error:
                if isinstance(error, TransientError):
                    raise
                continue
            found = self._bounded((item for data in chain([first], listing) for item in _manifests(data, self.where)), "referrers")
            return [item for item in found if item.media_type == artifact.MANIFEST]
        return []

    def attach(self, new: NewReferrer) -> None:
        for blob, data in new.blobs:
            if not self.has(blob):
                self.put_blob(blob, from_memory(data))
        self.check_arrived([blob for blob, _ in new.blobs])
        self.put_manifest(new.referrer.descriptor, new.referrer.data)
        if self.manifest(new.referrer.descriptor) != new.referrer.data:
            raise StoreError(f"{self.where}: the registry returns another manifest than was sent", hint=_AGAIN)

    def names(self) -> Sequence[Named]:
        named = []
        limit = TimeLimit(self._client.limits.timeout * LOOKING_UP, f"{self.where}: looking up its tags")
        for tag in self._tags():
            limit.check()
            headers = {"Accept": artifact.MANIFEST}
            response = self._client.request("HEAD", self._url(f"manifests/{tag}"), self.where, (200, 404), headers=headers)
            media_type = response.headers.get("Content-Type", "")
            if response.status_code == 200 and media_type == artifact.MANIFEST:
                digest = Digest.parse(response.headers.get("Docker-Content-Digest"))
                named.append(Named(tag, Descriptor(media_type, digest, number_in(response, "Content-Length") or 0)))
        return named

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[RegistryUpload]:
        del name  # a registry reference always has a tag
        neighbour = source.reference if isinstance(source, RegistryStore) else None
        same = neighbour is not None and neighbour.registry == self.reference.registry
        yield RegistryUpload(self, neighbour.repository if neighbour and same else "")

    def has(self, blob: Descriptor) -> bool:
        """Whether the registry really has a blob: its length is checked and its last byte fetched.

        A HEAD is not enough: after a garbage collection distribution 2.8.2 answers 200 for
        blobs that are gone.
        """
        return self.has_length(blob) and (not blob.size or any(self._client.retried(self._has_end, blob) for _ in range(2)))

    def _has_end(self, blob: Descriptor) -> bool:
        options = {"headers": {"Range": f"bytes={blob.size - 1}-", "Accept-Encoding": "identity"}, "stream": True}
        url = self._url(f"blobs/{blob.digest}")
        with self._client.request_once("GET", url, self.where, (200, 206, 404, 416), options) as response:
            try:
                return response.status_code in (200, 206) and len(response.raw.read(1)) == 1
            except urllib3.exceptions.HTTPError:  # the headers announce a byte that does not arrive
                return False

    def has_length(self, blob: Descriptor) -> bool:
        """Whether the registry reports a blob of this length."""
        url = self._url(f"blobs/{blob.digest}")
        response = self._client.request("HEAD", url, self.where, (200, 404))
        return response.status_code == 200 and response.headers.get("Content-Length") == str(blob.size)

    def mount(self, blob: Descriptor, origin: str) -> bool:
        """Mount a blob from another repository (distribution spec, "Mounting a blob").

        The blob is checked afterwards, whatever the registry answered.
        """
        url = self._url(f"blobs/uploads/?mount={blob.digest}&from={origin}")
        try:
            response = self._client.request("POST", url, self.where, (201, 202))
            if response.status_code == 202:  # it started an upload instead, which is not needed
                location = self._client.follow(response.headers.get("Location", url), url)
                self._client.request("DELETE", location, self.where, (200, 202, 204, 404, 405))
                return False
        except (StoreError, NotFoundError, AuthorizationError):
            return False
        return self.has(blob)

    def put_blob(self, blob: Descriptor, opened: Opener) -> int:
        """Upload a blob; returns the number of bytes sent."""
        return BlobUpload(self._client, self.reference.repository, blob, self.where, lambda: self.has(blob)).send(opened)

    def put_manifest(self, manifest: Descriptor, data: bytes) -> None:
        """Upload a manifest by digest; without the referrers API it is added to the index of its subject."""
        response = self._put(str(manifest.digest), manifest.media_type, data)
        subject = artifact.subject(data, self.where)
        if subject and not response.headers.get("OCI-Subject"):
            self._list_referrer(subject, manifest)

    def tag(self, manifest: Descriptor, data: bytes) -> Displaced | None:
        """Move the tag of this store to a manifest; returns the displaced bundle."""
        check_digest(manifest, self.reference.digest, self.where)
        if self.reference.digest:
            return None
        if delta_manifest.is_delta(data):
            self._keep_source(delta_manifest.read(data, self.where).source)
        former = self._former(manifest)
        self._move_tag(manifest, data)
        return former

    def _keep_source(self, source: DeltaSource) -> None:
        """Tag the source of a delta if it is here, because no garbage collector knows that the delta needs it."""
        with suppress(NotFoundError):
            _, data = self._manifest(str(source.stored), artifact.MANIFEST, source.stored)
            self._put(delta_manifest.source_tag(source.digest), artifact.MANIFEST, data)

    def _former(self, manifest: Descriptor) -> Displaced | None:
        with suppress(BundlerError):  # a token may allow push only
            found = self.resolve().digest
            return None if found == manifest.digest else Displaced(found, str(replace(self.reference, digest=found)))
        return None

    def _move_tag(self, manifest: Descriptor, data: bytes) -> None:
        failure: BundlerError | None = None
        try:
            self._put(self.reference.tag, manifest.media_type, data)
        except StoreError as error:  # the tag may have moved nevertheless
            failure = error
        try:
            found = self.resolve()
            if found.media_type not in artifact.MANIFESTS:
                raise IntegrityError(f"{self.where}: the registry returned {found.media_type[:100]!r}, not a manifest")
        except BundlerError as error:
            if failure:
                raise failure from error
            self._tell(f"cannot verify the tag: {error.message}")
            return
        if found.digest != manifest.digest:
            raise failure or BusyError(
                f"{self.where}: another process pushed {found.digest} to this tag at the same time",
                hint="To move the tag to your bundle, run the same command again.",
            )

    def check_arrived(self, blobs: Sequence[Descriptor]) -> None:
        """Raises `StoreError` for a sent blob that is missing; with ``verify_written`` reads the blobs back."""
        for blob in blobs:
            if not self.has_length(blob):
                raise StoreError(f"{self.where}: blob {blob.digest} was sent, but the registry does not have it", hint=_AGAIN)
            if self._verify_written:
                with self.open(blob) as content:
                    drain(content)

    def _put(self, name: str, media_type: str, data: bytes) -> requests.Response:
        headers = {"Content-Type": media_type}
        return self._client.request("PUT", self._url(f"manifests/{name}"), self.where, (201,), headers=headers, data=data)

    def _list_referrer(self, subject: Digest, manifest: Descriptor) -> None:
        """Add a referrer to the index under the fallback tag (distribution spec 1.1, "Referrers Tag Schema")."""
        tag = fallback_tag(subject)
        for _ in range(_TRIES):
            try:
                _, data = self._document(f"manifests/{tag}", {"Accept": artifact.INDEX})
                listed = _manifests(data, self.where)
            except NotFoundError:
                listed = []
            if manifest.digest in {item.digest for item in listed}:
                return
            content = {"schemaVersion": 2, "mediaType": artifact.INDEX, "manifests": [it.to_json() for it in (*listed, manifest)]}
            self._put(tag, artifact.INDEX, json.dumps(content, sort_keys=True).encode())  # the next round checks it
        raise BusyError(f"{self.where}: other processes keep changing {tag}", hint=_AGAIN)

    def _tags(self) -> list[str]:
        listing = self._pages("tags/list?n=1000", {})
        return self._bounded((tag for data in listing for tag in _tags_in(data, self.where)), "tags")

    def _pages(self, path: str, headers: dict[str, str]) -> Iterator[bytes]:
        return read_pages(self._client, self._url(path), self.where, headers)

    def _bounded(self, items: Iterable[_Item], what: str) -> list[_Item]:
        found = list(islice(items, MAX_LISTED + 1))
        if len(found) > MAX_LISTED:
            raise IntegrityError(f"{self.where}: the registry lists more than {MAX_LISTED} {what}")
        return found

    def _document(self, path: str, headers: dict[str, str]) -> tuple[requests.Response, bytes]:
        return self._client.read_document(self._url(path), self.where, headers)

    def _url(self, path: str) -> str:
        return self._client.url(f"{self.reference.repository}/{path}")


class RegistryUpload:
    """The upload of a bundle to a repository; its blobs are invisible until the manifest is there."""

    def __init__(self, store: RegistryStore, neighbour: str) -> None:
        self._store = store
        self._neighbour = neighbour
        self._unchecked: list[Descriptor] = []
        self._sizes: list[int] = []
        self._data: dict[Digest, bytes] = {}

    @property
    def sent(self) -> int:
        return sum(self._sizes)

    def has(self, blob: Descriptor) -> bool:
        return self.has_or_mounts(blob, self._neighbour)

    def has_or_mounts(self, blob: Descriptor, neighbour: str) -> bool:
        """Whether a blob is in the repository, or is now mounted from the repository ``neighbour`` or an earlier target."""
        return self._store.has(blob) or any(self._store.mount(blob, origin) for origin in self._origins(blob, neighbour))

    def reserve(self, size: int) -> None:
        """Do nothing: a registry does not report its free space."""

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self._sizes.append(self._store.put_blob(blob, opened))
        self._unchecked.append(blob)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._store.check_arrived(self._unchecked)
        self._unchecked.clear()
        self._store.put_manifest(manifest, data)
        self._data[manifest.digest] = data

    def commit(self, manifest: Descriptor) -> Displaced | None:
        if self._store.manifest(manifest) != self._data[manifest.digest]:
            raise StoreError(f"{self._store.where}: the registry returns another manifest than was sent", hint=_AGAIN)
        return self._store.tag(manifest, self._data[manifest.digest])

    def _origins(self, blob: Descriptor, neighbour: str) -> list[str]:
        """Return other repositories that may have a blob: the source repository, and earlier targets."""
        reference = self._store.reference
        candidates = [neighbour, *UploadRecord(reference.registry, blob.digest, blob.size).repositories()]
        return [origin for origin in dict.fromkeys(candidates) if origin and origin != reference.repository]


def fallback_tag(digest: Digest) -> str:
    """Return the tag of the index of a manifest's referrers (distribution spec 1.1, "Referrers Tag Schema")."""
    return f"sha256-{digest.hex}"


def _tags_in(data: bytes, where: str) -> list[str]:
    tags = strict_json.load(data, f"{where}: the list of tags").get("tags") or []
    if not isinstance(tags, list) or not all(map(is_tag, tags)):
        raise IntegrityError(f"{where}: the registry lists an invalid tag")
    return tags


def _manifests(data: bytes, where: str) -> list[Descriptor]:
    content = strict_json.load(data, f"{where}: the list of referrers")
    manifests = content.get("manifests")
    if content.get("mediaType") != artifact.INDEX or not isinstance(manifests, list):
        raise IntegrityError(f"{where}: the list of referrers is not an OCI image index")
    return [Descriptor.from_json(item) for item in manifests]
