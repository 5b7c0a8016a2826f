"""Keys, certificates and revocation lists, made by the system's ``ssh-keygen``; signatures by it alone, without our program."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from privateengine import ensure

from bundler.signatures.ssh import NAMESPACE


def keygen(*arguments: str | Path, input: bytes | None = None) -> str:
    done = subprocess.run(
        [ensure("ssh-keygen", "openssh-client"), *map(str, arguments)], input=input, capture_output=True, check=True
    )
    return done.stdout.decode()


@dataclass(frozen=True)
class Key:
    """A private key's file, its public one beside it."""

    path: Path

    @property
    def public(self) -> str:
        return " ".join(self.path.with_name(f"{self.path.name}.pub").read_text().split()[:2])

    @property
    def fingerprint(self) -> str:
        return keygen("-l", "-f", self.path).split()[1]

    def line(self, principals: str, options: str = "") -> bytes:
        """A line of allowed signers."""
        return f"{principals} {options} {self.public}\n".encode()

    def certified(self, authority: Key, principals: str, validity: str = "-1d:+1d", serial: int = 1) -> Path:
        """A certificate of this key by an authority."""
        public = self.path.with_name(f"{self.path.name}.pub")
        keygen("-q", "-s", authority.path, "-I", "test", "-n", principals, "-V", validity, "-z", str(serial), public)
        return self.path.with_name(f"{self.path.name}-cert.pub")

    def sign(self, message: bytes, namespace: str = NAMESPACE) -> bytes:
        return keygen("-q", "-Y", "sign", "-n", namespace, "-f", self.path, input=message).encode()


def key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Key:
    kinds = {"ed25519": ("ed25519",), "ecdsa": ("ecdsa", "-b", "256"), "rsa": ("rsa", "-b", "2048")}
    keygen("-q", "-t", *kinds[kind], "-N", passphrase, "-C", "test", "-f", path)
    return Key(path)


def revocation(path: Path, *what: Path | str, authority: Key | None = None) -> bytes:
    """A KRL of public keys, or of what a specification says of an authority's certificates."""
    files = []
    for number, item in enumerate(what):
        if isinstance(item, str):
            specification = path.with_name(f"specification-{number}")
            specification.write_text(item)
            item = specification
        files.append(item)
    known = ["-s", authority.path.with_name(f"{authority.path.name}.pub")] if authority else []
    keygen("-q", "-k", "-f", path, *known, *files)
    return path.read_bytes()
