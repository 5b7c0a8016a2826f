"""Options that belong together: a command takes one value of a group in place of its single options.

A group is a frozen dataclass whose fields are options. `expanded` gives typer a function with these options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, get_type_hints

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.api.engines import MigratorOptions
    from bundler.api.stores import StoreOptions
    from bundler.cli.console import Terminal


@dataclass(frozen=True)
class Connection:
    """How to connect to a registry."""

    timeout: options.Timeout = 60
    plain_http: options.PlainHttp = False

    def store_options(self, terminal: Terminal | None = None, *, verify_written: bool | None = None) -> StoreOptions:
        """Return how stores are opened; ``terminal`` shows failed attempts and waits."""
        from bundler.api.stores import StoreOptions
        from bundler.cli.console import Terminal

        return StoreOptions(
            plain_http=self.plain_http, timeout=self.timeout, verify_written=verify_written, progress=terminal or Terminal()
        )


@dataclass(frozen=True)
class Network(Connection):
    """How to read from a registry."""

    limit_rate: options.LimitRate = None

    def store_options(self, terminal: Terminal | None = None, *, verify_written: bool | None = None) -> StoreOptions:
        from bundler.format import units

        rate = units.size(self.limit_rate) or None if self.limit_rate is not None else None
        return replace(super().store_options(terminal, verify_written=verify_written), rate=rate)


@dataclass(frozen=True)
class Transfer(Network):
    """How to transfer several blobs from or to a registry."""

    parallel: options.Parallel = 3

    def store_options(self, terminal: Terminal | None = None, *, verify_written: bool | None = None) -> StoreOptions:
        return replace(super().store_options(terminal, verify_written=verify_written), parallel=self.parallel)


@dataclass(frozen=True)
class Migrator:
    """How to connect to the Migrator of a model."""

    endpoint: options.Endpoint = None
    port: options.Port = None
    wait: options.Wait = 30
    export_timeout: options.ExportTimeout = 600

    def options(self) -> MigratorOptions:
        """Return them as the library takes them, with the deadline of Export."""
        from bundler.api.engines import MigratorOptions

        return MigratorOptions(self.endpoint, self.port, self.wait, self.export_timeout)


@dataclass(frozen=True)
class Signers:
    """Which signatures a bundle needs, in place of what trust.toml says."""

    allowed_signers: options.AllowedSigners = None
    revoked: options.Revoked = None


@dataclass(frozen=True)
class Trust(Signers):
    """Which signatures a bundle needs to be accepted, or none."""

    ignore_signatures: options.IgnoreSignatures = False


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of its groups one by one, for typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if not is_dataclass(hints[name]):
            parameters.append(parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY))
            continue
        groups[name] = hints[name]
        types = get_type_hints(hints[name], include_extras=True)
        parameters += [
            inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(hints[name])
        ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        chosen = {name: group(**{field.name: values.pop(field.name) for field in fields(group)}) for name, group in groups.items()}
        command(**values, **chosen)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run
