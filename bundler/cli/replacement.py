"""The options and the output of commands that replace a container."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import options
from bundler.errors import UsageError

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.ports import ReplacingEngine, Store
    from bundler.trust.admission import Admission
    from bundler.verbs.apply import ApplyOptions
    from bundler.verbs.replace import Replaced, ReplaceOptions, ReplaceResult

PANEL = "Replacement of a container"
"""The section of the help that lists these options."""

Replace = Annotated[
    str | None,
    typer.Option(
        "--replace",
        metavar="CONTAINER",
        rich_help_panel=PANEL,
        help="Then run the new image in place of this container, with the same run options. The old one is kept, stopped, as "
        "CONTAINER-previous.",
    ),
]
ReadyTimeout = Annotated[
    float | None,
    typer.Option(
        "--ready-timeout",
        metavar="SECONDS",
        min=1,
        max=options.MAX_SECONDS,
        rich_help_panel=PANEL,
        help="How long the started container may take until its health check succeeds or its Migrator answers. Default: 60. "
        "After that the replaced container runs again.",
    ),
]
KeepMountedState = Annotated[
    bool,
    typer.Option(
        "--keep-mounted-state",
        rich_help_panel=PANEL,
        help="Accept mounts of the container that hide state of the bundle.",
    ),
]


def seconds(ready_timeout: float | None) -> float:
    """Return the timeout, or its default."""
    from bundler.verbs.replace import ReplaceOptions

    return options.checked_seconds(ready_timeout) if ready_timeout is not None else ReplaceOptions.ready_timeout


def chosen(
    container: str | None, ready_timeout: float | None, to: str | None, *, keep_mounted_state: bool
) -> ReplaceOptions | None:
    """Return how to replace a container, or None; raises `UsageError` for options that need --replace, or do not go with it."""
    from bundler.verbs.replace import ReplaceOptions

    if container is not None and to is not None:
        raise UsageError("--replace and --to cannot be combined", hint="--replace runs the image on this engine; omit --to.")
    if container is not None:
        return ReplaceOptions(seconds(ready_timeout), keep_mounted_state)
    if ready_timeout is not None or keep_mounted_state:
        name = "--ready-timeout" if ready_timeout is not None else "--keep-mounted-state"
        raise UsageError(f"{name} needs --replace", hint="Add --replace CONTAINER.")
    return None


def apply(
    source: Store,
    engine: ReplacingEngine,
    container: str | None,
    replacing: ReplaceOptions | None,
    admission: Admission,
    options: ApplyOptions,
    terminal: Terminal,
) -> ReplaceResult:
    """Apply a bundle, and replace a container if one is named."""
    from bundler.api import verbs
    from bundler.verbs.replace import ReplaceResult

    if container is None:
        return ReplaceResult(verbs.apply(source, engine, admission=admission, options=options, progress=terminal), None)
    return verbs.replace(source, container, engine, admission=admission, options=options, replacing=replacing, progress=terminal)


def as_json(replaced: Replaced | None) -> dict[str, Any]:
    """The container that runs now, for scripts."""
    if replaced is None:
        return {"container": None}
    return {
        "container": {
            "name": replaced.container.name,
            "id": replaced.container.id,
            "imageID": replaced.image_id,
            "previous": replaced.previous or None,
            "ready": replaced.ready or None,
        }
    }


def show(replaced: Replaced | None, terminal: Terminal) -> None:
    """Say which container runs now, if one was to be replaced."""
    from bundler.cli import console

    if replaced is None:
        return
    name = replaced.container.name
    if not replaced.ready:
        terminal.say(f"the container {name} runs this image already; it was not replaced")
    else:
        why = {"running": "it runs", "Migrator": "its Migrator answers"}.get(replaced.ready, "it is healthy")
        terminal.say(f"the container {name} was replaced: {why}; the old one is kept as {replaced.previous}")
        terminal.say(f"to swap them: fps-bundle undo --container {name}")
    console.result(f"container {replaced.container.id}")
