"""``fps-bundle sign``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import named_files, option_groups, options


def sign(
    source: Annotated[str, typer.Argument(help="The bundle, in any writable store.")],
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
            "--sequence",
            metavar="N",
            min=0,
            help="Sequence number of the signature. Default: the Unix time, or one above the last.",
        ),
    ] = None,
    *,
    registry: option_groups.Connection,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Sign a bundle with your SSH key.

    The signature is stored beside the bundle and copied with it. A bundle can have several signatures; a second one by the
    same key is not added. Without --sign-key, signing-key of trust.toml is used. Prints the fingerprint of the key.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, signatures, wiring
    from bundler.errors import UsageError
    from bundler.format import reference

    chosen = signatures.signing_key(sign_key)
    if chosen is None:
        raise UsageError("signing key required", hint="Use --sign-key, or set signing-key in trust.toml.")
    terminal = console.Terminal(quiet=quiet)
    with wiring.opened(reference.parse(source), registry.store_options(terminal)) as store:
        bundle = read_bundle(store)
        signed = signatures.sign(bundle, store, chosen, sequence, terminal)
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
    terminal.say(f"{store.where}: {signatures.describe_signed(signed)}")
    console.result(signed.fingerprint)
