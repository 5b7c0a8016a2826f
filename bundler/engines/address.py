"""The engine's address: as requested, else by the rules of the `docker` command."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bundler.errors import EngineError, UsageError
from bundler.localfs import private_file

_SYNTAX = "Use unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST:PORT."

DEFAULT = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Address:
    """An engine's URL, and the directory of the client's and the CA's certificates, if any.

    Raises `UsageError` for an invalid URL.
    """

    url: str
    certificates: Path | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if not _is_valid(self.url):
            raise UsageError(f"{self.url[:200]!r} is not an engine address", hint=_SYNTAX)


def resolve(host: str | None) -> Address:
    """``host``, else ``DOCKER_HOST``, else the context that ``DOCKER_CONTEXT`` or Docker's configuration names.

    Raises `EngineError` for a missing context.
    """
    if host:
        return _with_environment(host)
    if url := os.environ.get("DOCKER_HOST"):
        with _naming("DOCKER_HOST"):
            return _with_environment(url)
    name = os.environ.get("DOCKER_CONTEXT") or _current_context()
    return _with_environment(DEFAULT) if name in ("", "default") else _context(name)


def _is_valid(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # unbalanced brackets, or an invalid port
        return False
    if not url.isprintable() or port == 0:
        return False
    if parts.scheme == "unix":
        return parts.path.startswith("/") and not parts.netloc
    return bool(parts.hostname) and parts.scheme in ("tcp", "http", "https", "ssh")


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Add the source of a wrong value to a `UsageError` of the block."""
    try:
        yield
    except UsageError as error:
        error.message = f"{source}: {error.message}"
        raise


def _with_environment(url: str) -> Address:
    """Add the certificates of ``DOCKER_CERT_PATH`` and ``DOCKER_TLS_VERIFY``; an empty variable counts as unset."""
    directory, verify = os.environ.get("DOCKER_CERT_PATH"), bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if url.startswith(("unix:", "ssh:")) or not (directory or verify):
        return Address(url)
    return Address(url, Path(directory) if directory else _configuration(), verify)


def _context(name: str) -> Address:
    identity = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    contexts = _configuration() / "contexts"
    try:
        endpoint = json.loads((contexts / "meta" / identity / "meta.json").read_bytes())["Endpoints"]["docker"]
        url, verify = str(endpoint.get("Host") or DEFAULT), not endpoint.get("SkipTLSVerify")
    except FileNotFoundError:
        raise EngineError(
            f"there is no Docker context {name[:200]!r}",
            hint="List contexts with `docker context ls`; choose one with `docker context use` or DOCKER_CONTEXT.",
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"cannot read the Docker context {name[:200]!r}: {str(error)[:200]}",
            hint="Create it again with `docker context create`.",
        ) from error
    certificates = contexts / "tls" / identity / "docker"
    with _naming(f"the Docker context {name[:200]!r}"):
        return Address(url, certificates if certificates.is_dir() else None, verify)


def _current_context() -> str:
    try:
        return str(json.loads((_configuration() / "config.json").read_bytes()).get("currentContext") or "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def _configuration() -> Path:
    directory = os.environ.get("DOCKER_CONFIG")
    return Path(directory) if directory else private_file.expanded("~") / ".docker"
