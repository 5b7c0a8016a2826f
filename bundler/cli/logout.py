"""``fps-bundle logout``"""

from __future__ import annotations

from bundler.cli import options


def logout(
    registry: options.Registry, json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    """Forget the credentials for a registry, Docker's own, too.

    That nobody was logged in is no error.
    """
    from bundler.cli import console
    from bundler.format import reference
    from bundler.stores.registry import credentials

    host = reference.parse_registry(registry)
    known = credentials.erase(host)
    if json:
        console.result_json({"registry": host, "wasLoggedIn": known})
        return
    with console.Terminal(quiet=quiet) as terminal:
        terminal.say(f"logged out of {host}" if known else f"nobody is logged in to {host}")
