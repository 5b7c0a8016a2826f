"""References: how users name a bundle, in the syntax of other container tools."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bundler.errors import IntegrityError, UsageError
from bundler.format.content import Digest

# Grammar of the OCI distribution spec ("Pulling manifests") for repository names and tags.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REGISTRY = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?")

DEFAULT_TAG = "latest"
PIPE = "-"
MAX_NAME = 255
"""Longest repository name."""
_SYNTAX = (
    "A bundle is named REGISTRY/REPOSITORY:TAG, oci:DIR:TAG, oci-archive:FILE:TAG, FILE.tar, "
    "- for a pipe, or NAME:TAG for the local store; @sha256:… in place of :TAG names one exactly."
)


@dataclass(frozen=True)
class RegistryReference:
    """A bundle in a repository of a registry."""

    registry: str
    repository: str
    tag: str = DEFAULT_TAG
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{_suffix(self.tag, self.digest)}"


@dataclass(frozen=True)
class LayoutReference:
    """A bundle in an OCI image-layout directory; an empty tag means the only one."""

    path: str
    tag: str = ""
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"oci:{self.path}{_suffix(self.tag)}{_suffix('', self.digest)}"


@dataclass(frozen=True)
class ArchiveReference:
    """A bundle in an OCI archive, one tar file; an empty tag means the only one."""

    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def is_pipe(self) -> bool:
        """Whether the archive comes through standard input, or goes through standard output."""
        return self.path == PIPE

    def __str__(self) -> str:
        return f"oci-archive:{self.path}{_suffix(self.tag)}{_suffix('', self.digest)}"


@dataclass(frozen=True)
class LocalReference:
    """A bundle in the local store."""

    name: str
    tag: str = DEFAULT_TAG
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.name}{_suffix(self.tag, self.digest)}"


Reference = RegistryReference | LayoutReference | ArchiveReference | LocalReference


def parse(text: str) -> Reference:
    """Read a reference (design §5); raises `UsageError` that says what is wrong and what would be right."""
    if not text or any(ord(character) < 0x20 for character in text):
        raise _wrong(text, "it is empty or has control characters")
    if text == PIPE:
        return ArchiveReference(PIPE)
    if text.startswith("oci-archive:"):
        return ArchiveReference(*_path_and_tag(text, text.removeprefix("oci-archive:")))
    if text.startswith("oci:"):
        return LayoutReference(*_path_and_tag(text, text.removeprefix("oci:")))
    if text.endswith(".tar"):
        return ArchiveReference(text)
    return _parse_name(text)


def is_exact(text: str, reference: Reference) -> bool:
    """Whether a text that was parsed names one bundle by its tag or digest, and not only a repository, layout or archive."""
    return bool(reference.digest) or bool(reference.tag and text.endswith(f":{reference.tag}"))


def without_tag(name: str) -> str:
    """NAME of ``NAME:TAG`` or ``NAME@sha256:…``."""
    return name.partition("@")[0] if "@" in name else name.rpartition(":")[0]


def parse_registry(text: str) -> str:
    """Read the name of a registry alone, HOST[:PORT]; raises `UsageError` for one that no reference could have."""
    registry, rest = split_registry(f"{text}/")
    if rest or not _REGISTRY.fullmatch(registry):
        raise UsageError(
            f"{text[:200]!r} is no registry",
            hint="A registry is named HOST or HOST:PORT, such as registry.example:5000 or docker.io.",
        )
    return registry


def split_registry(name: str) -> tuple[str, str]:
    """Split what stands before the first slash off when it is a host by Docker's rule, else give ``""``."""
    host, slash, rest = name.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return host, rest
    return "", name


def image_name(title: str) -> str:
    """Make a repository name out of a title: lower case, every run of other characters a ``-``."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:MAX_NAME].rstrip("-") or "model"
    return f"{name}-model" if name in ("oci", "oci-archive") else name  # which would be taken for a layout or an archive


def image_tag(text: str) -> str:
    """Make a tag out of a label: every run of characters that a tag cannot have becomes a ``-``."""
    # A name that ends in .tar would be taken for a file.
    text = re.sub(r"\.tar$", "-tar", text)
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", text).lstrip(".-")[:128] or DEFAULT_TAG


def is_tag(text: object) -> bool:
    """Whether a value from a registry is a valid tag, without path separators."""
    return isinstance(text, str) and _TAG.fullmatch(text) is not None


def _parse_name(text: str) -> RegistryReference | LocalReference:
    name, at, hexadecimal = text.partition("@")
    digest = _digest(text, hexadecimal) if at else None
    registry, rest = split_registry(name)
    repository, colon, tag = rest.partition(":")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > MAX_NAME:
        raise _wrong(text, f"{repository!r} is no repository name: lower-case letters, digits, '.', '_', '-' and '/'")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is no tag")
    if not registry:
        return LocalReference(repository, tag or DEFAULT_TAG, digest)
    if not _REGISTRY.fullmatch(registry):
        raise _wrong(text, f"{registry!r} is no host")
    return RegistryReference(registry, repository, tag or DEFAULT_TAG, digest)


def _path_and_tag(text: str, rest: str) -> tuple[str, str, Digest | None]:
    path, at, hexadecimal = rest.rpartition("@sha256:")
    digest = _digest(text, f"sha256:{hexadecimal}") if at else None
    path, tag = path if at else rest, ""
    head, colon, last = path.rpartition(":")
    if colon and "/" not in last:
        path, tag = head, last
        if not _TAG.fullmatch(tag):
            raise _wrong(text, f"{tag!r} is no tag")
    if not path:
        raise _wrong(text, "the path is missing")
    return path, tag, digest


def _digest(text: str, digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except IntegrityError:
        raise _wrong(text, "what follows @ is not sha256: and 64 hex digits") from None


def _suffix(tag: str, digest: Digest | None = None) -> str:
    if digest:
        return f"@{digest}"
    return f":{tag}" if tag else ""


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"cannot read the reference {text[:200]!r}: {why}", hint=_SYNTAX)
