"""``fps-bundle sign``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import named_files, options


def sign(
    source: Annotated[str, typer.Argument(help="The bundle, in any store that can be written.")],
    sign_key: Annotated[
        Path | None,
        typer.Option(
            "--sign-key",
            metavar="FILE",
            callback=named_files.option,
            help="Your private key, or the public key of one that ssh-agent or a token holds.",
        ),
    ] = None,
    sequence: Annotated[
        int | None,
        typer.Option(
            "--sequence", metavar="N", min=0, help="Its place among what you sign. Default: the Unix time, or one above the last."
        ),
    ] = None,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Vouch for a bundle with your SSH key.

    The signature stands beside the bundle and travels with it; several people may sign one. A key that has signed it
    before adds nothing. Without --sign-key it is the signing-key of trust.toml. Prints the fingerprint of the key.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, gate, wiring
    from bundler.errors import UsageError
    from bundler.format import reference

    chosen = gate.signing_key(sign_key)
    if chosen is None:
        raise UsageError("there is no key to sign with", hint="Name one with --sign-key, or as signing-key in trust.toml.")
    terminal = console.Terminal(quiet=quiet)
    with wiring.opened(reference.parse(source), wiring.Link(plain_http, terminal=terminal)) as store:
        bundle = read_bundle(store)
        signed = gate.sign(bundle, store, chosen, sequence, terminal)
    if json:
        console.result_json(
            {
                "digest": str(bundle.digest),
                "reference": store.where,
                "keyType": signed.key_type,
                "fingerprint": signed.fingerprint,
                "sequence": signed.statement.sequence,
                "added": signed.added,
            }
        )
        return
    terminal.say(f"{store.where} {gate.told(signed)}")
    console.result(signed.fingerprint)
