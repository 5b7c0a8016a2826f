"""``fps-bundle logout``"""

from __future__ import annotations

from bundler.cli import options


def logout(
    registry: options.Registry, json: options.Json = False, quiet: options.Quiet = False, debug: options.Debug = False
) -> None:
    """Log out of a registry: remove its credentials, also those of `docker login`.

    Without stored credentials, the command does nothing and succeeds.
    """
    from bundler.cli import console
    from bundler.format import reference
    from bundler.stores.registry import credentials

    host = reference.parse_registry(registry)
    was_logged_in = credentials.erase(host)
    if json:
        console.result_json({"registry": host, "wasLoggedIn": was_logged_in})
        return
    with console.Terminal(quiet=quiet) as terminal:
        terminal.say(f"logged out of {host}" if was_logged_in else f"not logged in to {host}")
