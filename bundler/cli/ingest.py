"""``fps-bundle ingest``"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.cli.console import Terminal
    from bundler.cli.gate import Gate
    from bundler.cli.wiring import Link
    from bundler.ports import Engine
    from bundler.verbs.ingest import Connect, IngestResult, Old
    from bundler.verbs.push import PushResult


def ingest(
    old: Annotated[str, typer.Argument(help="The older model: a container, running or stopped, or a bundle.")],
    onto: Annotated[str, typer.Option(metavar="IMAGE", help="The clean base image of the newer version.")],
    tag: Annotated[str, typer.Option(metavar="NAME:TAG", help="Name of the new image.")],
    push: Annotated[
        str | None, typer.Option("--push", metavar="DEST", help="Push the new model as a bundle, too, as `fps-bundle push` does.")
    ] = None,
    export: Annotated[bool, typer.Option(help="Have a running old model write its memory to disk first, by its Export.")] = True,
    endpoint: options.Endpoint = None,
    port: options.Port = None,
    wait: options.Wait = 30,
    export_timeout: options.ExportTimeout = 600,
    idle_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            max=options.MAX_SECONDS,
            callback=options.checked_seconds,
            help="Seconds for which the new model may ask for nothing before it is given up.",
        ),
    ] = 600,
    network: Annotated[str, typer.Option(help="Network of the new container, as in docker run.")] = "",
    memory: Annotated[
        str, typer.Option(callback=options.checked_memory, help="Memory limit of the new container, as in docker run.")
    ] = "",
    gpus: Annotated[str, typer.Option(callback=options.checked_gpus, help="GPUs of the new container, as in docker run.")] = "",
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Environment of the new container; repeatable.")
    ] = None,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    allow_privileged: options.AllowPrivileged = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the new container for a look when its Ingest fails.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take --tag away from an image that fps-bundle did not make.")] = False,
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
    """Bring an older model's state onto a newer base image, by the newer model's own requests.

    A container of the new base is started, and its Migrator's Ingest asks for files of the old model, which is only
    read. When it is content, the container becomes the new image. Prints its configuration's digest and its ID.
    """
    from bundler.cli import console, gate, wiring
    from bundler.format import reference
    from bundler.localfs import state_directory
    from bundler.ports import RunOptions
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import image_tags
    from bundler.verbs import ingest as verb

    if _is_bundle(old):
        wiring.check_source(reference.parse(old))
    terminal = console.Terminal(quiet=quiet)
    link = wiring.Link(plain_http, limit_rate, parallel, timeout, terminal=terminal)
    target = wiring.open_target(wiring.push_target(push), link) if push else None
    seal = gate.seal(None, terminal) if push else None
    trust = gate.Gate(allowed_signers, revoked, ignore_signatures)
    engine = wiring.connect(host)
    new_base = engine.image(onto)
    verb.check_onto(new_base)
    name = image_tags.check(tag, engine, force=force)
    run = RunOptions(network=network, memory=memory, gpus=gpus, environment=tuple(env or ()))
    asked = partial(wiring.migrator, engine, endpoint=None, port=None, wait=wait, deadline=export_timeout)
    ingesting = partial(wiring.migrator, engine, endpoint=endpoint, port=port, wait=wait, deadline=idle_timeout)
    exporting = partial(wiring.migrator, engine, endpoint=endpoint, port=port, wait=wait, deadline=export_timeout)

    with (
        terminal,
        state_directory.hold("image", name.replace("/", "_")),
        _old(
            old, engine, asked if export else None, link, parts_from, trust, terminal, allow_privileged=allow_privileged
        ) as source,
    ):
        result = verb.ingest(source, new_base, name, engine, ingesting, run, terminal, keep=keep, marks=trust.marks())
    pushed = None
    try:
        if target:
            with terminal:
                pushed = verb.push(result, target, engine, exporting, run, LocalSpool(), terminal, seal)
    finally:
        _tell(result, pushed, terminal, json=json)  # the image stands, whatever became of the bundle


@contextmanager
def _old(
    named: str,
    engine: Engine,
    connect: Connect | None,
    link: Link,
    parts_from: Sequence[Path] | None,
    trust: Gate,
    terminal: Terminal,
    *,
    allow_privileged: bool,
) -> Iterator[AbstractContextManager[Old]]:
    """What files are taken from; a container of that is ours alone for the length of the block."""
    from bundler.bundle import read_bundle
    from bundler.cli import wiring
    from bundler.format import reference
    from bundler.localfs import state_directory
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import ingest as verb

    if _is_bundle(named):
        with wiring.opened(reference.parse(named), link, parts_from) as store:
            bundle = read_bundle(store)
            allowed = bool(trust.admit(bundle, store, terminal)) or allow_privileged
            yield verb.bundle(bundle, store, engine, LocalSpool(), terminal, allow_privileged=allowed)
        return
    found = engine.container(named)
    with state_directory.hold("container", found.id):
        yield verb.container(found, engine, connect, terminal)


def _is_bundle(old: str) -> bool:
    """No container's name is a dash, or has a colon, a slash or an at sign; a file that ends in .tar is a bundle everywhere."""
    return any(mark in old for mark in ":/@") or old.endswith(".tar") or old == "-"


def _tell(result: IngestResult, pushed: PushResult | None, terminal: Terminal, *, json: bool) -> None:
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
        terminal.say(f"the image that was {result.tag} is {result.previous} now; swap them: fps-bundle undo {result.tag}")
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
