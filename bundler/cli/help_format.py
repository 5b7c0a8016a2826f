"""Help as in a manual page: usage lines read ``COMMAND [OPTIONS] SOURCE [DEST]``, flags are listed without a type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption

_NO_BRACES = str.maketrans("", "", "{}")


class PlainCommand(TyperCommand):
    """A command whose help has these forms, and one section for each kind of option."""

    def get_params(self, ctx: Any) -> list[Any]:
        return with_metavars(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Remove the braces that Typer writes around a required argument."""
        return [piece.translate(_NO_BRACES) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List the parameters by section, and arguments without the type that Typer writes behind their name."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                is_argument = isinstance(parameter, TyperArgument)
                section = "Arguments" if is_argument else parameter.rich_help_panel or "Options"
                name = parameter.metavar if is_argument else record[0]
                sections.setdefault(section, []).append((name, record[1]))
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def with_metavars(parameters: Sequence[Any]) -> list[Any]:
    """Write the names of arguments in capitals, and nothing after a flag, where Typer would write ``<bool>``."""
    for parameter in parameters:
        if parameter.metavar is not None:
            continue
        if isinstance(parameter, TyperArgument):
            parameter.metavar = parameter.name.upper()
        elif isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return list(parameters)


def paragraphs(docstring: str | None) -> str:
    """Return a docstring with each paragraph on one line, so that the terminal's width wraps it."""
    return "\n\n".join(" ".join(part.split()) for part in (docstring or "").split("\n\n"))
