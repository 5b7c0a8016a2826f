"""SSH signatures, made and checked by the system's ``ssh-keygen`` (OpenSSH, PROTOCOL.sshsig); it alone decides what holds.

What it reads and writes lies in a directory of our own, so that nobody can change it between two questions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bundler.errors import TrustError, disk_errors
from bundler.ports import Checked

NAMESPACE = "fps-bundle@v1"
"""What our signatures are for; ssh-keygen refuses those that were made for something else."""

SIGN_SECONDS = 300
"""For how long somebody may look for a passphrase, or touch a hardware key."""
CHECK_SECONDS = 60
MAX_OUTPUT = 64 << 10
"""Bytes that are read of what ssh-keygen prints."""
MAX_PRINCIPALS = 32
"""How many names of one key are tried."""

_MESSAGE, _SIGNATURE, _ALLOWED, _REVOKED = "statement", "statement.sig", "allowed_signers", "revoked"
_GOOD = re.compile(rf'Good "{NAMESPACE}" signature with (\S+) key (SHA256:[A-Za-z0-9+/]+)')
_PATTERN = re.compile(r"[*?!]")


class SshSigner:
    """A key: a private key's file, or the public one of a key that an agent or a hardware token holds."""

    def __init__(self, key: Path) -> None:
        self._key = key.absolute()

    def sign(self, message: bytes) -> bytes:
        if self._key.exists() and not self._key.is_file():  # ssh-keygen would wait at a FIFO
            raise TrustError(f"the key {self._key} is not a plain file", hint="Name a private key, or a public key.")
        with _desk({_MESSAGE: message}) as desk:
            # On a terminal ssh-keygen speaks to its user itself: a hardware key must be touched.
            done = _run(desk, ["sign", "-q", "-f", str(self._key), _MESSAGE], SIGN_SECONDS, shown=sys.stderr.isatty())
            if done.code:
                raise TrustError(
                    f"ssh-keygen cannot sign with {self._key}{_says(done)}",
                    hint="Name a private key, or the public key of one that ssh-agent holds: ssh-add -L lists them.",
                )
            with disk_errors(desk):
                return (desk / _SIGNATURE).read_bytes()


class SshVerifier:
    """Allowed signers in OpenSSH's format, and a revocation list (a KRL, or public keys); without them all keys are strangers'."""

    def __init__(self, allowed_signers: bytes | None = None, revoked: bytes | None = None) -> None:
        self._allowed = allowed_signers
        self._revoked = revoked

    def check(self, message: bytes, signature: bytes) -> Checked:
        files = {_MESSAGE: message, _SIGNATURE: signature, _ALLOWED: self._allowed, _REVOKED: self._revoked}
        with _desk({name: data for name, data in files.items() if data is not None}) as desk:
            done = _run(desk, ["check-novalidate", "-s", _SIGNATURE], CHECK_SECONDS, given=True)
            good = _GOOD.fullmatch(done.out.strip())
            if done.code or not good:
                return Checked(fault=f"a signature is not one of this statement{_says(done)}")
            key_type, fingerprint = good.groups()
            if self._allowed is None:
                return Checked(key_type, fingerprint)
            principals, why = self._principals(desk)
            return Checked(key_type, fingerprint, principals, why)

    def _principals(self, desk: Path) -> tuple[tuple[str, ...], str]:
        """Who signed, or why nobody did.

        A key has the names of the first line that it matches; that a name may sign for our purpose, now, is another question.
        """
        found = _run(desk, ["find-principals", "-f", _ALLOWED, "-s", _SIGNATURE], CHECK_SECONDS)
        if found.code:
            return (), found.reason or "it is none of the allowed signers"
        names = [name for name in found.out.splitlines() if not _PATTERN.search(name)]
        if not names:
            return (), "the allowed signers call it by a pattern alone, not by a name"
        outcomes = {name: self._verify(desk, name, self._revoked is not None) for name in names[:MAX_PRINCIPALS]}
        good = tuple(name for name, outcome in outcomes.items() if not outcome.code)
        return good, "" if good else self._refusal(desk, names[0], outcomes[names[0]])

    def _verify(self, desk: Path, principal: str, revoked: bool) -> _Done:
        known = ["-r", _REVOKED] if revoked else []
        return _run(desk, ["verify", "-f", _ALLOWED, "-I", principal, "-s", _SIGNATURE, *known], CHECK_SECONDS, given=True)

    def _refusal(self, desk: Path, principal: str, outcome: _Done) -> str:
        """Of a revoked key ssh-keygen says nothing, so it is asked once more without the list."""
        if self._revoked is not None and not self._verify(desk, principal, False).code:
            return "it is revoked, or the revocation list cannot be read"
        return outcome.reason or "ssh-keygen does not say why"


def check_is_here() -> None:
    """Raises `TrustError` where there is no ``ssh-keygen``."""
    if not shutil.which("ssh-keygen"):
        raise TrustError(
            "ssh-keygen is not here, so nothing can be signed and no signature checked",
            hint="Install OpenSSH's client; on Debian: apt-get install openssh-client",
        )


@dataclass(frozen=True)
class _Done:
    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """What it says went wrong, without the sentence that says no more than that something did."""
        return "; ".join(line for line in self.err.splitlines() if line.strip() and line != "No principal matched.")


@contextmanager
def _desk(files: dict[str, bytes]) -> Iterator[Path]:
    """A directory that nobody else can enter, with these files."""
    with disk_errors(tempfile.gettempdir()):
        directory = tempfile.TemporaryDirectory(prefix="fps-bundle-")
    with directory as name:
        desk = Path(name)
        with disk_errors(desk):
            for file, data in files.items():
                (desk / file).write_bytes(data)
        yield desk


def _run(desk: Path, arguments: Sequence[str], seconds: float, *, given: bool = False, shown: bool = False) -> _Done:
    """Run ``ssh-keygen -Y``; with ``given`` the message is its input, with ``shown`` its words go to the terminal."""
    check_is_here()
    command, *options = arguments
    # find-principals alone knows no namespace.
    namespace = [] if command == "find-principals" else ["-n", NAMESPACE]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(desk / _MESSAGE if given else os.devnull).open("rb") as message,
    ):
        try:
            code = subprocess.run(
                ["ssh-keygen", "-Y", command, *namespace, *options],
                cwd=desk,
                stdin=message,
                stdout=out,
                stderr=None if shown else err,
                timeout=seconds,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise TrustError(
                f"ssh-keygen -Y {command} did not end within {seconds:.0f} seconds", hint="Run the command again."
            ) from error
        return _Done(code, _beginning(out), _beginning(err))


def _beginning(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MAX_OUTPUT).decode("utf-8", "backslashreplace")


def _says(done: _Done) -> str:
    return f": {done.reason}" if done.reason else ""
