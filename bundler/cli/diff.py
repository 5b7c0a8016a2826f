"""``fps-bundle diff``"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli import option_groups, options

if TYPE_CHECKING:
    from bundler.verbs.diff import Change, Difference, Total


def diff(
    old: Annotated[str, typer.Argument(help="The older bundle.")],
    new: Annotated[str, typer.Argument(help="The newer bundle, in the same store or another one.")],
    parts_from: options.PartsFrom = None,
    *,
    registry: option_groups.Network,
    json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Show the files that differ between two bundles.

    A file is added, removed, or has other content or other metadata. `deleted` is a file of the base that only the new bundle
    deletes, `restored` one that only the old bundle deletes. `setting` is a launch setting that differs, such as the command or
    the user.

    Only tables of contents are read, and layers that both bundles have are skipped. The exit code is 0 with and without
    differences.
    """
    from bundler.bundle import read_bundle
    from bundler.cli import console, file_rows, wiring
    from bundler.format import image, launch, reference
    from bundler.verbs import diff

    references = reference.parse(old), reference.parse(new)
    wiring.check_one_pipe(references)
    terminal = console.Terminal(quiet=quiet)
    store_options = registry.store_options(terminal)
    totals = {change: diff.Total() for change in diff.Change}
    with ExitStack() as opened:
        one, other = (opened.enter_context(wiring.opened(it, store_options, parts_from)) for it in references)
        first, second = read_bundle(one), read_bundle(other)
        changes = launch.changes(image.restored(first.metadata), image.restored(second.metadata))
        differences = _counted(diff.find(first, one, second, other, terminal), totals)
        if json:
            header = {
                "old": {"reference": one.where, "digest": str(first.digest)},
                "new": {"reference": other.where, "digest": str(second.digest)},
                "settings": [change.to_json() for change in changes],
            }
            items = map(file_rows.difference_as_json, differences)
            console.result_json_list(header, "differences", items, lambda: {"totals": file_rows.totals_as_json(totals)})
            return
        console.result_rows((8,), map(file_rows.setting_row, changes))
        console.result_rows((8,), map(file_rows.difference_row, differences))
    terminal.say(file_rows.totals_text(totals) or "no file differs")


def _counted(differences: Iterable[Difference], totals: dict[Change, Total]) -> Iterator[Difference]:
    for difference in differences:
        totals[difference.change].add(difference)
        yield difference
