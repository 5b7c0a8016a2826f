"""``fps-bundle verify``"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from bundler.cli import option_groups, options


def verify(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    *,
    signers: option_groups.Signers,
    parts_from: options.PartsFrom = None,
    registry: option_groups.Network,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Verify the contents and signatures of a bundle.

    Names all damaged blobs. A bundle in the local store is recorded as verified, so that `apply` need not verify it again.
    Exit code 8 means a damaged bundle; 9 a bundle that is not trusted on this host, or has a signature of other content.
    If no allowed signers are configured, signatures are shown but not checked.
    """
    from bundler.api import trust, verbs
    from bundler.cli import console, signatures, wiring
    from bundler.format import reference
    from bundler.trust import signing
    from bundler.trust.admission import NO_ALLOWED_SIGNERS

    policy = trust.load_policy(signers.allowed_signers, signers.revoked)
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        store_options = registry.store_options(terminal)
        store = opened.enter_context(wiring.opened(reference.parse(source), store_options, parts_from))
        result = verbs.verify(store, policy=policy, progress=terminal)
        if result.findings.unkept:
            entries = console.counted(result.findings.unkept, "entry", "entries")
            terminal.warn(f"engines would change {entries}: {result.findings.first_unkept}")
    if json:
        content = {"digest": str(result.bundle.digest), "reference": store.where, "whole": True, "refusals": result.refusals}
        shown = [signatures.as_json(signature) for signature in result.signatures]
        console.result_json({**content, "trusted": result.trusted, "signatures": shown})
    else:
        for signature in result.signatures:
            console.result(signatures.describe(signature))
        if not policy.allowed_signers:
            terminal.warn(NO_ALLOWED_SIGNERS)
    signing.refuse(result.refusals, store.where)
    if not json:
        terminal.say(f"{store.where}: contents verified" + (", signature trusted" if policy.allowed_signers else ""))
        console.result(str(result.bundle.digest))
