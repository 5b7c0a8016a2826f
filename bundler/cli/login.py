"""``fps-bundle login``"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bundler.cli import options
from bundler.errors import UsageError, disk_errors


def login(
    registry: options.Registry,
    username: Annotated[
        str | None, typer.Option("--username", "-u", metavar="NAME", help="User name. Prompted for on a terminal.")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Log in to a registry.

    Credentials are stored as `docker login` stores them: with the configured credential helper, else in Docker's
    config.json. The password is prompted for on a terminal, or read from standard input. Credentials that the registry
    refuses are not stored.
    """
    from bundler.cli import console
    from bundler.format import reference
    from bundler.stores.registry import credentials
    from bundler.stores.registry.login import check_login

    host = reference.parse_registry(registry)
    entered = credentials.Credentials(_user(username, password_stdin), _password(password_stdin))
    check_login(host, entered, plain_http=plain_http)
    stored = credentials.store(host, entered)
    if stored.plain:
        console.warn(f"password stored unencrypted in {stored.where}; configure a Docker credential helper to encrypt it")
    if json:
        console.result_json({"registry": host, "username": entered.user, "storedIn": stored.where, "encrypted": not stored.plain})
        return
    with console.Terminal(quiet=quiet) as terminal:
        terminal.say(f"logged in to {host} as {entered.user}; credentials stored in {stored.where}")


def _user(given: str | None, password_stdin: bool) -> str:
    if given is None and (password_stdin or not sys.stdin.isatty()):
        raise UsageError("username required", hint="Use --username.")
    user: str = typer.prompt("Username", err=True) if given is None else given
    if not user or not user.isprintable() or ":" in user:
        raise UsageError(f"invalid username {user[:200]!r}", hint="Use at least one character, without ':' and control characters.")
    return user


def _password(from_stdin: bool) -> str:
    if not from_stdin and not sys.stdin.isatty():
        raise UsageError(
            "cannot prompt for the password: standard input is not a terminal", hint="Use --password-stdin and a pipe."
        )
    password = _read_password() if from_stdin else str(typer.prompt("Password", hide_input=True, err=True))
    if not password:
        raise UsageError("the password is empty")
    return password


def _read_password() -> str:
    """Return standard input without its trailing newline."""
    try:
        with disk_errors("standard input"):
            content = sys.stdin.buffer.read()
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the password on standard input is not valid UTF-8") from None  # the cause would quote a byte of it
