"""The rows of ``list``: which are shown, in which order, and how they fit into a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bundles import bundle
from fakes import MemoryStore, file, tree
from typer.testing import CliRunner

from bundler.bundle import list_bundles
from bundler.cli import bundle_rows
from bundler.cli.bundle_rows import Row
from bundler.cli.main import app
from bundler.errors import UsageError
from bundler.format import metadata as meta
from bundler.format import signature

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = "\x1b[2Jx\ny"


def rows(place: str = "", **bundles: dict[str, Any]) -> list[Row]:
    """Rows of bundles by their names, in which ``_`` is a colon."""
    store = MemoryStore()
    for number, (name, changes) in enumerate(bundles.items(), start=1):
        source = meta.Source(engine="Fake 1", container_name="detector", container_id="c" * 64, host_name=f"node-{number}")
        bundle(store, tree(file("/s/f", b"x" * number)), name.replace("_", ":"), source=source, **changes)
    return [Row(name, manifest, store, place) for name, manifest in list_bundles(store)]


def test_a_name_is_split_from_its_tag() -> None:
    local, far = rows(detector_7={}), rows("registry.example/team/detector", **{"7": {}})
    assert [(row.name, row.tag) for row in local + far] == [("detector", "7"), ("registry.example/team/detector", "7")]
    untagged = Row(f"detector@{local[0].digest}", local[0].manifest, local[0].store, "")
    assert (untagged.name, untagged.tag) == ("detector", "-")


def test_rows_are_sorted() -> None:
    found = rows(
        a_1={"created": "2026-01-01T00:00:00Z"}, b_1={"created": "2026-01-03T00:00:00Z"}, c_1={"created": "2026-01-02T00:00:00Z"}
    )
    assert [row.name for row in bundle_rows.ordered(found[::-1], "name")] == ["a", "b", "c"]
    assert [row.name for row in bundle_rows.ordered(found, "created")] == ["b", "c", "a"]
    assert [row.manifest.size for row in bundle_rows.ordered(found, "size")] == sorted(
        [row.manifest.size for row in found], reverse=True
    )


def test_filters_are_all_applied_and_signatures_can_be_one() -> None:
    found = rows(a_1={}, a_2={}, b_1={})
    signed = found[0]
    assert isinstance(signed.store, MemoryStore)
    signed.store.attach(signature.build(signed.manifest.descriptor, b"{}", b"signature"))
    for filters, left in {
        ("name=a",): "a1 a2",
        ("tag=1", "name=*"): "a1 b1",
        ("signed=yes",): "a1",
        ("from=node-2",): "a2",
    }.items():
        assert " ".join(row.name + row.tag for row in bundle_rows.filtered(found, filters)) == left
    for wrong in ("colour=red", "name"):
        with pytest.raises(UsageError, match="unknown filter"):
            bundle_rows.filtered(found, [wrong])


def test_a_template_writes_fields_and_nothing_that_acts_on_the_terminal() -> None:
    found = rows(a_1={"model": meta.Model(title=HOSTILE, version="1.0")})[0]
    assert bundle_rows.template("{{.Name}}:{{ .Tag }}\\t{{.Version}} {{.From}}")(found) == "a:1\t1.0 node-1"
    assert bundle_rows.template("{{.Title}}")(found) == "\\x1b[2Jx\\ny"
    for wrong in ("{{.Colour}}", "{{}}", "name"):
        with pytest.raises(UsageError, match="field"):
            bundle_rows.template(wrong)


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2026-02-28T23:59:30Z", "just now"),
        ("2026-02-28T23:58:00Z", "2 minutes ago"),
        ("2026-02-28T22:30:00Z", "1 hour ago"),
        ("2026-02-27T00:00:00Z", "2 days ago"),
        ("2025-12-01T00:00:00Z", "3 months ago"),
        ("2024-03-01T00:00:00Z", "2 years ago"),
        ("2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z"),
        ("2026-02-27", "2026-02-27"),
        ("-", "-"),
    ],
)
def test_an_age_has_one_unit(created: str, shown: str) -> None:
    assert bundle_rows.age(created, NOW) == shown


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_never_wraps(width: int) -> None:
    found = rows("registry.example:5000/team/with/a/long/path/detector", **{f"2026-11-{day}-some-long-tag": {} for day in (28, 29)})
    cells = bundle_rows.table(found, width, trunc=True, now=NOW)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    assert sum(widths) + 2 * (len(widths) - 1) <= width
    assert cells[0][:5] == ["NAME", "TAG", "DIGEST", "CREATED", "SIZE"]
    assert ("FROM" in cells[0]) == (width >= 100)
    assert cells[1][2] == found[0].digest[7:19]


def test_without_cutting_everything_is_shown() -> None:
    found = rows(a_1={})
    header, cells = bundle_rows.table(found, 10, trunc=False, now=NOW)
    assert dict(zip(header, cells, strict=True)) | {"SIZE": ""} == {
        "NAME": "a",
        "TAG": "1",
        "DIGEST": found[0].digest,
        "CREATED": "2026-01-02T03:04:05Z",
        "SIZE": "",
        "SIGNED": "no",
        "BASE": "model:1.0",
        "FROM": "node-1",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--filter", "colour=red"], "unknown filter"), (["--format", "{{.X}}"], "Known fields"), (["--sort", "age"], "--sort")],
)
def test_wrong_options_are_exit_code_2(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    done = CliRunner().invoke(app, ["list", *arguments])
    assert (done.exit_code, message in done.stderr) == (2, True)
