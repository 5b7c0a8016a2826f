"""``fps-bundle login``"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bundler.cli import options
from bundler.errors import UsageError, disk_errors


def login(
    registry: options.Registry,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Who you are there. Asked for on a terminal.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Prove to a registry who you are, and keep the credentials for it where Docker does.

    That is a credential helper where one is configured, else Docker's config.json. The password is asked for on a terminal,
    or comes from standard input. Nothing is kept that the registry refuses.
    """
    from bundler.cli import console
    from bundler.format import reference
    from bundler.stores.registry import credentials
    from bundler.stores.registry.login import check_login

    host = reference.parse_registry(registry)
    given = credentials.Credentials(_user(username, password_stdin), _password(password_stdin))
    check_login(host, given, plain_http=plain_http)
    kept = credentials.store(host, given)
    if kept.plain:
        console.warn(f"the password lies unencrypted in {kept.where}; Docker's credential helpers keep it better")
    if json:
        console.result_json({"registry": host, "username": given.user, "storedIn": kept.where, "encrypted": not kept.plain})
        return
    with console.Terminal(quiet=quiet) as terminal:
        terminal.say(f"logged in to {host} as {given.user}; the credentials are in {kept.where}")


def _user(given: str | None, password_stdin: bool) -> str:
    if given is None and (password_stdin or not sys.stdin.isatty()):
        raise UsageError("who logs in?", hint="Say it with --username.")
    user: str = typer.prompt("Username", err=True) if given is None else given
    if not user or not user.isprintable() or ":" in user:
        raise UsageError(f"{user[:200]!r} is no user name", hint="It is not empty, and has neither ':' nor control characters.")
    return user


def _password(from_stdin: bool) -> str:
    if not from_stdin and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the password", hint="Send it to standard input, with --password-stdin.")
    password = _read_password() if from_stdin else str(typer.prompt("Password", hide_input=True, err=True))
    if not password:
        raise UsageError("the password is empty")
    return password


def _read_password() -> str:
    """All of standard input but the end of its line."""
    try:
        with disk_errors("standard input"):
            given = sys.stdin.buffer.read()
        return given.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is no UTF-8") from None  # the cause quotes a byte of it
