"""Capture: from the exported paths of a container that stands still to layers in the local store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from bundler.concurrency.pipeline import Pipeline
from bundler.errors import EngineError, ModelError
from bundler.format import entry_rules, paths, units
from bundler.format import metadata as meta
from bundler.format.compression import Compression
from bundler.format.content import Descriptor
from bundler.format.pack import ExportCount, Packer
from bundler.format.tar import Entry
from bundler.format.whiteouts import Removals
from bundler.ports import Container, Engine, Image, Reader, Spool
from bundler.streams import Progress
from bundler.verbs import pausing
from bundler.verbs.completeness import Expected
from bundler.verbs.estimate import Estimate, estimate
from bundler.verbs.left_behind import Findings, Needs
from bundler.verbs.moment import paused_reader
from bundler.verbs.mounts import ENGINE_FILES, hidden, on_tmpfs
from bundler.verbs.stable_read import UnpausedReader


@dataclass(frozen=True)
class Captured:
    """What a capture gave: the layers, what they hold, and for how many seconds the model stood still."""

    descriptors: Sequence[Descriptor]
    layers: tuple[meta.Layer, ...]
    exports: tuple[meta.Export, ...]
    parents: tuple[meta.Parent, ...]
    removed: tuple[str, ...]
    privileged: tuple[str, ...]
    paused: float
    expected: Estimate | None


@dataclass(frozen=True)
class Plan:
    """What is to be captured: where each exported path really lies, and the topmost of those places."""

    resolved: Mapping[str, str]
    topmost: tuple[str, ...]


def plan(container: Container, reader: Reader, exports: Sequence[str]) -> Plan:
    """Find out where exported paths lie; raises `ModelError` naming all that are missing or not to be had."""
    known: dict[str, str | None] = {}

    def read_link(path: str) -> str | None:
        if path not in known:
            info = reader.stat(path)
            known[path] = info.link_target if info else None
        return known[path]

    resolved = {path: paths.resolve(path, read_link) for path in exports}
    paths.check_exports(resolved.values())
    _refuse(
        [path for path, where in resolved.items() if on_tmpfs(container, where)],
        "lie on a tmpfs, which is gone when the container stops",
        "Have the model keep its state on a disk.",
    )
    _refuse(
        [path for path, where in resolved.items() if where in ENGINE_FILES],
        "are made by the engine for every container anew",
        "Correct the paths that the model's Export returns.",
    )
    _refuse(
        [path for path, where in resolved.items() if reader.stat(where) is None],
        "do not exist",
        "The model's Export must have written them before it returns.",
    )
    return Plan(resolved, tuple(paths.merge(resolved.values())))


def capture(
    container: Container,
    exports: Sequence[str],
    base: Image,
    engine: Engine,
    reader: Reader,
    spool: Spool,
    progress: Progress,
    *,
    pause: bool,
    max_pause: float | None,
    strict: bool,
    allow_empty: bool,
    compression: Compression,
    finished: Callable[[Descriptor, meta.Layer], None],
) -> Captured:
    """Read the exported paths into layers, and find out what the model has deleted out of its base.

    ``base`` is the clean base; it is listed before the model is paused. Raises `ModelError` when the
    exported paths move in between, when what is read is not of one moment, when the pause is expected to
    be longer than ``max_pause`` seconds, with ``strict`` when something that is no state lies in them, and without
    ``allow_empty`` when nothing else does. ``finished`` is told of each layer, from another thread, as soon as its blob is in
    the spool.
    """
    planned = plan(container, reader, exports)
    is_hidden = hidden(container)
    progress.stage("estimating how long this takes")
    expected = estimate(container, planned.topmost, engine, reader, is_hidden, compression)
    pausing.refuse_unappliable(expected)
    pausing.warn_of_small_disk(expected, spool, progress)
    if pause:
        pausing.refuse_long_pause(expected, max_pause)
        pausing.warn_of_long_pause(expected, progress)
        pausing.warn_of_health_check(container, engine.info().name, expected, progress)
    changed = _changed(container, planned, engine, reader)
    progress.stage("listing what the base image has there")
    removals = Removals(listed for listed in engine.listing(base, planned.topmost) if not is_hidden(listed.path))

    def check_unmoved() -> None:
        if plan(container, reader, exports) != planned:
            raise ModelError("the exported paths moved while they were looked at", hint="Run the command again.")

    paused = 0.0
    pipeline = Pipeline()
    packer = Packer(spool.new_blob, planned.topmost, len(base.diff_ids), pipeline, compression, finished)
    needs = Needs(frozenset(planned.topmost))
    sockets: list[str] = []
    try:
        with pipeline:
            if pause:
                with engine.paused(container):
                    started = time.monotonic()
                    check_unmoved()
                    steady = paused_reader(reader, container, planned.topmost, is_hidden, progress)
                    _read(steady, planned, is_hidden, removals, packer, needs, changed, progress, expected)
                    sockets += changed.left_out(container, engine, reader)
                    paused = time.monotonic() - started
            else:
                unpaused = UnpausedReader(reader, is_hidden, check_unmoved, progress)
                _read(unpaused, planned, is_hidden, removals, packer, needs, changed, progress, expected)
                sockets += changed.left_out(container, engine, reader)
            left_out = [*packer.left_out, *sockets]
            if strict:
                _refuse(
                    left_out,
                    "hold FIFOs, sockets or devices, which are not state",
                    "Push without --strict to leave them out.",
                )
            behind = _left_behind(needs, container, base, engine, reader, progress, strict=strict)
            removed = removals.finish()
            if not (removed or allow_empty):
                _refuse_empty(packer.counts, planned)
            for path in removed:
                packer.remove(path)
            descriptors, layers = packer.finish()
    except BaseException:
        if made := packer.discard():
            spool.drop(made)
        raise
    _tell_what_stays(packer.counts, left_out, behind, container, progress)
    return Captured(
        descriptors=descriptors,
        layers=tuple(layers),
        exports=tuple(_describe(given, where, packer.counts, container) for given, where in planned.resolved.items()),
        parents=tuple(
            meta.Parent(path=paths.encode(path), mode=entry.mode, uid=entry.uid, gid=entry.gid)
            for path, entry in sorted(packer.parents.items(), key=lambda item: paths.sort_key(item[0]))
        ),
        removed=tuple(paths.encode(path) for path in removed),
        privileged=tuple(paths.encode(path) for path in packer.privileged),
        paused=paused,
        expected=expected,
    )


def _read(
    reader: Reader,
    planned: Plan,
    is_hidden: Callable[[str], bool],
    removals: Removals,
    packer: Packer,
    needs: Needs,
    changed: Expected,
    progress: Progress,
    expected: Estimate | None,
) -> None:
    """All that leaves the container."""
    above = {directory for top in planned.topmost for directory in paths.ancestors(top)}
    what = units.counted(len(planned.topmost), "exported path")
    progress.stage(f"reading {what}", expected.size if expected and expected.exact else None)
    with closing(reader.entries(planned.topmost)) as entries:
        for entry, content in entries:
            changed.saw(entry.path)
            if entry.path in above:
                packer.add_parent(entry)
            elif is_hidden(entry.path):
                packer.skip(entry.path)
            else:
                _check_kept(entry)
                removals.saw(entry)
                packer.add(entry, content)
                needs.saw(entry)
                progress.advance(entry.size)


def _check_kept(entry: Entry) -> None:
    if why := entry_rules.unkept(entry):
        raise ModelError(
            f"the exported {paths.encode(entry.path)[:500]!r} {why}",
            hint="Have the model set the file's time anew (touch), or use a shorter path.",
        )


def _refuse(faulty: Sequence[str], why: str, hint: str) -> None:
    if faulty:
        shown = ", ".join(paths.encode(path) for path in faulty[:20])
        raise ModelError(f"the model exported paths that {why}: {shown}", hint=hint)


def _refuse_empty(counts: Mapping[str, ExportCount], planned: Plan) -> None:
    """Raise `ModelError` when no export holds state."""
    found = {top: counts[top].without_state for top in planned.topmost}
    if all(found.values()):
        shown = ", ".join(f"{paths.encode(top)} is {what}" for top, what in list(found.items())[:20])
        raise ModelError(
            f"the exported paths hold no state: {shown}",
            hint="Have the model's Export name the files themselves. To push a bundle without state, use --allow-empty.",
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


def _left_behind(
    needs: Needs, container: Container, base: Image, engine: Engine, reader: Reader, progress: Progress, *, strict: bool
) -> Findings:
    """What the exported files need and the bundle lacks; raises `ModelError` for it when ``strict``."""
    try:
        found = needs.find(container, base, engine, reader)
    except EngineError as error:
        if strict:
            raise
        progress.warn(f"not checked whether exported symbolic links lead to what is not exported: {error.message}")
        return Findings()
    if strict and (messages := list(found.messages())):
        raise ModelError(
            "; ".join(messages),
            hint="Have the model's Export name these paths too, or push without --strict to leave them behind.",
        )
    return found


def _changed(container: Container, planned: Plan, engine: Engine, reader: Reader) -> Expected:
    """What an engine's archives must hold; a reader that sees every entry itself needs no such proof."""
    return Expected({} if reader.sees_all else engine.changes(container), planned.topmost, container)


def _tell_what_stays(
    exports: Collection[str], left_out: Sequence[str], behind: Findings, container: Container, progress: Progress
) -> None:
    if left_out:
        shown = ", ".join(paths.encode(path) for path in left_out[:5])
        progress.warn(f"{len(left_out)} FIFOs, sockets or devices are not state and stay behind: {shown}")
    for message in behind.messages():
        progress.warn(message)
    for mount, kind in container.mounts.items():
        if kind != "tmpfs" and any(paths.overlap(mount, top) for top in exports):
            progress.warn(
                f"{mount} is a {kind}: its content is in the bundle, but a mount there hides it when the new image is run"
            )
