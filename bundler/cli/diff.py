"""``fps-bundle diff``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import options

if TYPE_CHECKING:
    from bundler.verbs.diff import Change, Difference, Total


def diff(
    old: Annotated[str, typer.Argument(help="A bundle.")],
    new: Annotated[str, typer.Argument(help="Another one, from any store.")],
    parts_from: options.PartsFrom = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = 60,
    plain_http: options.PlainHttp = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show which files differ between two bundles: added, removed, with other content, or with other metadata alone.

    `setting` is a setting that decides what the applied image runs, or as which user, and that differs.

    `deleted` and `restored` are files of the base that only the new bundle deletes, or only the old one. Layers are told
    by their tables of contents, and those that both have as the same blob are not read at all. Ends with exit code 0 whether or not
    anything differs.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, file_rows, wiring
    from bundler.format import image, launch, reference
    from bundler.verbs import diff

    references = reference.parse(old), reference.parse(new)
    wiring.check_one_pipe(references)
    terminal = console.Terminal(quiet=quiet)
    link = wiring.Link(plain_http, limit_rate, timeout=timeout, terminal=terminal)
    totals = {change: diff.Total() for change in diff.Change}
    with ExitStack() as opened:
        one, other = (opened.enter_context(wiring.opened(it, link, parts_from)) for it in references)
        first, second = read_bundle(one), read_bundle(other)
        changes = launch.changes(image.restored(first.metadata), image.restored(second.metadata))
        found = _counted(diff.find(first, one, second, other, terminal), totals)
        if json:
            told = {
                "old": {"reference": one.where, "digest": str(first.digest)},
                "new": {"reference": other.where, "digest": str(second.digest)},
                "settings": [change.to_json() for change in changes],
            }
            items = map(file_rows.difference_as_json, found)
            console.result_json_list(told, "differences", items, lambda: {"totals": file_rows.totals_as_json(totals)})
            return
        console.result_rows((8,), map(file_rows.setting_row, changes))
        console.result_rows((8,), map(file_rows.difference_row, found))
    terminal.say(file_rows.totals_text(totals) or "no file differs")


def _counted(found: Iterable[Difference], totals: dict[Change, Total]) -> Iterator[Difference]:
    for difference in found:
        totals[difference.change].add(difference)
        yield difference
