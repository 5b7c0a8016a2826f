"""Where the engine is: as asked for, else by the rules of Docker's own command line."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bundler import ownfiles
from bundler.errors import EngineError, UsageError

DEFAULT = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class Address:
    """An engine's URL, and the directory of the certificates to show and trust there, if any.

    Raises `UsageError` for what is no URL.
    """

    url: str
    certificates: Path | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url if "://" in self.url else f"//{self.url}")
            sound = parts.port is None or bool(parts.hostname)
        except ValueError:  # brackets that do not close, or a port that is none
            sound = False
        if not sound or (self.url.startswith("ssh:") and not parts.hostname):
            raise UsageError(
                f"{self.url!r} is no address of an engine", hint="Write unix://PATH, tcp://HOST:PORT or ssh://USER@HOST:PORT."
            )


def resolve(host: str | None) -> Address:
    """``host``, else ``DOCKER_HOST``, else the context that ``DOCKER_CONTEXT`` or Docker's configuration names.

    Raises `EngineError` for a context that is not there.
    """
    if url := host or os.environ.get("DOCKER_HOST"):
        return _with_environment(url)
    name = os.environ.get("DOCKER_CONTEXT") or _current_context()
    return _with_environment(DEFAULT) if name in ("", "default") else _context(name)


def _with_environment(url: str) -> Address:
    """With the certificates that ``DOCKER_CERT_PATH`` and ``DOCKER_TLS_VERIFY`` speak of; an empty one counts as unset."""
    directory, verify = os.environ.get("DOCKER_CERT_PATH"), bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if url.startswith(("unix:", "ssh:")) or not (directory or verify):
        return Address(url)
    return Address(url, Path(directory) if directory else _configuration(), verify)


def _context(name: str) -> Address:
    identity = hashlib.sha256(name.encode()).hexdigest()
    contexts = _configuration() / "contexts"
    try:
        found = json.loads((contexts / "meta" / identity / "meta.json").read_bytes())["Endpoints"]["docker"]
        url, verify = str(found.get("Host") or DEFAULT), not found.get("SkipTLSVerify")
    except FileNotFoundError:
        raise EngineError(
            f"there is no Docker context {name!r}", hint="`docker context ls` lists them; see DOCKER_CONTEXT."
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError(
            f"the Docker context {name!r} cannot be read: {error}", hint="Make it again: docker context create"
        ) from error
    certificates = contexts / "tls" / identity / "docker"
    return Address(url, certificates if certificates.is_dir() else None, verify)


def _current_context() -> str:
    try:
        return str(json.loads((_configuration() / "config.json").read_bytes()).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _configuration() -> Path:
    directory = os.environ.get("DOCKER_CONFIG")
    return Path(directory) if directory else ownfiles.expanded("~") / ".docker"
