"""``fps-bundle apply``"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from typing import Annotated

import typer

from bundler.cli import options


class BaseMatch(Enum):
    """How alike the base must be to the recorded one."""

    exact = "exact"
    version = "version"


def apply(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    base: Annotated[str | None, typer.Option(metavar="IMAGE", help="The clean base image. Default: found by its layers.")] = None,
    base_match: Annotated[
        BaseMatch, typer.Option(help="Take only the very base, or one of the same title, version and vendor.")
    ] = BaseMatch.exact,
    tag: Annotated[
        str | None,
        typer.Option(metavar="NAME:TAG", help="Name of the new image. Default: the base's name, version and the digest."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Take --tag away from an image that fps-bundle did not make.")] = False,
    allow_privileged: options.AllowPrivileged = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify all, find the base, say what would happen, change nothing.")
    ] = False,
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    ignore_signatures: options.IgnoreSignatures = False,
    allow_downgrade: Annotated[
        str | None,
        typer.Option(metavar="WHY", help="Take a bundle that is older than the one before it; the reason is written down."),
    ] = None,
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
    """Put a bundle onto its clean base image, as a new image.

    All of the bundle is fetched and verified before the engine is touched. It must be signed as trust.toml says, and not be older
    than what the same signer's key made of the same image before. The base must be the very image that the bundle was
    made on. Prints the digest of the new image's configuration, which is the
    same on every host, and the engine's ID of the new image.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, gate, wiring
    from bundler.format import reference
    from bundler.stores.layout.local import LocalSpool
    from bundler.verbs import apply as verb
    from bundler.verbs import base_image as bases

    gate.check_reason(allow_downgrade)
    trust = gate.Gate(allowed_signers, revoked, ignore_signatures)
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        link = wiring.Link(plain_http, limit_rate, parallel, timeout, terminal=terminal)
        store = opened.enter_context(wiring.opened(reference.parse(source), link, parts_from))
        bundle = read_bundle(store)
        vouchers = trust.admit(bundle, store, terminal)
        engine = wiring.connect(host)
        recorded, on = bundle.metadata.base, None
        if base_match is BaseMatch.version:
            found, on = bases.find_version(bundle.metadata.model, recorded, engine, base)
        else:
            found = bases.find(recorded, engine, base)
        if on:
            terminal.warn(f"{found.id} is not the base of this bundle, only of the same version; nobody tested this pair")
        name = verb.choose_tag(tag, bundle, found, engine, force=force)
        book = gate.Newest(bundle, vouchers, name, allow_downgrade)
        book.check()
        new_signers = book.new_signers()
        if new_signers:
            terminal.warn(f"no rollback record yet of {', '.join(new_signers)} for {name}: an older bundle would not be noticed")
        result = verb.apply(
            bundle,
            store,
            found,
            name,
            engine,
            LocalSpool(),
            terminal,
            dry_run=dry_run,
            on=on,
            marks=trust.marks(allow_downgrade),
            noted=book.noted,
            allow_privileged=allow_privileged or bool(vouchers),
        )
    base_name = found.names[0] if found.names else found.id
    if json:
        console.result_json(
            {
                "bundle": str(bundle.digest),
                "base": {"id": found.id, "names": list(found.names)},
                "tag": result.tag,
                "configDigest": str(result.config_digest),
                "imageID": result.image_id or None,
                "existed": result.existed,
                "previous": result.previous or None,
                "settings": [change.to_json() for change in result.changes],
                "newSigners": list(new_signers),
                "dryRun": dry_run,
            }
        )
        return
    if dry_run:
        how = "is here already and would be named" if result.existed else "would be made and named"
        terminal.say(f"the bundle is whole and fits {base_name}; the new image {how} {result.tag}")
        console.result(f"config {result.config_digest}")
        return
    how = "was here already" if result.existed else f"is {base_name} with {console.size(bundle.metadata.size)} of state"
    terminal.say(f"{result.tag} {how}; run it: docker run {result.tag}")
    if result.previous:
        terminal.say(f"the image that was {result.tag} is {result.previous} now; swap them: fps-bundle undo {result.tag}")
    console.result(f"config {result.config_digest}")
    console.result(f"image {result.image_id}")
