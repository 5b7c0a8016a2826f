"""Replace: run an applied bundle in place of a running container, and go back to that container when it does not get ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from bundler.bundle import read_bundle
from bundler.errors import BundlerError, ModelError, UsageError
from bundler.format import paths
from bundler.format.metadata import Metadata
from bundler.localfs import state_directory
from bundler.ports import Container, Model, ReplacingEngine, Spool, Store
from bundler.streams import Progress
from bundler.trust.admission import Admission
from bundler.verbs import apply as applying
from bundler.verbs import endpoint, managed_containers
from bundler.verbs.apply import ApplyOptions, ApplyResult

Connect = Callable[[Container, float], AbstractContextManager[Model]]
"""Connects to the Migrator of a container, which may take so many seconds to answer."""

SETTLING = 5.0
"""Seconds for which a container without a health check and a Migrator must run."""

_STEP = 0.2
_ATTEMPT = 2.0
"""Seconds after which a Migrator that does not answer is looked for again, in a container that still runs."""


@dataclass(frozen=True)
class ReplaceOptions:
    """How the new container is accepted, and what becomes of mounts."""

    ready_timeout: float = 60
    """Seconds in which the new container must get ready."""
    keep_mounted_state: bool = False
    """Accept mounts at, above or below an export, which hide state of the bundle in the new container."""


@dataclass(frozen=True)
class Replaced:
    """The container that runs now; ``ready`` says how it was recognised as ready, and is empty when it ran already."""

    container: Container
    image_id: str
    previous: str
    ready: str


@dataclass(frozen=True)
class ReplaceResult:
    """The new image, and the new container; None after a dry run."""

    applied: ApplyResult
    replaced: Replaced | None


def replace(
    name: str,
    source: Store,
    engine: ReplacingEngine,
    connect: Connect,
    spool: Spool,
    progress: Progress,
    *,
    admission: Admission,
    options: ApplyOptions | None = None,
    replacing: ReplaceOptions | None = None,
) -> ReplaceResult:
    """Apply the bundle of ``source``, then run its image in place of the container ``name``, with the same run options.

    The replaced container is kept, stopped, as NAME-previous. Before anything is changed, raises `UsageError` for a container
    that may not be replaced, and what `apply.apply` raises. Raises `ModelError` when the new container does not get ready; then
    the old one runs again. A container that runs this image already is left as it is.
    """
    replacing = replacing or ReplaceOptions()
    with _locked(name, engine) as old:
        _check(old, read_bundle(source).metadata, engine, replacing, progress)
        applied = applying.apply(source, engine, spool, progress, admission=admission, options=options)
        if not applied.image_id:
            return ReplaceResult(applied, None)
        if old.running and old.image_id == applied.image_id:
            return ReplaceResult(applied, Replaced(old, applied.image_id, "", ""))
        exports = check_mounts(old, applied.bundle.metadata, keep=replacing.keep_mounted_state)
        progress.stage(f"replacing the container {old.name}")
        image = engine.image(applied.image_id)
        with _advised(old, applied), engine.replaced(old, image, applied.tag, exports) as new:
            ready = wait_until_ready(new, image.labels, engine, connect, replacing.ready_timeout, progress)
    return ReplaceResult(applied, Replaced(engine.container(new.id), image.id, f"{old.name}-previous", ready))


def undo(name: str, engine: ReplacingEngine, connect: Connect, progress: Progress, *, ready_timeout: float) -> Replaced:
    """Run the container NAME-previous in place of the container ``name`` again; the two swap names.

    Raises `ModelError` when it does not get ready; then the other one runs again. Raises `NotFoundError` when there is none.
    """
    with _locked(name, engine) as current:
        progress.stage(f"replacing the container {current.name} by {current.name}-previous")
        with engine.exchanged(current) as old:
            image = engine.image(old.image_id)
            ready = wait_until_ready(old, image.labels, engine, connect, ready_timeout, progress)
    return Replaced(engine.container(old.id), image.id, f"{current.name}-previous", ready)


@contextmanager
def _locked(name: str, engine: ReplacingEngine) -> Iterator[Container]:
    """Lock a container for the block; raises `BusyError` while it is pushed or replaced."""
    found = engine.container(name)
    with state_directory.hold("container", found.id):
        yield engine.container(found.id)


def _check(old: Container, metadata: Metadata, engine: ReplacingEngine, options: ReplaceOptions, progress: Progress) -> None:
    """Check everything about a container that can be checked before its new image is made."""
    check(old)
    check_mounts(old, metadata, keep=options.keep_mounted_state)
    engine.check_replaceable(old)
    if hidden := list(_hidden(old, _exports(metadata))):
        progress.warn(
            f"the state of the bundle is hidden in the new container by what is mounted at {', '.join(map(paths.encode, hidden))}"
        )


def check(old: Container) -> None:
    """Raise an error for a container that another program manages, and for one that would not be kept."""
    managed_containers.check(old)
    if old.auto_remove:
        raise UsageError(
            f"the container {old.name} cannot be replaced: it was started with --rm, and would be removed when it is stopped",
            hint="Start the model without --rm.",
        )
    if old.paused:
        raise ModelError(f"the container {old.name} is paused", hint="Resume it:", command=f"docker unpause {old.name}")


def check_mounts(old: Container, metadata: Metadata, *, keep: bool) -> Sequence[str]:
    """Return the exports; raises `UsageError` for mounts that hide the bundle's state, unless they are to be kept."""
    exports = _exports(metadata)
    if not keep and (hidden := list(_hidden(old, exports))):
        shown = ", ".join(f"{paths.encode(path)} ({old.mounts[path]})" for path in hidden)
        raise UsageError(
            f"the container {old.name} cannot be replaced: the bundle's state would be hidden by its mounts: {shown}",
            hint="Start the model without these mounts, or keep their content in place of the bundle's with --keep-mounted-state.",
        )
    return exports


def _exports(metadata: Metadata) -> Sequence[str]:
    return [paths.decode(export.resolved) for export in metadata.exports]


def _hidden(old: Container, exports: Sequence[str]) -> Iterator[str]:
    """Yield the mounts that hide a path of the bundle; anonymous volumes there are not taken over."""
    for path, kind in old.mounts.items():
        if kind == "tmpfs":
            hides = any(paths.is_within(export, path) for export in exports)
        else:
            hides = path not in old.anonymous_volumes and any(paths.overlap(path, export) for export in exports)
        if hides:
            yield path


def wait_until_ready(
    container: Container, labels: Mapping[str, str], engine: ReplacingEngine, connect: Connect, seconds: float, progress: Progress
) -> str:
    """Wait until a started container is ready, and return by what it was recognised.

    That is its health check; without one its Migrator, where ``labels`` of the image or the ports tell its endpoint; with
    neither, that it runs for a while. Raises `ModelError`, with the container's log, when it ends or the time is over.
    """
    deadline = time.monotonic() + seconds
    with _with_log(container, engine):
        if container.health_check:
            progress.stage(f"waiting for the health check of {container.name}")
            _wait_for_health(container, engine, deadline, seconds)
            return "health check"
        if _has_endpoint(container, labels):
            progress.stage(f"waiting for the Migrator of {container.name}")
            _wait_for_migrator(container, engine, connect, deadline, seconds)
            return "Migrator"
        progress.stage(f"watching {container.name}, which has no health check and no known Migrator")
        _watch(container, engine, min(deadline, time.monotonic() + SETTLING))
        return "running"


def _wait_for_health(container: Container, engine: ReplacingEngine, deadline: float, seconds: float) -> None:
    while (found := _same_run(engine.probed(container), container)).health != "healthy":
        if time.monotonic() > deadline:
            raise ModelError(
                f"the container {container.name} was not healthy within {seconds:g} s: its health check reports"
                f" {found.health or 'nothing'}",
                hint="Read its log, or raise --ready-timeout.",
            )
        time.sleep(_STEP)


def _has_endpoint(container: Container, labels: Mapping[str, str]) -> bool:
    with suppress(ModelError):
        return bool(endpoint.find(container, labels, None))
    return False


def _wait_for_migrator(container: Container, engine: ReplacingEngine, connect: Connect, deadline: float, seconds: float) -> None:
    """Connect until the Migrator answers; the container is looked at in between, because it may have ended."""
    while True:
        found = _same_run(engine.container(container.id), container)
        try:
            with connect(found, min(_ATTEMPT, max(_STEP, deadline - time.monotonic()))) as model:
                model.connect()
        except ModelError as error:
            if time.monotonic() > deadline:
                raise ModelError(
                    f"the container {container.name} was not ready within {seconds:g} s: {error.message}",
                    hint="Read its log, or raise --ready-timeout.",
                ) from error
            time.sleep(_STEP)
            continue
        _same_run(engine.container(container.id), container)
        return


def _watch(container: Container, engine: ReplacingEngine, until: float) -> None:
    while time.monotonic() < until:
        _same_run(engine.container(container.id), container)
        time.sleep(_STEP)
    _same_run(engine.container(container.id), container)


def _same_run(found: Container, started: Container) -> Container:
    """Return a container as it is now; raises `ModelError` when it ended, or was started again, since it was started."""
    if not found.running or found.instance != started.instance:
        raise ModelError(f"the new container {found.name} ended before it was ready", hint="Read its log.")
    return found


@contextmanager
def _with_log(container: Container, engine: ReplacingEngine) -> Iterator[None]:
    """Add the container's log to a `ModelError` of the block."""
    try:
        yield
    except ModelError as error:
        with suppress(BundlerError):
            error.log = engine.logs(container)
        raise


@contextmanager
def _advised(old: Container, applied: ApplyResult) -> Iterator[None]:
    """Say about a failure in the block that the old container is as before, and where the new image is."""
    try:
        yield
    except BundlerError as error:
        if not error.command:
            way = f"; to roll its tag back: fps-bundle undo {applied.tag}" if applied.previous else ""
            state = "runs again" if old.running else "is stopped as before"
            error.hint = f"{error.hint} The old container {old.name} {state}. The new image stays as {applied.tag}{way}".strip()
        raise
