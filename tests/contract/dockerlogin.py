"""Docker's client configuration and a credential helper, for tests."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

_HELPER = """#!/bin/sh
cd '{directory}'
case "$1" in
store) cat > kept ;;
get) grep -sqF "\\"$(cat)\\"" kept && cat kept || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;
erase) grep -qF "\\"$(cat)\\"" kept && rm kept ;;
esac
"""


def basic(user: str, secret: str) -> dict[str, str]:
    """An entry of ``auths``."""
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


def install_keeper(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper named ``keeper`` that keeps one secret, in the file that is given back."""
    directory.mkdir()
    helper = directory / "docker-credential-keeper"
    helper.write_text(_HELPER.format(directory=directory))
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    return directory / "kept"


def skip_offline() -> None:
    """For what needs programs that may have to be installed."""
    if os.environ.get("FPS_BUNDLE_OFFLINE_TESTS") == "1":
        pytest.skip("FPS_BUNDLE_OFFLINE_TESTS=1")
