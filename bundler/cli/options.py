"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import named_files
from bundler.errors import UsageError

MAX_SECONDS = 7 * 24 * 3600
"""The longest of all timeouts; poll(2) takes no more than 24 days."""

DEBUG = {"on": False}
"""Whether tracebacks are shown; set by ``--debug`` while the command line is parsed."""


def _set_debug(value: bool) -> bool:
    DEBUG["on"] = value
    return value


def checked_size(value: str | None) -> str | None:
    """The callback of an option that takes a size, whether or not the command uses it."""
    from bundler.format import units

    if value is not None:
        units.size(value)
    return value


def checked_memory(value: str) -> str:
    """The callback of an option that takes an amount of memory as in docker run."""
    from bundler.engines import connection

    if value:
        connection.memory(value)
    return value


def checked_gpus(value: str) -> str:
    """The callback of an option that takes GPUs as in docker run."""
    from bundler.engines import connection

    if value:
        connection.gpus(value)
    return value


def checked_seconds(value: float) -> float:
    """The callback of an option that takes seconds; that a value lies between two others cannot be said of NaN."""
    if math.isnan(value):
        raise UsageError("NaN is not a number of seconds", hint="Write a number, such as 60.")
    return value


def _checked_endpoint(value: str | None) -> str | None:
    from bundler.verbs import endpoint

    return endpoint.check(value) if value is not None else None


Debug = Annotated[bool, typer.Option("--debug", callback=_set_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak HTTP to the registry; for loopback that is tried anyway.")]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate", metavar="SIZE", callback=checked_size, help="Bytes per second to use of a link, such as 25k or 2M."
    ),
]
Parallel = Annotated[int, typer.Option("--parallel", min=1, max=32, help="Blobs that may be on their way at once.")]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=1,
        max=MAX_SECONDS,
        callback=checked_seconds,
        help="Seconds without a byte after which a connection is given up.",
    ),
]
VerifyRemote = Annotated[
    bool, typer.Option("--verify-remote", help="Read back all that was sent to a registry before it gets its name.")
]
AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        callback=named_files.option,
        help="Who may sign, in OpenSSH's format. Default: as trust.toml says.",
    ),
]
Revoked = Annotated[
    Path | None,
    typer.Option(
        "--revoked",
        metavar="FILE",
        callback=named_files.option,
        help="Revoked keys: a KRL of ssh-keygen, or public keys. Default: as trust.toml says.",
    ),
]
SkipVerify = Annotated[
    bool,
    typer.Option(
        "--insecure-skip-verify", help="Take a bundle for which nobody vouches, all the same. A new image is labelled so."
    ),
]
Registry = Annotated[str, typer.Argument(help="The registry, HOST or HOST:PORT.")]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", "-H", metavar="URL", help="The engine's address. Default: DOCKER_HOST, DOCKER_CONTEXT, or Docker's own choice."
    ),
]
PartsFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--parts-from",
        metavar="DIR",
        callback=named_files.directories_option,
        help="Look for the parts of a split archive here, too; repeatable.",
    ),
]
Part = Annotated[
    list[int] | None, typer.Option("--part", metavar="N", min=1, help="Of a split archive make this part only; repeatable.")
]
Readback = Annotated[bool, typer.Option("--readback/--no-readback", help="Read back from the medium what was written to it.")]
AllowPrivileged = Annotated[
    bool,
    typer.Option(
        "--allow-privileged",
        help="Take files with setuid, setgid or capabilities, and settings of what is run, that the base does not have.",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="HOST:PORT",
        callback=_checked_endpoint,
        help="Where the model's Migrator listens, as seen from here.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", min=1, max=65535, help="Its port in the container. Default: the image's label, or the only exposed port."
    ),
]
Wait = Annotated[
    float,
    typer.Option("--wait", min=0, max=MAX_SECONDS, callback=checked_seconds, help="Seconds to wait until a Migrator answers."),
]
ExportTimeout = Annotated[
    float,
    typer.Option(
        "--export-timeout",
        min=0,
        max=MAX_SECONDS,
        callback=checked_seconds,
        help="Seconds that a model may take to write its state.",
    ),
]
