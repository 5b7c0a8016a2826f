"""Content-addressed bytes: digests, descriptors, and verifying readers."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.errors import IntegrityError, StoreError
from bundler.format import strict_json
from bundler.streams import BLOCK, Begun, Readable, Stream, Writable, pieces

MAX_BLOB = (1 << 63) - 1
"""Largest size in bytes in a descriptor; other programs use a signed number of 64 bits."""

_KEYS = frozenset({"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Digest:
    """A sha256 digest, written ``sha256:<64 lower-case hex digits>`` (OCI image spec, descriptor.md)."""

    hex: str

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Parse the canonical spelling; raises `IntegrityError` for any other."""
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise IntegrityError(f"not a sha256 digest: {str(text)[:80]!r}")
        return cls(text.removeprefix("sha256:"))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        return cls(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first twelve hex digits, for display."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True)
class Descriptor:
    """The media type, size (bytes) and digest of a blob (OCI image spec, descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Descriptor:
        return cls(media_type, Digest.of(data), len(data))

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.artifact_type:
            content["artifactType"] = self.artifact_type
        if self.annotations:
            content["annotations"] = dict(self.annotations)
        return content

    @classmethod
    def from_json(cls, found: object) -> Descriptor:
        """Read a descriptor; raises `IntegrityError` when a field is missing or of the wrong type.

        ``urls`` and ``data`` are never used: a blob comes from its store, and is verified.
        """
        if not isinstance(found, dict):
            raise IntegrityError("a descriptor is not a JSON object")
        strict_json.check_spelling(found, _KEYS, "a descriptor")
        media_type, size = found.get("mediaType"), found.get("size")
        annotations, artifact_type = found.get("annotations", {}), found.get("artifactType", "")
        if not isinstance(media_type, str) or not isinstance(artifact_type, str):
            raise IntegrityError("a descriptor has no media type")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB:
            raise IntegrityError(f"a descriptor has no valid size: {str(size)[:40]}")
        if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
            raise IntegrityError("a descriptor's annotations are not strings")
        return cls(media_type, Digest.parse(found.get("digest")), size, annotations, artifact_type)


class VerifyingReader(io.RawIOBase):
    """A stream that must be exactly the blob of its descriptor, or the rest of it after the part that has ``begun``.

    Too long, too short or another digest raises `IntegrityError`; the last bytes are handed out
    only together with the certainty that they complete the blob. Closing it closes the source.
    """

    def __init__(self, source: Stream, expected: Descriptor, where: str, begun: Begun | None = None) -> None:
        self._source = source
        self._expected = expected
        self._where = where
        self._hash = begun.hash.copy() if begun else hashlib.sha256()
        self._count = begun.size if begun else 0
        self._checked = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; raises `IntegrityError` as soon as the blob cannot be the expected one."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        if size == 0 or self._checked:
            return b""
        remaining = self._expected.size - self._count
        data = self._from_source(min(size, remaining)) if remaining else b""
        self._hash.update(data)
        self._count += len(data)
        if not data and remaining:
            raise IntegrityError(
                f"{self._where}: blob {self._expected.digest} ends after {self._count} of {self._expected.size} bytes",
                hint="The copy is damaged or incomplete; fetch it again from where it came from.",
            )
        if self._count == self._expected.size:
            self._check_end()
            self._checked = True
        return data

    def _check_end(self) -> None:
        if self._from_source(1):
            raise IntegrityError(f"{self._where}: blob {self._expected.digest} is longer than {self._expected.size} bytes")
        if self._hash.hexdigest() != self._expected.digest.hex:
            raise IntegrityError(
                f"{self._where}: blob {self._expected.digest} is damaged, its content hashes to sha256:{self._hash.hexdigest()}",
                hint="Make the copy again, or fetch the bundle from another place.",
            )

    def _from_source(self, size: int) -> bytes:
        return _read(self._source, size, self._expected, self._where)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


class RangeReader(Stream):
    """The next ``size`` bytes of a stream, which are part of a blob; only their number is verified.

    The caller verifies them by the digest of their content. Closing the reader closes the source.
    """

    def __init__(self, source: Stream, blob: Descriptor, size: int, where: str) -> None:
        self._source = source
        self._blob = blob
        self._left = size
        self._where = where

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; raises `IntegrityError` when the blob ends too early."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK), b""))
        wanted = min(size, self._left)
        data = _read(self._source, wanted, self._blob, self._where) if wanted else b""
        if wanted and not data:
            raise IntegrityError(
                f"{self._where}: blob {self._blob.digest} ends {self._left} bytes too early",
                hint="The copy is damaged or incomplete; fetch it again from where it came from.",
            )
        self._left -= len(data)
        return data

    def close(self) -> None:
        self._source.close()


def _read(source: Readable, size: int, blob: Descriptor, where: str) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise StoreError(
            f"{where}: blob {blob.digest} cannot be read: {error.strerror or error}",
            hint="Check the medium; another copy may be whole.",
        ) from error


class HashingReader:
    """Passes bytes of a source on, keeps their sha256, and reports their number to ``advance``."""

    def __init__(self, source: Readable, advance: Callable[[int], object] = lambda _: None) -> None:
        self._source = source
        self._advance = advance
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self._advance(len(data))
        return data

    @property
    def digest(self) -> Digest:
        """The digest of what was read."""
        return Digest(self._hash.hexdigest())


class HashingWriter:
    """Passes bytes on to ``target`` and keeps their sha256 and count."""

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.count = 0

    def write(self, data: bytes) -> int:
        for piece in pieces(data):
            self._hash.update(piece)
            self._target.write(piece)
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing, as no bytes are buffered."""

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())
