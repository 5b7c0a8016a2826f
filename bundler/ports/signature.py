"""Signing keys, and the check of signatures against allowed signers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bundler.ports.values import Checked


class Signer(Protocol):
    """A signing key."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message; raises `TrustError` when the key cannot be used."""
        ...


class Verifier(Protocol):
    """Checks signatures against allowed signers and revoked keys."""

    def check(self, message: bytes, signature: bytes) -> Checked:
        """Check a signature as of now; raises `TrustError` when the check cannot run."""
        ...
