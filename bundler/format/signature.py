"""The artifact of a signature; its subject is the bundle's manifest (OCI image spec 1.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bundler.errors import IntegrityError
from bundler.format import artifact, statement
from bundler.format.artifact import Referrer
from bundler.format.content import Descriptor, Digest
from bundler.format.split_manifest import EMPTY, EMPTY_CONTENT

ARTIFACT_TYPE = "application/vnd.fps.bundle.signature.v1"
SSHSIG = "application/vnd.fps.sshsig.v1"
MAX_SIGNATURE = 64 << 10
"""Bytes of the longest signature that is read; one by a certificate of an RSA key of 16384 bits has some 10,000."""


@dataclass(frozen=True)
class NewReferrer:
    """A referrer that is not in a store yet: its manifest, and the contents of its blobs."""

    referrer: Referrer
    contents: tuple[bytes, ...]

    @property
    def subject(self) -> Digest:
        return self.referrer.subject

    @property
    def blobs(self) -> Sequence[tuple[Descriptor, bytes]]:
        return tuple(zip(self.referrer.blobs, self.contents, strict=True))


def build(subject: Descriptor, signed: bytes, signature: bytes) -> NewReferrer:
    """The artifact of one signature; the same statement and signature always give the same digest."""
    layers = [Descriptor.of(statement.MEDIA_TYPE, signed), Descriptor.of(SSHSIG, signature)]
    content = {
        "schemaVersion": 2,
        "mediaType": artifact.MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": EMPTY.to_json(),
        "layers": [layer.to_json() for layer in layers],
        "subject": Descriptor(artifact.MANIFEST, subject.digest, subject.size).to_json(),
    }
    data = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    return NewReferrer(artifact.read_referrer(data, "the new signature"), (signed, signature, EMPTY_CONTENT))


def is_signature(referrer: Referrer) -> bool:
    return referrer.descriptor.artifact_type == ARTIFACT_TYPE


def parts(referrer: Referrer, where: str) -> tuple[Descriptor, Descriptor]:
    """The statement and the signature of a signature's artifact; raises `IntegrityError` for any other form."""
    media_types = [blob.media_type for blob in referrer.blobs]
    if media_types != [statement.MEDIA_TYPE, SSHSIG, EMPTY.media_type]:
        raise IntegrityError(f"{where}: the signature {referrer.descriptor.digest} does not have the blobs of a signature")
    signed, signature, _ = referrer.blobs
    if signature.size > MAX_SIGNATURE:
        raise IntegrityError(f"{where}: the signature {referrer.descriptor.digest} is longer than {MAX_SIGNATURE} bytes")
    return signed, signature
