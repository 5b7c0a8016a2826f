"""Tags from templates, and pushes that use them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, file, tree
from typer.testing import CliRunner

from bundler.bundle import Bundle, read_bundle
from bundler.cli.main import app
from bundler.errors import UsageError
from bundler.format import metadata as meta
from bundler.format.reference import LocalReference
from bundler.ports import Store
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalSpool
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import push, tag_template


@pytest.fixture(autouse=True)
def _local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))


def made(title: str = "Big Model", version: str = "1.0+cu12", host: str | None = "node-1") -> Bundle:
    store = MemoryStore()
    source = meta.Source(engine="Fake 1", container_name="detector", container_id="c" * 64, host_name=host)
    bundle(store, model=meta.Model(title=title, version=version), source=source)
    return read_bundle(store)


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("{version}-{date}", "1.0-cu12-2026-01-02"),
        ("{date}T{time}", "2026-01-02T030405"),
        ("{title}.{hostname}", "Big-Model.node-1"),
        ("{{{date}}}", "2026-01-02-"),
        ("nightly-{date}", "nightly-2026-01-02"),
        ("-{date}.tar", "2026-01-02-tar"),
    ],
)
def test_fields_are_filled_in_and_what_a_tag_cannot_have_is_replaced(template: str, tag: str) -> None:
    assert tag_template.parse(template).tag(made()) == tag


def test_a_tag_can_have_the_digest_and_has_a_limit() -> None:
    found = made(title="x" * 300)
    assert tag_template.parse("{digest}").tag(found) == found.digest.short
    assert len(tag_template.parse("{title}").tag(found)) == 128
    assert tag_template.parse("{hostname}").tag(made(host=None)) != ""


@pytest.mark.parametrize("text", ["{year}", "{}", "{date!r}", "{date:>9}", "{date.year}", "{0}", "{version}-{DATE}"])
def test_an_unknown_field_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match="unknown field") as refused:
        tag_template.parse(text)
    assert all(f"{{{field}}}" in refused.value.hint for field in tag_template.FIELDS)


@pytest.mark.parametrize("text", ["", "latest", "{date", "date}", "{{date}}"])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="tag template"):
        tag_template.parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["n:1", "--tag-template", "{date}"], "contradicts the tag of n:1"),
        (["n", "--tag-template", "{day}"], "Known fields: {version}, {date}"),
    ],
)
def test_a_wrong_template_is_refused_before_the_engine_is_asked(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["push", "detector", *arguments, "--host", "unix:///nowhere"])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("kind", ["local", "layout", "archive"])
def test_each_push_gets_its_own_tag(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets: dict[str, Store | LocalReference] = {
        "local": LocalReference("model", "1.0"),
        "layout": LayoutStore(tmp_path / "layout"),
        "archive": ArchiveStore(tmp_path / "x.tar"),
    }
    options = push.Options(template=tag_template.parse("{version}-{date}-{digest}"))
    found = []
    for day in (1, 2):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(day * 86400))
        engine = FakeEngine(tree(file("/s/f", str(day).encode())))
        model, spool = ScriptedModel("/s"), LocalSpool()
        found.append(push.push(engine.one, engine, model, spool, targets[kind], RecordingProgress(), options))
    for day, result in enumerate(found, start=2):
        assert re.search(rf":1.0-1970-01-0{day}-{result.bundle.digest.short}$", result.where)
        assert result.displaced is None or kind == "archive"
    store = LocalSpool().open(LocalReference("model")) if kind == "local" else targets[kind]
    assert not isinstance(store, LocalReference)
    assert len(store.names()) == (1 if kind == "archive" else 2)


def test_a_destination_without_a_choice_of_tags_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    engine, options = FakeEngine(tree(file("/s/f"))), push.Options(template=tag_template.parse("{date}"))
    with pytest.raises(UsageError, match="cannot be chosen"):
        push.push(engine.one, engine, ScriptedModel("/s"), LocalSpool(), MemoryStore(), RecordingProgress(), options)
    assert list((tmp_path / "store" / "blobs" / "sha256").iterdir()) == []
