"""TLS for registries: the system's certificates, and those configured for Docker and Podman."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests.adapters

from bundler.errors import StoreError
from bundler.localfs import private_file

_HALVES = {".cert": ".key", ".key": ".cert"}


def standard_directories() -> Sequence[Path]:
    """Return the directories that may have a subdirectory named like the registry, the user's first.

    Docker has ``/etc/docker/certs.d`` ("Verify repository client with certificates"), and without root
    ``$XDG_CONFIG_HOME/docker/certs.d`` (moby, ``registry.CertsDir``); Podman has two more (containers-certs.d(5)).
    None of them uses ``$DOCKER_CONFIG``.
    """
    home = private_file.expanded("~") / ".config"
    return (
        Path(os.environ.get("XDG_CONFIG_HOME") or home) / "docker" / "certs.d",
        home / "containers" / "certs.d",
        Path("/etc/docker/certs.d"),
        Path("/etc/containers/certs.d"),
    )


def context(registry: str, directories: Sequence[Path] | None = None) -> ssl.SSLContext:
    """Return the TLS context for ``HOST[:PORT]``, with the files in its subdirectory of each given directory.

    Every ``X.crt`` is an additional CA, and ``X.cert`` with ``X.key`` a client certificate. Docker tries several client
    certificates in turn; this uses the first by name, of the first directory that has one. Raises `StoreError` for an
    invalid file.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Docker, an intermediate CA is enough
    made.load_default_certs()
    places = standard_directories() if directories is None else directories
    found = [path for place in places for path in _files(place / registry)]
    _trust(made, found)
    _identify(made, found)
    return made


class Adapter(requests.adapters.HTTPAdapter):
    """Gives a requests session this TLS context, also through a proxy."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **options)


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}", hint="Make it a readable directory.") from error


def _trust(made: ssl.SSLContext, files: Sequence[Path]) -> None:
    for path in files:
        if path.suffix == ".crt":
            with _readable(path, "one or more certificates"):
                made.load_verify_locations(path)


def _identify(made: ssl.SSLContext, files: Sequence[Path]) -> None:
    for certificate, key in list(_pairs(files))[:1]:
        with _readable(certificate, f"a certificate, with its key without a passphrase in {key.name}"):
            made.load_cert_chain(certificate, key, password=_no_passphrase)


def _pairs(files: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield the client certificates with their keys; raises `StoreError` for one without the other."""
    for path in files:
        if path.suffix not in _HALVES:
            continue
        other = path.with_suffix(_HALVES[path.suffix])
        if other not in files:
            raise StoreError(
                f"{path} needs {other.name} beside it",
                hint=f"Add {other.name}, or remove {path.name}; the name of a CA certificate ends in .crt.",
            )
        if path.suffix == ".cert":
            yield path, other


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    hint = f"Make it a readable PEM file of {what}."
    if path.exists() and not path.is_file():  # OpenSSL would wait at a FIFO
        raise StoreError(f"{path} is not a plain file", hint=hint)
    try:
        yield
    except ssl.SSLError as error:
        raise StoreError(f"{path} cannot be used: {_reason(error)}", hint=hint) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}", hint=hint) from error


def _reason(error: ssl.SSLError) -> str:
    return error.reason.lower().replace("_", " ") if error.reason else "it is damaged, or not a PEM file"


def _no_passphrase() -> str:
    """Return an empty passphrase, so that OpenSSL does not prompt on the terminal."""
    return ""
