"""``fps-bundle push``"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import named_files, options
from bundler.format.compression_mode import Compression

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.verbs.estimate import Estimate
    from bundler.verbs.push import PushResult
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
        help="Push the container of a process on this host, started by any runtime; needs --base, and root. No engine is asked.",
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
        help="Make the tag from {version}, {date}, {time}, {digest}, {title} and {hostname}, as in '{version}-{date}'. "
        "DEST then has no tag.",
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


def push(
    container: Container = None,
    dest: Dest = None,
    pid: Pid = None,
    endpoint: options.Endpoint = None,
    port: options.Port = None,
    wait: options.Wait = 30,
    export_timeout: options.ExportTimeout = 600,
    pause: Pause = True,
    max_pause: MaxPause = None,
    reader: ReaderOption = Reader.auto,
    extended: Extended = False,
    compression: CompressionOption = Compression.AUTO,
    base: Base = None,
    delta: Delta = False,
    tag_template: Template = None,
    start: Start = False,
    strict: Strict = False,
    allow_empty: AllowEmpty = False,
    audit: Audit = False,
    record_hostname: RecordHostname = True,
    dry_run: DryRun = False,
    sign_key: SignKey = None,
    verify_written: options.VerifyWritten = None,
    limit_rate: options.LimitRate = None,
    parallel: options.Parallel = 3,
    timeout: options.Timeout = 60,
    host: options.Host = None,
    plain_http: options.PlainHttp = False,
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
    from bundler.api import stores
    from bundler.cli import console, signatures, wiring
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import push as verb

    chosen = verb.Options(
        base=None if pid else base,
        strict=strict,
        allow_empty=allow_empty,
        audit=audit,
        record_hostname=record_hostname,
        dry_run=dry_run,
    )
    longest, reads = _checked_pause(max_pause, pause=pause), _checked_reader(reader, extended=extended)
    chosen = replace(chosen, reader=reads, compression=compression, pause=pause, max_pause=longest)
    named, dest = _checked_source(container, dest, pid, base, reader, host, start=start)
    chosen = replace(chosen, template=_checked_template(tag_template, dest))
    target = wiring.push_target(dest) if dest else None
    terminal = console.Terminal(quiet=quiet)
    link = wiring.Link(plain_http, limit_rate, parallel, timeout, verify_written, terminal)
    engine = wiring.connect_process(pid, base, link) if pid and base else wiring.connect(host)
    model = engine.container(named)
    target = target or verb.local_name(model, engine.image(model.image_id))
    seal = signatures.seal(sign_key, terminal)
    opened = stores.push_target(target, link.store_options, delta=delta)
    connect = partial(wiring.migrator, engine, endpoint=endpoint, port=port, wait=wait, deadline=export_timeout)
    with terminal, verb.running(model, engine, start=start) as running, connect(running) as migrator:
        result = verb.push(running, engine, migrator, LocalSpool(), opened, terminal, chosen, seal)
    _report(result, link.rate, terminal, json=json)


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
            "--pid needs --base: no engine is asked for the image of the container",
            hint="Name the image in a registry, or write oci:DIR or oci-archive:FILE.",
        )
    for given, option in ((start, "--start"), (host is not None, "--host"), (reader is Reader.api, "--reader api")):
        if given:
            raise UsageError(f"{option} needs an engine, and with --pid none is asked", hint=f"Omit {option}.")
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
