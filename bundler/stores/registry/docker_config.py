"""Docker's client configuration, a JSON file that Docker, other tools and people write, too."""

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
    """In ``$DOCKER_CONFIG``, or in the home directory."""
    return Path(os.environ.get("DOCKER_CONFIG") or private_file.expanded("~") / ".docker") / "config.json"


def load() -> dict[str, Any]:
    """The configuration, empty where there is none; raises `AuthorizationError` when the file is damaged."""
    try:
        # As for Docker, a file without a byte is an empty configuration.
        content = json.loads(_read() or b"{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(str(error)) from error
    if not isinstance(content, dict):
        raise _damaged("it is no JSON object")
    return content


def _read() -> bytes:
    """What is in the file, which may be a link to one; never waits at a FIFO."""
    descriptor = os.open(path(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a plain file")
        return file.read()


def table(config: dict[str, Any], name: str) -> dict[str, Any]:
    """An object in the configuration; where there is none, or something else, an empty one."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


@contextmanager
def changing() -> Iterator[dict[str, Any]]:
    """The configuration, to be changed in the block, while other processes of ours wait; it is written when it has changed."""
    with state_directory.hold("docker", "config", wait=_LOCK_WAIT):
        config = load()
        before = json.dumps(config)
        yield config
        if json.dumps(config) != before:
            _write(config)


def writable_table(config: dict[str, Any], name: str) -> dict[str, Any]:
    """An object in the configuration, which is made where there is none; raises `AuthorizationError` for something else."""
    if config.get(name) is None:
        config[name] = {}
    if not isinstance(config[name], dict):
        raise _damaged(f"its {name!r} is no JSON object")
    found: dict[str, Any] = config[name]
    return found


def _write(config: dict[str, Any]) -> None:
    target = Path(os.path.realpath(path()))  # a symbolic link stays one
    with disk_errors(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(target, json.dumps(config, indent="\t").encode(), 0o600, _owner(target))


def _owner(target: Path) -> tuple[int, int]:
    """Under sudo the file stays its user's."""
    if os.geteuid() != 0 or not target.exists():
        return -1, -1
    status = target.stat()
    return status.st_uid, status.st_gid


def _damaged(why: str) -> AuthorizationError:
    return AuthorizationError(f"{path()} cannot be read: {why}", hint="Mend or remove the file.")
