"""Doctor: check what the verbs need on this host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundler.errors import BundlerError, EngineError, IntegrityError, NoSpaceError, disk_errors
from bundler.ports import Engine

LITTLE_SPACE = 1 << 30
"""Free bytes below which a disk is reported."""


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``hint`` tells how to fix what is not ``ok``."""

    what: str
    ok: bool
    found: str
    hint: str = ""
    exit_code: int = 0


class LeftPaused(Protocol):
    """A container that an interrupted run left paused on ``host``, which is empty when it is unknown."""

    @property
    def journal(self) -> Path: ...
    @property
    def host(self) -> str: ...
    @property
    def container(self) -> str: ...


def examine(
    connect: Callable[[], Engine],
    store: Path,
    credentials: Callable[[], str],
    trust: Callable[[], str],
    paused: Callable[[], Iterable[LeftPaused]],
    deep: Callable[[], Sequence[str]] | None = None,
) -> list[Finding]:
    """Check the engine, disks, local store, credentials, allowed signers and paused containers; errors become findings.

    ``paused`` is called after ``connect``, which cleans up what it can. ``deep`` reads the local store and returns its faults.
    """
    findings = []
    try:
        info = connect().info()
        findings.append(Finding("engine", True, f"{info.name} {info.version}, {info.image_store} image store"))
        if info.root:
            findings += _on_disk(lambda: [_space("engine's disk", Path(info.root))], "engine's disk")
    except BundlerError as error:
        findings.append(_wrong("engine", error))
    findings += _on_disk(lambda: [_writable(store), _space("local store's disk", store)], "local store")
    findings += [_checked("registry credentials", credentials), _checked("allowed signers", trust)]
    try:
        findings += [_paused(left) for left in paused()]
    except BundlerError as error:
        findings.append(_wrong("paused containers", error))
    return findings + (_damaged(store, deep) if deep else [])


def _damaged(store: Path, deep: Callable[[], Sequence[str]]) -> list[Finding]:
    what = "local store's content"
    try:
        faults = deep()
    except BundlerError as error:
        return [_wrong(what, error)]
    hint = "Copy the bundle here again, which replaces damaged blobs, or push the model again."
    wrong = [Finding(what, False, f"{fault}.", hint, IntegrityError.exit_code) for fault in faults]
    return wrong or [Finding(what, True, f"every blob in {store} is verified")]


def _on_disk(check: Callable[[], list[Finding]], what: str) -> list[Finding]:
    """Return the findings about a disk, or the error."""
    try:
        with disk_errors(what):
            return check()
    except BundlerError as error:
        return [_wrong(what, error)]


def _paused(left: LeftPaused) -> Finding:
    name = left.container[:12]
    if left.host:
        found, hint = f"on {left.host}, by an interrupted run.", f"Resume it: fps-bundle doctor --host {left.host}"
    else:
        found, hint = "possibly; its journal is damaged.", f"Check the container and resume it, then delete {left.journal}"
    return Finding("container left paused", False, f"{name} {found}", hint, EngineError.exit_code)


def _writable(store: Path) -> Finding:
    existing = _existing(store)
    if os.access(existing, os.W_OK | os.X_OK):
        return Finding("local store", True, str(store) if store.exists() else f"{store}, created on first use")
    return Finding("local store", False, f"{existing} is not writable.", "Set FPS_BUNDLE_STORE to a writable directory.", 5)


def _space(what: str, path: Path) -> Finding:
    free = shutil.disk_usage(_existing(path)).free
    if free < LITTLE_SPACE:
        return Finding(what, False, f"{free >> 20} MiB free at {path}.", "Free some space there.", NoSpaceError.exit_code)
    return Finding(what, True, f"{free >> 30} GiB free at {path}")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _checked(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, check())
    except BundlerError as error:
        return _wrong(what, error)


def _wrong(what: str, error: BundlerError) -> Finding:
    return Finding(what, False, f"{error.message}.", f"{error.hint} {error.command}".strip(), error.exit_code)
