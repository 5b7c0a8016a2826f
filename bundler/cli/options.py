"""Options that several commands share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bundler.cli import named_files
from bundler.errors import UsageError

MAX_SECONDS = 7 * 24 * 3600
"""Upper limit of all timeouts. poll(2) accepts at most 24 days."""

NETWORK = "Network options"
"""The section of the help that lists the options of commands that use a registry."""


@dataclass
class Diagnostics:
    """What the command line says about the output of errors; kept as ``obj`` of the outermost context."""

    traceback: bool = False


def _set_debug(context: typer.Context, value: bool) -> bool:
    context.find_root().ensure_object(Diagnostics).traceback = value
    return value


def checked_size(value: str | None) -> str | None:
    """Check a size when it is parsed, even if the command does not use it."""
    from bundler.format import units

    if value is not None:
        units.size(value)
    return value


def checked_memory(value: str) -> str:
    """Check an amount of memory in the syntax of docker run."""
    from bundler.engines import connection

    if value:
        connection.memory(value)
    return value


def checked_gpus(value: str) -> str:
    """Check a GPU request in the syntax of docker run."""
    from bundler.engines import connection

    if value:
        connection.gpus(value)
    return value


def checked_seconds(value: float) -> float:
    """Refuse NaN, which passes every check of a range."""
    if math.isnan(value):
        raise UsageError("NaN is not a number of seconds", hint="Use a number, such as 60.")
    return value


def _checked_endpoint(value: str | None) -> str | None:
    from bundler.verbs import endpoint

    return endpoint.check(value) if value is not None else None


Debug = Annotated[bool, typer.Option("--debug", is_eager=True, callback=_set_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not print progress.")]

PlainHttp = Annotated[
    bool,
    typer.Option(
        "--plain-http",
        rich_help_panel=NETWORK,
        help="Use HTTP for the registry. On loopback, HTTP is tried without this option, too.",
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="SIZE",
        callback=checked_size,
        rich_help_panel=NETWORK,
        help="Maximum transfer rate in bytes per second, such as 25k or 2M.",
    ),
]
Parallel = Annotated[
    int,
    typer.Option(
        "--parallel", metavar="N", min=1, max=32, rich_help_panel=NETWORK, help="Number of blobs to transfer at the same time."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=1,
        max=MAX_SECONDS,
        callback=checked_seconds,
        rich_help_panel=NETWORK,
        help="Idle timeout of a connection.",
    ),
]
VerifyWritten = Annotated[
    bool | None,
    typer.Option(
        "--verify-written/--no-verify-written",
        help="Read back what was written, before it gets its name. Default: on for files and layouts, off for registries. "
        "Ignored for the local store and for pipes.",
    ),
]

AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        callback=named_files.option,
        help="Trusted keys, in the format of OpenSSH's allowed_signers. Default: as configured in trust.toml.",
    ),
]
Revoked = Annotated[
    Path | None,
    typer.Option(
        "--revoked",
        metavar="FILE",
        callback=named_files.option,
        help="Revoked keys: a KRL made by ssh-keygen, or public keys. Default: as configured in trust.toml.",
    ),
]
IgnoreSignatures = Annotated[
    bool,
    typer.Option(
        "--insecure-ignore-signatures", help="Accept a bundle without checking its signatures. A new image gets a label for this."
    ),
]
Registry = Annotated[str, typer.Argument(metavar="REGISTRY", help="The registry: HOST or HOST:PORT.")]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        "-H",
        metavar="URL",
        help="Address of the engine. Default: DOCKER_HOST, DOCKER_CONTEXT, or the current Docker context.",
    ),
]
PartsFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--parts-from",
        metavar="DIR",
        callback=named_files.directories_option,
        help="Also search this directory for the parts of a split archive. Repeatable.",
    ),
]
Part = Annotated[
    list[int] | None, typer.Option("--part", metavar="N", min=1, help="Write only this part of a split archive. Repeatable.")
]
AllowPrivileged = Annotated[
    bool,
    typer.Option(
        "--allow-privileged",
        help="Accept setuid files, setgid files, file capabilities and launch settings that the base does not have.",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="HOST:PORT",
        callback=_checked_endpoint,
        help="Address of the model's Migrator service, as reachable from this host.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="PORT",
        min=1,
        max=65535,
        help="Port of the Migrator in the container. Default: the image's label, or the only exposed port.",
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        max=MAX_SECONDS,
        callback=checked_seconds,
        help="How long to wait for the Migrator to answer.",
    ),
]
ExportTimeout = Annotated[
    float,
    typer.Option(
        "--export-timeout",
        metavar="SECONDS",
        min=0,
        max=MAX_SECONDS,
        callback=checked_seconds,
        help="How long the model may take to write its state.",
    ),
]
