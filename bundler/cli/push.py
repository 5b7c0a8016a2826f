"""``fps-bundle push``"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli import named_files, options

if TYPE_CHECKING:
    from bundler.verbs.estimate import Estimate


class Compression(Enum):
    """How much time there is for making a bundle smaller."""

    auto = "auto"
    fast = "fast"
    best = "best"
    none = "none"


class Reader(Enum):
    """The ways in which a container can be read."""

    auto = "auto"
    api = "api"
    direct = "direct"


def _estimate(expected: Estimate | None) -> dict[str, Any] | None:
    """What was expected before the pause, for scripts; sizes are in bytes."""
    if expected is None:
        return None
    return {
        "size": expected.size,
        "withoutHoles": expected.data,
        "entries": expected.entries if expected.exact else None,
        "exact": expected.exact,
        "pauseSeconds": round(expected.seconds, 3),
    }


def push(
    container: Annotated[str, typer.Argument(help="The running model: its container's name, ID, or the beginning of one.")],
    dest: Annotated[
        str | None, typer.Argument(help="Where the bundle goes. Default: the local store, under the image's title and version.")
    ] = None,
    endpoint: options.Endpoint = None,
    port: options.Port = None,
    wait: options.Wait = 30,
    export_timeout: options.ExportTimeout = 600,
    pause: Annotated[bool, typer.Option(help="Hold the model still while its files are read.")] = True,
    max_pause: Annotated[
        str | None,
        typer.Option(
            "--max-pause", metavar="DURATION", help="Refuse to pause a model that would be paused for longer, such as 90s or 5m."
        ),
    ] = None,
    reader: Annotated[Reader, typer.Option(help="How to read the files; auto takes the direct way where it can.")] = Reader.auto,
    extended: Annotated[
        bool, typer.Option("--extended", help="Keep nanoseconds and user attributes too, which only the direct reader sees.")
    ] = False,
    compression: Annotated[
        Compression, typer.Option(help="How small the bundle gets, and how long that takes; auto goes by what is worth it.")
    ] = Compression.auto,
    base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The clean base. Default: what the container was started from.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start a stopped container for this, and stop it again.")] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse to leave behind FIFOs, sockets, devices, targets of symbolic links, and journals of databases."
        ),
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Push a bundle without state: of exports that are links, FIFOs, sockets or devices alone."
        ),
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="List what changed in the container outside of the exported paths.")
    ] = False,
    record_hostname: Annotated[bool, typer.Option(help="Record this host's name in the bundle.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the model's state, say what would be sent, and keep and send nothing.")
    ] = False,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=named_files.option,
            help="Sign the bundle with this key before it travels. Default: signing-key of trust.toml.",
        ),
    ] = None,
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
    """Take a running model's state and make it a bundle.

    The model is asked for its state by Export of its Migrator service, stands still while the files
    leave the container, and goes on before the bundle travels. Prints the bundle's digest.
    """
    from bundler.cli import console, displacement, signatures, wiring
    from bundler.cli import dry_run as dry_run_report
    from bundler.errors import UsageError
    from bundler.format import paths, units
    from bundler.format.compression import Compression as How
    from bundler.localfs import state_directory
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import push as verb

    if extended and reader is Reader.api:
        raise UsageError("--extended takes the direct reader", hint="Leave --reader away.")
    if max_pause is not None and not pause:
        raise UsageError("--max-pause makes no sense with --no-pause", hint="Use one of them.")
    longest = units.duration(max_pause) if max_pause is not None else None
    target = wiring.push_target(dest) if dest else None
    engine = wiring.connect(host)
    found = engine.container(container)
    source = engine.image(found.image_id)
    target = target or verb.local_name(found, source)
    chosen = verb.Options(
        pause=pause,
        max_pause=longest,
        reader="extended" if extended else reader.value,
        base=base,
        strict=strict,
        allow_empty=allow_empty,
        audit=audit,
        record_hostname=record_hostname,
        dry_run=dry_run,
        compression=How(compression.value),
    )
    terminal = console.Terminal(quiet=quiet)
    seal = signatures.seal(sign_key, terminal)
    link = wiring.Link(plain_http, limit_rate, parallel, timeout, verify_written, terminal)
    store = wiring.open_target(target, link)
    with (
        terminal,
        state_directory.hold("container", found.id),
        verb.running(found, engine, start=start) as model,
        wiring.migrator(engine, model, endpoint, port, wait=wait, deadline=export_timeout) as migrator,
    ):
        result = verb.push(model, engine, migrator, LocalSpool(), store, terminal, chosen, seal)
    bundle = result.bundle
    if result.planned:
        dry_run_report.show(result.planned, result.where, link.rate, terminal, json=json)
        return
    if json:
        console.result_json(
            {
                "digest": str(bundle.digest),
                "reference": result.where,
                "size": bundle.manifest.size,
                "uncompressedSize": bundle.metadata.size,
                "entries": sum(layer.entries for layer in bundle.metadata.layers),
                "sent": result.sent,
                "unchanged": result.unchanged,
                "displaced": displacement.as_json(result.displaced),
                "pausedSeconds": round(result.paused, 3),
                "estimate": _estimate(result.expected),
                "forgotten": [{"path": paths.encode(it.path), "change": it.change, "size": it.size} for it in result.forgotten],
            }
        )
        return
    for item in result.forgotten:
        console.warn(f"not exported but {item.change}: {paths.encode(item.path)} ({console.size(item.size)})")
    state = f"{console.size(bundle.metadata.size)} of state in {console.size(bundle.manifest.size)}"
    displacement.tell(result.where, result.displaced, terminal)
    done = "unchanged since it was pushed to" if result.unchanged else "pushed"
    terminal.say(f"{done} {result.where}: {state}; the model stood still for {result.paused:.1f} s")
    console.result(str(bundle.digest))
