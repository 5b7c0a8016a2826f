"""An authority of our own, and certificates that it has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from privateengine import ensure

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """Its certificate is ``NAME.crt`` in a directory; those it signs are ``NAME.cert`` with ``NAME.key`` there."""

    def __init__(self, directory: Path, name: str, parent: Authority | None = None) -> None:
        self._directory = directory
        self._name = name
        self.certificate = directory / f"{name}.crt"
        self._make(name, self.certificate, "basicConstraints=critical,CA:TRUE", parent)

    def sign(self, name: str) -> tuple[Path, Path]:
        """A certificate for a registry or a client on this machine, and its key."""
        certificate = self._directory / f"{name}.cert"
        self._make(name, certificate, "subjectAltName=IP:127.0.0.1", self)
        return certificate, certificate.with_suffix(".key")

    def _make(self, name: str, certificate: Path, extension: str, parent: Authority | None) -> None:
        signer = ["-CA", str(parent.certificate), "-CAkey", str(parent.certificate.with_suffix(".key"))] if parent else []
        files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
        command = [
            ensure("openssl", "openssl"),
            "req",
            "-x509",
            *_KEY,
            "-subj",
            f"/CN={name}",
            "-addext",
            extension,
            *signer,
            *files,
        ]
        subprocess.run(command, check=True, capture_output=True)
