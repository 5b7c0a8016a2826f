"""``fps-bundle verify``"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from bundler.cli import options


def verify(
    source: Annotated[str, typer.Argument(help="The bundle.")],
    allowed_signers: options.AllowedSigners = None,
    revoked: options.Revoked = None,
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Verify the contents and signatures of a bundle.

    Names all damaged blobs. A bundle in the local store is recorded as verified, so that `apply` need not verify it again.
    Exit code 8 means a damaged bundle; 9 a bundle that is not trusted on this host, or has a signature of other content.
    If no allowed signers are configured, signatures are shown but not checked.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, gate, wiring
    from bundler.format import reference
    from bundler.stores.layout.local import LocalSpool
    from bundler.trust import signing
    from bundler.trust.policy import check
    from bundler.verbs import damage
    from bundler.verbs import verify as verb

    named = reference.parse(source)
    policy = gate.Gate(allowed_signers, revoked).policy()
    with console.Terminal(quiet=quiet) as terminal, ExitStack() as opened:
        link = wiring.Link(plain_http, limit_rate, timeout=timeout, terminal=terminal)
        store = opened.enter_context(wiring.opened(named, link, parts_from))
        manifest = store.resolve()
        with damage.named(store, terminal, manifest):
            bundle = read_bundle(store, manifest)
            signatures = signing.find(bundle, store, gate.verifier(policy))
            findings = verb.verify(bundle, store, terminal)
            signing.read_referrers(bundle, store)
        if findings.unkept:
            entries = console.counted(findings.unkept, "entry", "entries")
            terminal.warn(f"engines would change {entries}: {findings.first_unkept}")
        if isinstance(named, reference.LocalReference):
            verb.note(bundle, findings, LocalSpool())
    refusals = check(policy, bundle.metadata.model.title, signatures)
    refusals = refusals or [signature.fault for signature in signatures if signature.wrong]
    if json:
        content = {"digest": str(bundle.digest), "reference": store.where, "whole": True, "refusals": refusals}
        trusted = not refusals if policy.allowed_signers else None
        console.result_json({**content, "trusted": trusted, "signatures": [gate.as_json(signature) for signature in signatures]})
    else:
        for signature in signatures:
            console.result(gate.described(signature))
        if not policy.allowed_signers:
            terminal.warn(gate.NOBODY)
    signing.refuse(refusals, store.where)
    if not json:
        terminal.say(f"{store.where}: contents verified" + (", signature trusted" if policy.allowed_signers else ""))
        console.result(str(bundle.digest))
