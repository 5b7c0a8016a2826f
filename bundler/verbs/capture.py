"""Capture: read the exported paths of a container into layers in the local store."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from bundler.concurrency.pipeline import Pipeline
from bundler.errors import EngineError, ModelError
from bundler.format import entry_rules, paths, units
from bundler.format import metadata as meta
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.pack import ExportCount, Packer
from bundler.format.tar import Entry
from bundler.format.whiteouts import Removals
from bundler.ports import Container, Engine, Image, Reader, Spool
from bundler.streams import Progress
from bundler.verbs import pausing
from bundler.verbs.completeness import ExpectedPaths
from bundler.verbs.estimate import Estimate, estimate
from bundler.verbs.left_behind import LeftBehindFiles, Needs
from bundler.verbs.mounts import ENGINE_FILES, hidden, on_tmpfs
from bundler.verbs.paused_read import paused_reader
from bundler.verbs.stable_read import StableReader


@dataclass(frozen=True)
class CaptureOptions:
    """How to capture.

    ``pause`` the model while it is read, unless the pause is expected to exceed ``max_pause`` seconds. ``strict`` refuses
    files that a bundle would leave behind. Without ``allow_empty`` a capture without state is refused.
    """

    pause: bool = True
    max_pause: float | None = None
    strict: bool = False
    allow_empty: bool = False
    compression: Compression = Compression.AUTO


@dataclass(frozen=True)
class Captured:
    """The result of a capture: the layers, what they hold, and for how many seconds the model was paused."""

    descriptors: Sequence[Descriptor]
    layers: tuple[meta.Layer, ...]
    exports: tuple[meta.Export, ...]
    parents: tuple[meta.Parent, ...]
    removed: tuple[str, ...]
    privileged: tuple[str, ...]
    paused: float
    expected: Estimate | None


@dataclass(frozen=True)
class FinishedLayer:
    """A layer whose blob is in the local store."""

    blob: Descriptor
    layer: meta.Layer


@dataclass(frozen=True)
class ResolvedExports:
    """The real location of each exported path, and the topmost of these locations."""

    resolved: Mapping[str, str]
    topmost: tuple[str, ...]


def resolve_exports(container: Container, reader: Reader, exports: Sequence[str]) -> ResolvedExports:
    """Resolve symbolic links in exported paths; raises `ModelError` naming all that are missing or cannot be captured."""
    link_targets: dict[str, str | None] = {}

    def read_link(path: str) -> str | None:
        if path not in link_targets:
            info = reader.stat(path)
            link_targets[path] = info.link_target if info else None
        return link_targets[path]

    resolved = {path: paths.resolve(path, read_link) for path in exports}
    paths.check_exports(resolved.values())
    _refuse(
        [path for path, where in resolved.items() if on_tmpfs(container, where)],
        "lie on a tmpfs, whose content is lost when the container stops",
        "Configure the model to keep its state on a disk.",
    )
    _refuse(
        [path for path, where in resolved.items() if where in ENGINE_FILES],
        "are created by the engine for each container",
        "Correct the paths that the model's Export returns.",
    )
    _refuse(
        [path for path, where in resolved.items() if reader.stat(where) is None],
        "do not exist",
        "Correct the model's Export: it must write these paths before it returns.",
    )
    return ResolvedExports(resolved, tuple(paths.merge(resolved.values())))


class Capture:
    """One capture: `run` reads the state, and another thread can take each layer from `finished_layers` meanwhile."""

    def __init__(
        self,
        container: Container,
        exports: Sequence[str],
        engine: Engine,
        reader: Reader,
        spool: Spool,
        progress: Progress,
        options: CaptureOptions,
    ) -> None:
        self._container = container
        self._given = exports
        self._engine = engine
        self._reader = reader
        self._spool = spool
        self._progress = progress
        self._options = options
        self._is_hidden = hidden(container)
        self._finished: queue.SimpleQueue[FinishedLayer | None] = queue.SimpleQueue()

    def finished_layers(self) -> Iterator[FinishedLayer]:
        """Wait for each layer until its blob is in the local store; ends with `run`. For one consumer."""
        while layer := self._finished.get():
            yield layer

    def run(self, base: AbstractContextManager[Image]) -> Captured:
        """Read the exported paths into layers, and find which paths of the clean ``base`` the model has deleted.

        The base is listed before the model is paused. Raises `ModelError` when the exported paths move in between, when
        a file changes while it is read, and for what the options refuse.
        """
        try:
            with base as image:
                return self._run(image)
        finally:
            self._finished.put(None)

    def _run(self, base: Image) -> Captured:
        exports = resolve_exports(self._container, self._reader, self._given)
        expected = self._estimate(exports)
        changes = {} if self._reader.sees_all else self._engine.changes(self._container)
        self._progress.stage("listing these paths in the base image")
        listing = self._engine.listing(base, exports.topmost)
        removals = Removals(listed for listed in listing if not self._is_hidden(listed.path))
        pipeline = Pipeline()
        packer = Packer(
            self._spool.new_blob, exports.topmost, len(base.diff_ids), pipeline, self._options.compression, self._layer_finished
        )
        intake = _Intake(
            exports,
            self._is_hidden,
            packer,
            removals,
            Needs(frozenset(exports.topmost)),
            ExpectedPaths(changes, exports.topmost, self._container),
        )
        try:
            with pipeline:
                paused, sockets = self._read(intake, expected)
                left_out = [*packer.left_out, *sockets]
                behind = self._find_left_behind(intake.needs, base, left_out)
                removed = removals.finish()
                if not (removed or self._options.allow_empty):
                    _refuse_empty(packer.counts, exports)
                for path in removed:
                    packer.remove(path)
                descriptors, layers = packer.finish()
        except BaseException:
            if blobs := packer.discard():
                self._spool.drop(blobs)
            raise
        _warn_of_left_behind(packer.counts, left_out, behind, self._container, self._progress)
        return Captured(
            descriptors=descriptors,
            layers=tuple(layers),
            exports=tuple(_describe(path, where, packer.counts, self._container) for path, where in exports.resolved.items()),
            parents=_parents(packer),
            removed=tuple(paths.encode(path) for path in removed),
            privileged=tuple(paths.encode(path) for path in packer.privileged),
            paused=paused,
            expected=expected,
        )

    def _layer_finished(self, blob: Descriptor, layer: meta.Layer) -> None:
        self._finished.put(FinishedLayer(blob, layer))

    def _estimate(self, exports: ResolvedExports) -> Estimate | None:
        """Estimate size and pause, and warn or refuse before the model is paused."""
        self._progress.stage("estimating the size of the state")
        expected = estimate(
            self._container, exports.topmost, self._engine, self._reader, self._is_hidden, self._options.compression
        )
        pausing.refuse_unappliable(expected)
        pausing.warn_of_small_disk(expected, self._spool, self._progress)
        if self._options.pause:
            pausing.refuse_long_pause(expected, self._options.max_pause)
            pausing.warn_of_long_pause(expected, self._progress)
            pausing.warn_of_health_check(self._container, self._engine.info().name, expected, self._progress)
        return expected

    def _read(self, intake: _Intake, expected: Estimate | None) -> tuple[float, list[str]]:
        """Read the container, paused or not; return the seconds of the pause, and sockets that the engine left out."""
        exports = intake.exports

        def check_unmoved() -> None:
            if resolve_exports(self._container, self._reader, self._given) != exports:
                raise ModelError("the exported paths moved while they were read", hint="Run the command again.")

        def read(reader: Reader) -> list[str]:
            what = units.counted(len(exports.topmost), "exported path")
            self._progress.stage(f"reading {what}", expected.size if expected and expected.exact else None)
            intake.read(reader, self._progress)
            return intake.expected_paths.left_out(self._container, self._engine, self._reader)

        if not self._options.pause:
            return 0.0, read(StableReader(self._reader, self._is_hidden, check_unmoved, self._progress))
        with self._engine.paused(self._container):
            started = time.monotonic()
            check_unmoved()
            sockets = read(paused_reader(self._reader, self._container, exports.topmost, self._is_hidden, self._progress))
            return time.monotonic() - started, sockets

    def _find_left_behind(self, needs: Needs, base: Image, left_out: Sequence[str]) -> LeftBehindFiles:
        """Find files that the exported ones need and the bundle lacks; with ``strict`` these are refused, as is ``left_out``."""
        strict = self._options.strict
        if strict:
            _refuse(left_out, "hold FIFOs, sockets or devices, which are not state", "Push without --strict to leave them out.")
        try:
            behind = needs.find(self._container, base, self._engine, self._reader)
        except EngineError as error:
            if strict:
                raise
            self._progress.warn(f"targets of exported symbolic links not checked: {error.message}")
            return LeftBehindFiles()
        if strict and (messages := list(behind.messages())):
            raise ModelError(
                "; ".join(messages),
                hint="Add these paths to the model's Export, or push without --strict to leave them behind.",
            )
        return behind


@dataclass(frozen=True)
class _Intake:
    """Takes entries as they are read from a container, and passes each to the parts that need it."""

    exports: ResolvedExports
    is_hidden: Callable[[str], bool]
    packer: Packer
    removals: Removals
    needs: Needs
    expected_paths: ExpectedPaths

    def read(self, reader: Reader, progress: Progress) -> None:
        """Read all entries at, below and above the exports."""
        above = {directory for top in self.exports.topmost for directory in paths.ancestors(top)}
        with closing(reader.entries(self.exports.topmost)) as entries:
            for entry, content in entries:
                self.expected_paths.saw(entry.path)
                if entry.path in above:
                    self.packer.add_parent(entry)
                elif self.is_hidden(entry.path):
                    self.packer.skip(entry.path)
                else:
                    _check_kept(entry)
                    self.removals.saw(entry)
                    self.packer.add(entry, content)
                    self.needs.saw(entry)
                    progress.advance(entry.size)


def _check_kept(entry: Entry) -> None:
    if why := entry_rules.unkept(entry):
        raise ModelError(
            f"the exported {paths.encode(entry.path)[:500]!r} {why}",
            hint="Set the file's time (touch), or use a shorter path.",
        )


def _refuse(faulty: Sequence[str], why: str, hint: str) -> None:
    if faulty:
        shown = ", ".join(paths.encode(path) for path in faulty[:20])
        raise ModelError(f"the model exported paths that {why}: {shown}", hint=hint)


def _refuse_empty(counts: Mapping[str, ExportCount], exports: ResolvedExports) -> None:
    """Raise `ModelError` when no export holds state."""
    reasons = {top: counts[top].without_state for top in exports.topmost}
    if all(reasons.values()):
        shown = ", ".join(f"{paths.encode(top)} is {reason}" for top, reason in list(reasons.items())[:20])
        raise ModelError(
            f"the exported paths hold no state: {shown}",
            hint="Name the files themselves in the model's Export, or use --allow-empty to push a bundle without state.",
        )


def _parents(packer: Packer) -> tuple[meta.Parent, ...]:
    return tuple(
        meta.Parent(path=paths.encode(path), mode=entry.mode, uid=entry.uid, gid=entry.gid)
        for path, entry in sorted(packer.parents.items(), key=lambda item: paths.sort_key(item[0]))
    )


def _describe(given: str, where: str, counts: Mapping[str, ExportCount], container: Container) -> meta.Export:
    count = next(count for top, count in counts.items() if paths.is_within(where, top))
    volume = any(kind != "tmpfs" and paths.is_within(where, mount) for mount, kind in container.mounts.items())
    return meta.Export(
        path=paths.encode(given),
        resolved=paths.encode(where),
        kind=count.kind,
        entries=count.entries,
        size=count.size,
        volume=volume,
    )


def _warn_of_left_behind(
    exports: Collection[str], left_out: Sequence[str], behind: LeftBehindFiles, container: Container, progress: Progress
) -> None:
    if left_out:
        shown = ", ".join(paths.encode(path) for path in left_out[:5])
        progress.warn(f"{len(left_out)} FIFOs, sockets or devices left behind, as they are not state: {shown}")
    for message in behind.messages():
        progress.warn(message)
    for mount, kind in container.mounts.items():
        if kind != "tmpfs" and any(paths.overlap(mount, top) for top in exports):
            progress.warn(f"{mount} is a {kind}: its content is in the bundle, but a mount there hides it when the new image runs")
