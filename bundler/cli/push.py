"""``fps-bundle push``"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import named_files, option_groups, options
from bundler.format.compression_mode import Compression

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.estimate import Estimate
    from bundler.verbs.push import Options, PushResult
    from bundler.verbs.tag_template import TagTemplate


class Reader(Enum):
    """Values of --reader."""

    auto = "auto"
    api = "api"
    direct = "direct"


Container = Annotated[
    str | None,
    typer.Argument(help="Container of the running model: name, ID, or the beginning of an ID. Omit it with --pid."),
]
Dest = Annotated[
    str | None, typer.Argument(help="Destination of the bundle. Default: the local store, under the image's title and version.")
]
Pause = Annotated[bool, typer.Option(help="Pause the model while its files are read.")]
MaxPause = Annotated[
    str | None,
    typer.Option("--max-pause", metavar="DURATION", help="Fail if the expected pause is longer, for example 90s or 5m."),
]
ReaderOption = Annotated[Reader, typer.Option(help="How to read the files; auto uses the direct reader where possible.")]
Extended = Annotated[bool, typer.Option("--extended", help="Keep nanoseconds and user attributes; needs the direct reader.")]
CompressionOption = Annotated[Compression, typer.Option(help="Trade time for a smaller bundle; auto chooses for each content.")]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE",
        help="Clean base image. Default: the image that the container was started from. "
        "With --pid: that image in a registry, oci:DIR or oci-archive:FILE.",
    ),
]
Pid = Annotated[
    int | None,
    typer.Option(
        "--pid",
        metavar="PID",
        min=1,
        help="Push the container of a process on this host, started by any runtime; needs --base and root. No engine is contacted.",
    ),
]
Delta = Annotated[
    bool,
    typer.Option("--delta", help="Send only the differences from the last push to this place, and keep the bundle for the next."),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--tag-template",
        metavar="TEMPLATE",
        help="Make the tag from fields in braces: version, date, time (both UTC), digest, title, hostname. DEST then has no tag.",
    ),
]
Start = Annotated[bool, typer.Option("--start", help="Start a stopped container for the push, and stop it afterwards.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Fail when FIFOs, sockets, devices, targets of symbolic links or journals of databases would be left behind.",
    ),
]
AllowEmpty = Annotated[
    bool,
    typer.Option("--allow-empty", help="Push a bundle without state, when all exports are links, FIFOs, sockets or devices."),
]
Audit = Annotated[bool, typer.Option("--audit", help="List changes in the container outside of the exported paths.")]
RecordHostname = Annotated[bool, typer.Option(help="Record this host's name in the bundle.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read the state and report what would be sent; store and send nothing.")]
SignKey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=named_files.option,
        help="Sign the bundle with this key before it is sent. Default: signing-key of trust.toml.",
    ),
]


@dataclass(frozen=True)
class Capture:
    """How the state is read."""

    pause: Pause = True
    max_pause: MaxPause = None
    reader: ReaderOption = Reader.auto
    extended: Extended = False
    compression: CompressionOption = Compression.AUTO
    strict: Strict = False
    allow_empty: AllowEmpty = False
    audit: Audit = False
    record_hostname: RecordHostname = True
    dry_run: DryRun = False

    def options(self) -> Options:
        """Return them as the verb takes them; raises `UsageError` for those that contradict each other."""
        from bundler.verbs.push import Options

        return Options(
            strict=self.strict,
            allow_empty=self.allow_empty,
            audit=self.audit,
            record_hostname=self.record_hostname,
            dry_run=self.dry_run,
            reader=_checked_reader(self.reader, extended=self.extended),
            compression=self.compression,
            pause=self.pause,
            max_pause=_checked_pause(self.max_pause, pause=self.pause),
        )


def push(
    container: Container = None,
    dest: Dest = None,
    pid: Pid = None,
    *,
    migrator: option_groups.Migrator,
    capture: Capture,
    base: Base = None,
    delta: Delta = False,
    tag_template: Template = None,
    start: Start = False,
    sign_key: SignKey = None,
    verify_written: options.VerifyWritten = None,
    host: options.Host = None,
    registry: option_groups.Transfer,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Push the state of a running model as a bundle.

    The model's Export is called, the container is paused while its files are read, and resumed before the bundle is
    sent. Prints the bundle's digest.

    With --pid the only argument is DEST. The base is read where --base says, and the container is paused by its cgroup.

    With --delta the bundle stays in the local store, and the next push sends only what changed since. One bundle is kept
    for each container and destination. Every command reads such a delta as the bundle, where the earlier bundle is found.
    """
    from bundler.api import engines, stores
    from bundler.cli import console, signatures, wiring
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import push as verb

    named, dest = _checked_source(container, dest, pid, base, capture.reader, host, start=start)
    chosen = replace(capture.options(), base=None if pid else base, template=_checked_template(tag_template, dest))
    target = wiring.push_target(dest) if dest else None
    terminal = console.Terminal(quiet=quiet)
    store_options = registry.store_options(terminal, verify_written=verify_written)
    engine = wiring.connect_process(pid, base, store_options) if pid and base else wiring.connect(host)
    model = engine.container(named)
    target = target or verb.local_name(model, engine.image(model.image_id))
    seal = signatures.seal(sign_key, terminal)
    opened = stores.push_target(target, store_options, delta=delta)
    with (
        terminal,
        verb.running(model, engine, start=start) as running,
        engines.migrator(engine, running, migrator.options()) as connected,
    ):
        result = verb.push(running, engine, connected, LocalSpool(), opened, terminal, chosen, seal)
    _report(result, store_options.rate, terminal, json=json)


def _checked_source(
    container: str | None, dest: str | None, pid: int | None, base: str | None, reader: Reader, host: str | None, *, start: bool
) -> tuple[str, str | None]:
    """The container, or the PID in its place, and the destination; raises `UsageError` for what contradicts --pid."""
    from bundler.errors import UsageError

    if pid is None:
        if container is None:
            raise UsageError("no container named", hint="Name it: fps-bundle push CONTAINER [DEST], or use --pid.")
        return container, dest
    if container is not None and dest is not None:
        raise UsageError(f"--pid names the container already, and {container!r} another one", hint="Omit CONTAINER, or --pid.")
    if base is None:
        raise UsageError(
            "--pid needs --base: no engine is contacted to find the image of the container",
            hint="Name the image in a registry, or write oci:DIR or oci-archive:FILE.",
        )
    for given, option in ((start, "--start"), (host is not None, "--host"), (reader is Reader.api, "--reader api")):
        if given:
            raise UsageError(f"{option} needs an engine, and --pid contacts none", hint=f"Omit {option}.")
    return str(pid), container


def _checked_reader(reader: Reader, *, extended: bool) -> str:
    """The name of the reader; raises `UsageError` for one that does not see extended attributes."""
    from bundler.errors import UsageError

    if extended and reader is Reader.api:
        raise UsageError("--extended needs the direct reader", hint="Omit --reader.")
    return "extended" if extended else reader.value


def _checked_template(text: str | None, dest: str | None) -> TagTemplate | None:
    """The template of the tag; raises `UsageError` for an invalid one, and for a destination that has a tag already."""
    from bundler.errors import UsageError
    from bundler.format import reference
    from bundler.verbs import tag_template

    if text is None:
        return None
    if dest and reference.is_exact(dest, reference.parse(dest)):
        raise UsageError(f"--tag-template contradicts the tag of {dest}", hint="Leave the tag out of DEST.")
    return tag_template.parse(text)


def _checked_pause(max_pause: str | None, *, pause: bool) -> float | None:
    """The longest pause in seconds; raises `UsageError` when it is not one, or the model is not paused at all."""
    from bundler.errors import UsageError
    from bundler.format import units

    if max_pause is None:
        return None
    if not pause:
        raise UsageError("--max-pause contradicts --no-pause", hint="Use one of them.")
    return units.duration(max_pause)


def _report(result: PushResult, rate: int | None, terminal: Terminal, *, json: bool) -> None:
    """Print the result; ``rate`` is the limit of the transfer in bytes per second."""
    from bundler.cli import console, dry_run

    if result.planned:
        dry_run.show(result.planned, result.where, rate, terminal, json=json)
    elif json:
        console.result_json(_as_json(result))
    else:
        _show(result, terminal)


def _show(result: PushResult, terminal: Terminal) -> None:
    """Print the result for humans, with only the digest on stdout."""
    from bundler.cli import console, displacement
    from bundler.format import paths

    bundle = result.bundle
    for item in result.forgotten:
        console.warn(f"not exported but {item.change}: {paths.encode(item.path)} ({console.size(item.size)})")
    state = f"{console.size(bundle.metadata.size)} of state in {console.size(bundle.manifest.size)}"
    displacement.tell(result.where, result.displaced, terminal)
    if result.delta:
        terminal.say(f"sent as a delta of {console.size(result.delta.size)} from {result.delta.source.name}")
    done = "unchanged since it was pushed to" if result.unchanged else "pushed"
    terminal.say(f"{done} {result.where}: {state}; model paused for {result.paused:.1f} s")
    console.result(str(bundle.digest))


def _as_json(result: PushResult) -> dict[str, Any]:
    """The result for scripts; sizes are in bytes."""
    from bundler.cli import displacement
    from bundler.format import paths

    bundle = result.bundle
    return {
        "digest": str(bundle.digest),
        "reference": result.where,
        "size": bundle.manifest.size,
        "uncompressedSize": bundle.metadata.size,
        "entries": sum(layer.entries for layer in bundle.metadata.layers),
        "sent": result.sent,
        "unchanged": result.unchanged,
        "delta": result.delta.to_json() if result.delta else None,
        "displaced": displacement.as_json(result.displaced),
        "pausedSeconds": round(result.paused, 3),
        "estimate": _estimate_as_json(result.expected),
        "forgotten": [{"path": paths.encode(it.path), "change": it.change, "size": it.size} for it in result.forgotten],
    }


def _estimate_as_json(expected: Estimate | None) -> dict[str, Any] | None:
    """The estimate before the pause, for scripts; sizes are in bytes."""
    if expected is None:
        return None
    return {
        "size": expected.size,
        "withoutHoles": expected.data,
        "entries": expected.entries if expected.exact else None,
        "exact": expected.exact,
        "pauseSeconds": round(expected.seconds, 3),
    }
