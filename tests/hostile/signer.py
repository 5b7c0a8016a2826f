"""An allowed signer who vouches for whatever is forged, so that only the rule under test can refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import sshkeys

from bundler.errors import BundlerError
from bundler.format import artifact, signature
from bundler.format.content import Descriptor, Digest
from bundler.format.metadata import Metadata
from bundler.format.statement import Statement
from hostile.forge import Forgery, Signer

SIGNED = "2026-02-03T04:05:06Z"


def believed(config: Path) -> Signer:
    """The signer, after the host whose configuration lies in this directory was told to believe no other."""
    (config / "fps-bundle").mkdir(parents=True)
    key = sshkeys.key(config / "key")
    (config / "fps-bundle" / "allowed_signers").write_bytes(key.line("signer@example"))
    (config / "fps-bundle" / "trust.toml").write_text('allowed-signers = "allowed_signers"\n')

    def sign(descriptor: Descriptor, manifest: bytes, config: bytes) -> Sequence[tuple[Descriptor, bytes]]:
        said = statement(descriptor, manifest, config)
        made = signature.build(descriptor, said, key.sign(said))
        return [*made.blobs, (made.referrer.descriptor, made.referrer.data)]

    return sign


def statement(descriptor: Descriptor, manifest: bytes, config: bytes) -> bytes:
    """What is true of a forgery; of one whose documents cannot be read, what is true of a sound one, with its digests."""
    try:
        return _of(manifest, config).to_bytes()
    except BundlerError:
        return replace(_sound(), manifest=descriptor.digest, config=Digest.of(config)).to_bytes()


def _of(manifest: bytes, config: bytes) -> Statement:
    return Statement.of(artifact.read(manifest, "here"), Metadata.from_bytes(config, "here"), 1, SIGNED)


@cache
def _sound() -> Statement:
    seen: list[tuple[bytes, bytes]] = []

    def look(descriptor: Descriptor, manifest: bytes, config: bytes) -> Sequence[tuple[Descriptor, bytes]]:
        del descriptor
        seen.append((manifest, config))
        return ()

    Forgery().parts(look)
    return _of(*seen[0])
