"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEBUG = {"on": False}
"""Whether tracebacks are shown; set by ``--debug`` while the command line is parsed."""


def _set_debug(value: bool) -> bool:
    DEBUG["on"] = DEBUG["on"] or value
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak HTTP to the registry; for loopback that is tried anyway.")]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", "-H", metavar="URL", help="The engine's address. Default: DOCKER_HOST, DOCKER_CONTEXT, or Docker's own choice."
    ),
]
