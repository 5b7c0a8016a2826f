"""``fps-bundle ingest``"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options
from bundler.ports import RunOptions

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.cli.wiring import Link
    from bundler.ports import Engine
    from bundler.trust.admission import Admission
    from bundler.verbs.ingest import Connect, IngestResult, OldBundle, OldContainer
    from bundler.verbs.push import PushResult


Push = Annotated[
    str | None, typer.Option("--push", metavar="DEST", help="Also push the new model as a bundle, as `fps-bundle push` does.")
]
Export = Annotated[bool, typer.Option(help="Call Export of a running old model first, so that it writes its memory to disk.")]
IdleTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0,
        max=options.MAX_SECONDS,
        callback=options.checked_seconds,
        help="Longest time between two requests of the new model.",
    ),
]
Network = Annotated[str, typer.Option(metavar="NETWORK", help="Network of the new container, as in docker run.")]
Memory = Annotated[
    str,
    typer.Option(metavar="SIZE", callback=options.checked_memory, help="Memory limit of the new container, as in docker run."),
]
Gpus = Annotated[
    str, typer.Option(metavar="GPUS", callback=options.checked_gpus, help="GPUs of the new container, as in docker run.")
]
Env = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Environment of the new container; repeatable.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the new container if its Ingest fails.")]
Force = Annotated[bool, typer.Option("--force", help="Move --tag also if it names an image that fps-bundle did not make.")]


def ingest(
    old: Annotated[str, typer.Argument(help="The older model: a running or stopped container, or a bundle.")],
    onto: Annotated[str, typer.Option(metavar="IMAGE", help="Clean base image of the newer version.")],
    tag: Annotated[str, typer.Option(metavar="NAME:TAG", help="Tag of the new image.")],
    push: Push = None,
    export: Export = True,
    endpoint: options.Endpoint = None,
    port: options.Port = None,
    wait: options.Wait = 30,
    export_timeout: options.ExportTimeout = 600,
    idle_timeout: IdleTimeout = 600,
    network: Network = "",
    memory: Memory = "",
    gpus: Gpus = "",
    env: Env = None,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    allow_privileged: options.AllowPrivileged = False,
    keep: Keep = False,
    force: Force = False,
    host: options.Host = None,
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    parallel: options.Parallel = 3,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Bring the state of an older model onto a newer base image, by the requests of the newer model.

    A container of the new base is started, and its Migrator's Ingest requests files of the old model, which is only read.
    When Ingest is complete, the container becomes the new image. Prints the digest of its config, and its image ID.
    """
    from bundler.api import stores
    from bundler.cli import console, signatures, wiring
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import ingest as verb

    _check(old)
    terminal = console.Terminal(quiet=quiet)
    link = wiring.Link(plain_http, limit_rate, parallel, timeout, terminal=terminal)
    target = stores.push_target(wiring.push_target(push), link.store_options) if push else None
    seal = signatures.seal(None, terminal) if push else None
    engine = wiring.connect(host)
    ingesting = partial(wiring.migrator, engine, endpoint=endpoint, port=port, wait=wait, deadline=idle_timeout)
    exporting = partial(ingesting, deadline=export_timeout)
    asked = partial(wiring.migrator, engine, endpoint=None, port=None, wait=wait, deadline=export_timeout) if export else None
    admission = partial(signatures.admission, allowed_signers, revoked, ignore_signatures)
    chosen = verb.IngestOptions(RunOptions(network, memory, gpus, tuple(env or ())), keep, force)
    source = _opened(old, engine, link, parts_from, admission, asked, allow_privileged=allow_privileged)
    with terminal:
        result = verb.ingest(source, onto, tag, engine, ingesting, LocalSpool(), terminal, options=chosen)
    pushed = None
    try:
        if target:
            with terminal:
                pushed = verb.push(result, target, engine, exporting, chosen.run, LocalSpool(), terminal, seal)
    finally:
        _report(result, pushed, terminal, json=json)  # the image exists, also when the push failed


def _check(old: str) -> None:
    """Raise `UsageError` for a bundle in a file that cannot be read, before anything else is done."""
    from bundler.cli import wiring
    from bundler.format import reference

    if _is_bundle(old):
        wiring.check_source(reference.parse(old))


@contextmanager
def _opened(
    old: str,
    engine: Engine,
    link: Link,
    parts_from: Sequence[Path] | None,
    admission: Callable[[], Admission],
    asked: Connect | None,
    *,
    allow_privileged: bool,
) -> Iterator[OldContainer | OldBundle]:
    """Find the old container, or open the store of the old bundle during the block."""
    from bundler.api import stores
    from bundler.cli import wiring
    from bundler.format import reference
    from bundler.verbs.ingest import OldBundle, OldContainer

    if not _is_bundle(old):
        yield OldContainer(engine.container(old), asked)
        return
    with wiring.opened(reference.parse(old), link, parts_from) as store:
        stores.look_for_sources_on(engine, store)
        yield OldBundle(store, admission(), allow_privileged)


def _is_bundle(old: str) -> bool:
    """Whether a text is a reference: container names have no colon, slash or at sign, and ``-`` and ``FILE.tar`` are archives."""
    return any(mark in old for mark in ":/@") or old.endswith(".tar") or old == "-"


def _report(result: IngestResult, pushed: PushResult | None, terminal: Terminal, *, json: bool) -> None:
    from bundler.cli import console, displacement
    from bundler.format import paths

    if json:
        console.result_json(
            {
                "tag": result.tag,
                "configDigest": str(result.config_digest),
                "imageID": result.image_id,
                "previous": result.previous or None,
                "copies": [
                    {
                        "source": paths.encode(copied.source),
                        "dest": paths.encode(copied.dest),
                        "entries": copied.entries,
                        "size": copied.size,
                        "leftOut": copied.left_out,
                        "error": copied.error or None,
                    }
                    for copied in result.copied
                ],
                "bundle": str(pushed.bundle.digest) if pushed else None,
                "reference": pushed.where if pushed else None,
                "displaced": displacement.as_json(pushed.displaced) if pushed else None,
            }
        )
        return
    rows = [
        (paths.encode(it.source), paths.encode(it.dest), str(it.entries), console.size(it.size), it.error or _left_out(it.left_out))
        for it in result.copied
    ]
    terminal.table(("source", "destination", "entries", "size", ""), rows)
    if result.previous:
        terminal.say(f"the previous image of {result.tag} is {result.previous}; to roll back: fps-bundle undo {result.tag}")
    terminal.say(f"{result.tag} is the new model; run it: docker run {result.tag}")
    console.result(f"config {result.config_digest}")
    console.result(f"image {result.image_id}")
    if pushed:
        terminal.say(f"pushed {pushed.where}")
        displacement.tell(pushed.where, pushed.displaced, terminal)
        console.result(f"bundle {pushed.bundle.digest}")


def _left_out(count: int) -> str:
    from bundler.format import units

    return f"{units.counted(count, 'special file')} (FIFO, socket or device) left out" if count else ""
