"""Docker's client configuration, a JSON file that Docker and other tools write as well."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundler.errors import AuthorizationError, disk_errors
from bundler.localfs import private_file, state_directory
from bundler.localfs.atomic_file import write_file

_LOCK_WAIT = 30


def path() -> Path:
    """Return its path, in ``$DOCKER_CONFIG`` or in the home directory."""
    return Path(os.environ.get("DOCKER_CONFIG") or private_file.expanded("~") / ".docker") / "config.json"


def load() -> dict[str, Any]:
    """Return the configuration, empty without a file; raises `AuthorizationError` for a damaged file."""
    try:
        # As in Docker, an empty file is an empty configuration.
        content = json.loads(_read() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(str(error)) from error
    if not isinstance(content, dict):
        raise _damaged("it is not a JSON object")
    return content


def _read() -> bytes:
    """Return the content of the file, which may be a symbolic link; never waits at a FIFO."""
    descriptor = os.open(path(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a plain file")
        return file.read()


def table(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object in the configuration; for a missing or other value an empty one."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


@contextmanager
def changing() -> Iterator[dict[str, Any]]:
    """Lock the configuration for changes in the block; it is written if it changed."""
    with state_directory.hold("docker", "config", wait=_LOCK_WAIT):
        config = load()
        before = json.dumps(config)
        yield config
        if json.dumps(config) != before:
            _write(config)


def writable_table(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object in the configuration, creating it if missing; raises `AuthorizationError` for another value."""
    if config.get(name) is None:
        config[name] = {}
    if not isinstance(config[name], dict):
        raise _damaged(f"its {name!r} is not a JSON object")
    found: dict[str, Any] = config[name]
    return found


def _write(config: dict[str, Any]) -> None:
    target = Path(os.path.realpath(path()))  # a symbolic link is kept
    with disk_errors(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(target, json.dumps(config, indent="\t").encode(), 0o600, _owner(target))


def _owner(target: Path) -> tuple[int, int]:
    """Return the owner to keep: under sudo the file still belongs to its user."""
    if os.geteuid() != 0 or not target.exists():
        return -1, -1
    status = target.stat()
    return status.st_uid, status.st_gid


def _damaged(why: str) -> AuthorizationError:
    return AuthorizationError(f"{path()} cannot be read: {why}", hint="Repair or remove the file.")
