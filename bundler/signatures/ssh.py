"""SSH signatures, made and checked by the system's ``ssh-keygen`` (OpenSSH, PROTOCOL.sshsig); it alone decides validity.

Its input and output are in a private temporary directory, so that no other user can change them between two calls.
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
"""Namespace of the signatures; ssh-keygen refuses signatures of another one."""

SIGN_SECONDS = 300
"""Seconds to enter a passphrase, or to touch a hardware key."""
CHECK_SECONDS = 60
MAX_OUTPUT = 64 << 10
"""Bytes of ssh-keygen's output that are read at most."""
MAX_PRINCIPALS = 32
"""Largest number of principals of one key that are tried."""

_MESSAGE, _SIGNATURE, _ALLOWED, _REVOKED = "statement", "statement.sig", "allowed_signers", "revoked"
_GOOD = re.compile(rf'Good "{NAMESPACE}" signature (?:for .+ )?with (\S+) key (SHA256:[A-Za-z0-9+/]+)')
_PATTERN = re.compile(r"[*?!]")


class SshSigner:
    """A key: a private key's file, or the public key's file of one in an agent or a hardware token."""

    def __init__(self, key: Path) -> None:
        self._key = key.absolute()

    def sign(self, message: bytes) -> bytes:
        if self._key.exists() and not self._key.is_file():  # ssh-keygen would block on a FIFO
            raise TrustError(f"the key {self._key} is not a regular file", hint="Name a private key, or a public key.")
        with _private_directory({_MESSAGE: message}) as directory:
            # On a terminal ssh-keygen prompts the user itself: a hardware key must be touched.
            done = _run(directory, ["sign", "-q", "-f", str(self._key), _MESSAGE], SIGN_SECONDS, shown=sys.stderr.isatty())
            if done.code:
                raise TrustError(
                    f"ssh-keygen cannot sign with {self._key}{_reason(done)}",
                    hint="Name a private key, or the public key of one in ssh-agent; list them with `ssh-add -L`.",
                )
            with disk_errors(directory):
                return (directory / _SIGNATURE).read_bytes()


class SshVerifier:
    """Allowed signers in OpenSSH's format, and a revocation list (a KRL, or public keys); without them every key is unknown."""

    def __init__(self, allowed_signers: bytes | None = None, revoked: bytes | None = None) -> None:
        self._allowed = allowed_signers
        self._revoked = revoked

    def check(self, message: bytes, signature: bytes) -> Checked:
        files = {_MESSAGE: message, _SIGNATURE: signature, _ALLOWED: self._allowed, _REVOKED: self._revoked}
        with _private_directory({name: data for name, data in files.items() if data is not None}) as directory:
            why = ""
            if self._allowed is not None:
                accepted, why = self._accepted(directory)
                if accepted:
                    return accepted
            done = _run(directory, ["check-novalidate", "-s", _SIGNATURE], CHECK_SECONDS, given=True)
            good = _good(done)
            if not good:
                return Checked(fault=f"the signature does not match the statement{_reason(done)}")
            return Checked(*good, (), why)

    def _accepted(self, directory: Path) -> tuple[Checked | None, str]:
        """Return a good signature with the principals that signed, or why the key is not accepted.

        ``find-principals`` gives the names of the first line that matches the key. Whether the signature matches, and whether
        a name may sign in our namespace, now, is checked by ``verify``.
        """
        matches = _run(directory, ["find-principals", "-f", _ALLOWED, "-s", _SIGNATURE], CHECK_SECONDS)
        if matches.code:
            return None, matches.reason or "it is not an allowed signer"
        names = [name for name in matches.out.splitlines() if not _PATTERN.search(name)]
        if not names:
            return None, "the allowed signers list it by a pattern only, not by a name"
        outcomes = {name: self._verify(directory, name, self._revoked is not None) for name in names[:MAX_PRINCIPALS]}
        verified = {name: good for name, outcome in outcomes.items() if (good := _good(outcome))}
        if not verified:
            return None, self._refusal(directory, names[0], outcomes[names[0]])
        return Checked(*next(iter(verified.values())), tuple(verified)), ""

    def _verify(self, directory: Path, principal: str, revoked: bool) -> _Done:
        revocation = ["-r", _REVOKED] if revoked else []
        return _run(
            directory, ["verify", "-f", _ALLOWED, "-I", principal, "-s", _SIGNATURE, *revocation], CHECK_SECONDS, given=True
        )

    def _refusal(self, directory: Path, principal: str, outcome: _Done) -> str:
        """Return why a key is refused; ssh-keygen gives no reason for a revoked key, so it is called again without the list."""
        if self._revoked is not None and not self._verify(directory, principal, False).code:
            return "it is revoked, or the revocation list cannot be read"
        return outcome.reason or "ssh-keygen gives no reason"


def check_is_here() -> None:
    """Raises `TrustError` if ``ssh-keygen`` is not installed."""
    if not shutil.which("ssh-keygen"):
        raise TrustError(
            "cannot sign or check signatures: ssh-keygen is not installed",
            hint="Install OpenSSH's client, on Debian with `apt-get install openssh-client`.",
        )


@dataclass(frozen=True)
class _Done:
    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The error output, without a line that gives no reason."""
        return "; ".join(line for line in self.err.splitlines() if line.strip() and line != "No principal matched.")


@contextmanager
def _private_directory(files: dict[str, bytes]) -> Iterator[Path]:
    """Create a private temporary directory with these files."""
    with disk_errors(tempfile.gettempdir()):
        temporary = tempfile.TemporaryDirectory(prefix="fps-bundle-")
    with temporary as name:
        directory = Path(name)
        with disk_errors(directory):
            for file, data in files.items():
                (directory / file).write_bytes(data)
        yield directory


def _run(directory: Path, arguments: Sequence[str], seconds: float, *, given: bool = False, shown: bool = False) -> _Done:
    """Run ``ssh-keygen -Y``; with ``given`` the message is its input, with ``shown`` its messages go to the terminal."""
    check_is_here()
    command, *options = arguments
    # find-principals alone has no namespace option.
    namespace = [] if command == "find-principals" else ["-n", NAMESPACE]
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(directory / _MESSAGE if given else os.devnull).open("rb") as message,
    ):
        try:
            code = subprocess.run(
                ["ssh-keygen", "-Y", command, *namespace, *options],
                cwd=directory,
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


def _good(done: _Done) -> tuple[str, str] | None:
    """The key type and the fingerprint that ssh-keygen gives for a good signature."""
    found = None if done.code else _GOOD.fullmatch(done.out.strip())
    return (found[1], found[2]) if found else None


def _reason(done: _Done) -> str:
    return f": {done.reason}" if done.reason else ""
