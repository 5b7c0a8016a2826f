"""``fps-bundle doctor``"""

from __future__ import annotations

from typing import Annotated

import typer

from bundler.cli import options


def doctor(
    host: options.Host = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every blob in the local store and name the damaged ones.")] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Check this host's setup and suggest fixes.

    The exit code is that of the first failed check.
    """
    from bundler.cli import console, signatures, wiring
    from bundler.engines import pause_guard
    from bundler.localfs import state_directory
    from bundler.stores.layout import deep_check as store
    from bundler.stores.layout import local
    from bundler.stores.registry import credentials
    from bundler.verbs.doctor import examine

    findings = examine(
        lambda: wiring.connect(host),
        local.directory(),
        credentials.describe,
        signatures.describe_policy,
        lambda: pause_guard.abandoned(state_directory.directory()),
        store.faults if deep else None,
    )
    if json:
        console.result_json([{"what": item.what, "ok": item.ok, "found": item.found, "hint": item.hint} for item in findings])
    else:
        rows = [(item.what, "ok" if item.ok else "wrong", item.found + (f" {item.hint}" if item.hint else "")) for item in findings]
        console.result_table(("what", "state", "found"), rows)
    if wrong := [item for item in findings if not item.ok]:
        raise typer.Exit(wrong[0].exit_code)
