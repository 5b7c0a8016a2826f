"""What push promises when something goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, container, directory, file, image, link, tree

from bundler.bundle import read_bundle
from bundler.errors import (
    AuthorizationError,
    BundlerError,
    BusyError,
    EngineError,
    IntegrityError,
    ModelError,
    NoSpaceError,
    StoreError,
)
from bundler.format import artifact, pack, reference, strict_json, zstd_frames
from bundler.format.compression_mode import Compression
from bundler.format.content import Descriptor
from bundler.format.reference import ArchiveReference, LayoutReference, LocalReference
from bundler.format.tar import Entry, Kind
from bundler.ports import Displaced, Reader, Store, Upload
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.stores.layout.store import LayoutStore
from bundler.streams import Opener, Readable
from bundler.verbs import push as pushing
from bundler.verbs.capture import Capture, CaptureOptions

LOCAL = LocalReference("model", "1.0")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def push(
    engine: FakeEngine,
    *exports: str,
    target: Store | LocalReference = LOCAL,
    progress: RecordingProgress | None = None,
    **options: Any,
) -> pushing.PushResult:
    model, progress = ScriptedModel(*exports), progress or RecordingProgress()
    return pushing.push(engine.one, engine, model, LocalSpool(), target, progress, pushing.Options(**options))


def leftovers(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "blobs" / "sha256").iterdir()) if store.exists() else []


class BreakingContent:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        del size
        raise self._error


class BreakingReader:
    """Gives all that the engine's reader gives, but a content that cannot be read."""

    sees_all = True

    def __init__(self, engine: FakeEngine, inner: Reader, error: BaseException) -> None:
        self.stat = inner.stat
        self._inner = inner
        self._engine = engine
        self._error = error

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        assert self._engine.is_paused == self._engine.pauses
        for entry, content in self._inner.entries(exports):
            yield entry, BreakingContent(self._error) if entry.size else content


class BreakingEngine(FakeEngine):
    error: BaseException = EngineError("the engine went away")

    def reader(self, container: Any, wanted: str) -> Reader:
        return BreakingReader(self, super().reader(container, wanted), self.error)


@pytest.mark.parametrize(
    "error",
    [EngineError("gone"), IntegrityError("cut"), NoSpaceError("full"), RuntimeError("bug"), KeyboardInterrupt(), SystemExit(1)],
)
@pytest.mark.parametrize("pause", [True, False])
def test_whatever_breaks_a_capture_the_model_goes_on_and_nothing_is_left(error: BaseException, pause: bool, store: Path) -> None:
    engine = BreakingEngine(files=tree(file("/s/a"), file("/s/b")), base_files=tree(file("/s/a"), file("/s/z")))
    engine.error = error
    with pytest.raises(type(error)) as caught:
        push(engine, "/s", pause=pause)
    assert caught.value is error
    assert engine.pauses == int(pause)
    assert not engine.is_paused
    assert not engine.reading
    assert leftovers(store) == []


def test_the_model_is_not_paused_while_it_exports_nor_while_the_bundle_travels() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))

    class Watching(ScriptedModel):
        def export(self) -> Sequence[str]:
            assert not engine.is_paused
            return super().export()

    class Target(MemoryStore):
        @contextmanager
        def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
            assert not engine.is_paused
            with super().upload(name, source) as upload:
                yield upload

    target = Target()
    pushing.push(engine.one, engine, Watching("/s"), LocalSpool(), target, RecordingProgress(), pushing.Options())
    assert engine.pauses == 1
    assert "1" in target.tags


def test_without_pause_the_model_never_stands_still() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    assert push(engine, "/s", pause=False).paused == 0.0
    assert engine.pauses == 0


@pytest.mark.parametrize("mounts", [{}, {"/s": "volume"}])
def test_a_bundle_says_what_lies_on_a_volume(mounts: dict[str, str]) -> None:
    engine = FakeEngine(files=tree(file("/s/f")), one=container(mounts=mounts))
    (export,) = push(engine, "/s/f").bundle.metadata.exports
    assert export.volume is bool(mounts)


def test_paths_are_resolved_and_merged() -> None:
    files = tree(file("/real/d/f", b"12345"), link("/way", Kind.SYMLINK, "real"), directory("/real", mode=0o701))
    metadata = push(FakeEngine(files=files), "/way/d/", "/way/d/f").bundle.metadata
    assert [(export.path, export.resolved) for export in metadata.exports] == [("/way/d", "/real/d"), ("/way/d/f", "/real/d/f")]
    assert [(parent.path, parent.mode) for parent in metadata.parents] == [("/real", 0o701)]
    assert [described.exports for described in metadata.layers] == [("/real/d",)]


@pytest.mark.parametrize("path", ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"])
def test_files_that_the_engine_mounts_are_refused(path: str) -> None:
    with pytest.raises(ModelError, match=path):
        push(FakeEngine(files=tree(file(path))), path)


def test_files_that_the_engine_mounts_are_left_out_of_what_is_around_them() -> None:
    engine = FakeEngine(files=tree(file("/etc/hosts"), file("/etc/mine")), base_files=tree(file("/etc/hosts"), file("/etc/mine")))
    metadata = push(engine, "/etc").bundle.metadata
    assert metadata.exports[0].entries == 2
    assert metadata.removed == ()


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
def test_state_that_no_layer_can_hold_is_refused_and_nothing_is_left(name: str, store: Path) -> None:
    engine = FakeEngine(files=tree(file("/s/a"), file(f"/s/d/{name}")))
    with pytest.raises(ModelError) as caught:
        push(engine, "/s")
    assert caught.value.exit_code == 3
    assert leftovers(store) == []


def test_metadata_that_no_registry_takes_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_SIZE", 1000)
    with pytest.raises(ModelError, match="metadata would be"):
        push(FakeEngine(files=tree(file("/s/f"))), "/s")
    assert leftovers(store) == []


def test_a_capture_that_fails_at_its_end_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BIG", 4)

    class Full(LocalSpool):
        made = 0

        def new_blob(self) -> Any:
            self.made += 1
            blob = super().new_blob()
            if self.made == 2:
                blob.finish = self.refuse  # type: ignore[method-assign]
            return blob

        def refuse(self, media_type: str) -> Descriptor:
            raise NoSpaceError(f"no space left for {media_type}")

    engine = FakeEngine(files=tree(file("/s/big"), file("/s/small", b"1")))
    with pytest.raises(NoSpaceError):
        pushing.push(engine.one, engine, ScriptedModel("/s"), Full(), LOCAL, RecordingProgress(), pushing.Options())
    assert leftovers(store) == []


def test_a_bundle_that_cannot_get_its_name_leaves_nothing(store: Path) -> None:
    class Full(LocalSpool):
        def add(self, reference: LocalReference, manifest: artifact.Manifest) -> LocalStore:
            with self.open(reference).upload("") as upload:
                upload.add(manifest.descriptor, manifest.data)
            raise NoSpaceError("no space left for the index")

    engine = FakeEngine(files=tree(file("/s/f")))
    with pytest.raises(NoSpaceError):
        pushing.push(engine.one, engine, ScriptedModel("/s"), Full(), LOCAL, RecordingProgress(), pushing.Options())
    assert leftovers(store) == []


class DownStore(MemoryStore):
    """A store that cannot even be asked what it has."""

    error: BundlerError = StoreError("the link is down")

    def resolve(self) -> Descriptor:
        raise self.error

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
        del name, source
        raise self.error
        yield


@pytest.mark.parametrize("error", [StoreError("down"), AuthorizationError("who are you"), NoSpaceError("full")])
def test_a_target_that_cannot_be_reached_keeps_the_capture(error: BundlerError) -> None:
    target = DownStore()
    target.error = error
    with pytest.raises(type(error)) as caught:
        push(FakeEngine(files=tree(file("/s/f"))), "/s", target=target)
    kept = reference.parse(caught.value.hint.partition("fps-bundle copy ")[2].split()[0])
    assert isinstance(kept, LocalReference)
    assert read_bundle(LocalStore(kept)).digest == kept.digest


@pytest.mark.parametrize("text", ["oci:{}/dir:7", "oci-archive:{}/file.fps:7", "{}/file.tar", "oci:{}/dir"])
def test_the_hint_names_the_target_as_it_was_written(text: str, tmp_path: Path) -> None:
    written = text.format(tmp_path / "missing")
    target = reference.parse(written)
    if isinstance(target, LayoutReference):
        (tmp_path / "missing" / "dir").mkdir(parents=True)
        (tmp_path / "missing" / "dir" / "stranger").touch()
        opened: Store = LayoutStore(Path(target.path), target.tag, target.digest)
    else:
        assert isinstance(target, ArchiveReference)
        opened = ArchiveStore(Path(target.path), target.tag, target.digest)
    with pytest.raises(StoreError) as caught:
        push(FakeEngine(files=tree(file("/s/f"))), "/s", target=opened)
    assert reference.parse(caught.value.hint.rpartition(" ")[2]) == target


def test_what_stood_under_the_name_stays_when_a_push_fails() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    first = push(engine, "/s")
    engine.files |= tree(file("/s/f", b"changed"))
    engine.fails_at = "/s/f"
    with pytest.raises(EngineError):
        push(engine, "/s")
    assert read_bundle(LocalStore(LOCAL)).digest == first.bundle.digest


def test_an_unchanged_push_to_the_local_store_leaves_what_is_there_whole() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    first = push(engine, "/s")
    assert push(engine, "/s").unchanged
    found = read_bundle(LocalStore(LOCAL))
    assert found == first.bundle
    for descriptor in found.manifest.layers:
        with LocalStore(LOCAL).open(descriptor) as blob:
            assert len(blob.read()) == descriptor.size


def test_a_damaged_bundle_under_the_name_is_replaced() -> None:
    engine, target = FakeEngine(files=tree(file("/s/f"))), MemoryStore()
    first = push(engine, "/s", target=target)
    target.blobs[first.bundle.manifest.config.digest] = b"damaged"
    assert not push(engine, "/s", target=target).unchanged


def test_host_names_stay_home_when_told_so() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    assert push(engine, "/s", record_hostname=False).bundle.metadata.source.host_name is None
    engine.files |= tree(file("/s/f", b"changed"))
    assert push(engine, "/s").bundle.metadata.source.host_name


@pytest.mark.parametrize(
    ("names", "labels", "title", "version"),
    [
        (("r.example:5000/team/detector:7",), {}, "detector", "7"),
        (("detector:7",), {artifact.TITLE: "My Model", artifact.VERSION: "8"}, "My Model", "8"),
        ((), {}, "model", "1.0"),
    ],
)
def test_a_model_is_called_by_its_labels_or_its_image(
    names: tuple[str, ...], labels: dict[str, str], title: str, version: str
) -> None:
    held = replace(image(), names=names, config={"Labels": labels})
    metadata = push(FakeEngine(files=tree(file("/s/f")), held=[held]), "/s").bundle.metadata
    assert (metadata.model.title, metadata.model.version) == (title, version)


def test_a_stopped_container_is_started_only_when_told_so() -> None:
    engine = FakeEngine(one=container(running=False))
    with pytest.raises(ModelError, match="not running") as caught, pushing.running(engine.one, engine, start=False):
        pass
    assert "--start" in caught.value.hint
    with pushing.running(engine.one, engine, start=True) as started:
        assert started.running


def test_a_container_is_locked_while_it_is_pushed_or_started_for_that() -> None:
    engine = FakeEngine(one=container(running=False))
    with (
        pushing.running(container(), engine, start=False),
        pytest.raises(BusyError, match="another fps-bundle"),
        pushing.running(engine.one, engine, start=True),
    ):
        pass
    with pushing.running(container(), engine, start=False):
        pass


def test_a_capture_gives_each_layer_that_it_finished_and_ends_also_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BIG", 1000)
    engine = FakeEngine(files=tree(directory("/s"), file("/s/big", bytes(1000)), file("/s/z", b"last")))

    def capture() -> Capture:
        reader, options = engine.reader(engine.one, "auto"), CaptureOptions()
        return Capture(engine.one, ["/s"], engine, reader, LocalSpool(), RecordingProgress(), options)

    whole, broken = capture(), capture()
    captured = whole.run(nullcontext(image()))
    assert {it.blob.digest: it.layer for it in whole.finished_layers()} == {
        blob.digest: layer for blob, layer in zip(captured.descriptors, captured.layers, strict=True)
    }
    engine.fails_at = "/s/big"
    with pytest.raises(EngineError):
        broken.run(nullcontext(image()))
    assert list(broken.finished_layers()) == []


class Network(MemoryStore):
    """A store that is far away."""

    rereadable = False
    arrived = threading.Event()

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
        with super().upload(name, source) as upload:
            yield Announcing(upload, self.arrived)


class Announcing:
    """An upload that says when a blob has come."""

    def __init__(self, upload: Upload, arrived: threading.Event) -> None:
        self.has, self.add, self.reserve, self.commit = upload.has, upload.add, upload.reserve, upload.commit
        self._upload = upload
        self._arrived = arrived

    @property
    def sent(self) -> int:
        return self._upload.sent

    def put(self, blob: Descriptor, opened: Opener) -> None:
        self._upload.put(blob, opened)
        self._arrived.set()


class WaitingReader:
    """Gives the last entry only when something of the first ones has arrived elsewhere."""

    sees_all = True

    def __init__(self, inner: Reader, arrived: threading.Event) -> None:
        self.stat = inner.stat
        self._inner = inner
        self._arrived = arrived

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        for entry, content in self._inner.entries(exports):
            if entry.path == "/s/z":
                assert self._arrived.wait(30)
            yield replace(entry, alone=True), content


class WaitingEngine(FakeEngine):
    def reader(self, container: Any, wanted: str) -> Reader:
        return WaitingReader(super().reader(container, wanted), Network.arrived)


def test_a_layer_travels_while_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BIG", 1000)
    target = Network("1")
    engine = WaitingEngine(files=tree(directory("/s"), file("/s/big", b"0123456789" * 1000), file("/s/z", b"last")))
    result = push(engine, "/s", target=target)
    assert read_bundle(target) == result.bundle
    assert result.sent == sum(blob.size for blob in result.bundle.manifest.blobs)


def test_a_container_that_somebody_paused_is_not_resumed() -> None:
    engine = FakeEngine(one=container(paused=True))
    with pytest.raises(ModelError, match="is already paused"), pushing.running(engine.one, engine, start=True):
        pass


@pytest.mark.parametrize("damage", [None, b"", b"damaged"])
def test_a_layer_that_is_here_in_another_compression_is_used_again(
    store: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    monkeypatch.setattr(pack, "BIG", 100_000)
    big = file("/s/big", b"0123456789" * 20_000)
    before = push(FakeEngine(tree(directory("/s"), big, file("/s/x", b"1"))), "/s", compression=Compression.NONE).bundle
    first = before.manifest.layers[0]
    if damage is not None:
        path = store / "blobs" / "sha256" / first.digest.hex
        path.write_bytes(damage + path.read_bytes()[len(damage) :] if damage else b"")
    blobs = leftovers(store)
    after = push(FakeEngine(tree(directory("/s"), big, file("/s/x", b"2"))), "/s", target=LocalReference("model", "2")).bundle
    assert after.metadata.layers[0].diff_id == before.metadata.layers[0].diff_id
    assert (after.metadata.layers[0] == before.metadata.layers[0]) == (damage is None)  # how it is compressed is told, too
    assert (after.manifest.layers[0] == first) == (damage is None)
    assert len(leftovers(store)) - len(blobs) == (3 if damage is None else 4)


def test_a_layer_that_is_here_is_used_again_though_a_table_is_left_to_read_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "BIG", 100_000)
    monkeypatch.setattr(zstd_frames, "_READ", 100)
    big = file("/s/big", b"0123456789" * 20_000)
    before = push(FakeEngine(tree(directory("/s"), big)), "/s", compression=Compression.NONE).bundle
    after = push(FakeEngine(tree(directory("/s"), big, file("/s/x"))), "/s", target=LocalReference("model", "2")).bundle
    assert after.manifest.layers[0] == before.manifest.layers[0]


@pytest.mark.parametrize("remote", [False, True])
def test_a_dry_run_says_what_would_be_sent_and_keeps_nothing(store: Path, remote: bool) -> None:
    engine, target = FakeEngine(files=tree(file("/s/f"))), MemoryStore("1")
    result = push(engine, "/s", target=target if remote else LOCAL, dry_run=True)
    assert result.planned is not None
    assert [blob.digest for blob in (*result.planned.there, *result.planned.missing)] == [
        blob.digest for blob in result.bundle.manifest.blobs
    ]
    assert (result.planned.there, result.planned.size > 0) == ([], True)
    assert (target.tags, target.blobs, leftovers(store)) == ({}, {}, [])


def test_a_dry_run_into_the_local_store_knows_what_was_there_before() -> None:
    engine = FakeEngine(files=tree(file("/s/f")))
    layers = push(engine, "/s").bundle.manifest.layers
    engine.one = container(name="other")
    planned = push(engine, "/s", target=LocalReference("other", "1"), dry_run=True).planned
    assert planned is not None
    assert [blob.digest for blob in planned.there] == [layer.digest for layer in layers]
    assert len(planned.missing) == 1


@pytest.mark.parametrize(
    ("names", "image_name", "title", "version"),
    [
        (("model:1.0",), "sha256:" + "a" * 64, "model", "1.0"),
        ((), "sha256:" + "a" * 64, "detector", "latest"),
        ((), "aaaaaaaaaaaa", "detector", "latest"),
        ((), "a" * 64, "detector", "latest"),
        ((), "", "detector", "latest"),
        (("<none>:<none>",), "sha256:" + "b" * 64, "detector", "latest"),
        ((), "registry.example:5000/team/model", "model", "latest"),
        ((), f"registry.example:5000/team/model@sha256:{'b' * 64}", "model", "latest"),
        ((), f"team/model:2@sha256:{'b' * 64}", "model", "2"),
    ],
)
def test_a_bundle_is_never_called_by_a_digest(names: tuple[str, ...], image_name: str, title: str, version: str) -> None:
    found = image(id="sha256:" + "a" * 64, names=names, config={})
    one = container(image_name=image_name, image_id=found.id)
    assert pushing.local_name(one, found) == LocalReference(title, version)
    pushed = push(FakeEngine(files=tree(file("/s/f")), one=one, held=[found]), "/s").bundle.metadata.model
    assert (pushed.title, pushed.version) == (title, version)


def test_a_tag_that_moves_is_told_with_what_it_named(tmp_path: Path) -> None:
    first = push(FakeEngine(files=tree(file("/s/f"))), "/s")
    second = push(FakeEngine(files=tree(file("/s/g"))), "/s")
    assert first.displaced is None
    assert second.displaced == Displaced(first.bundle.digest, f"model@{first.bundle.digest}")
    assert read_bundle(LocalStore(reference.parse(second.displaced.reference))).digest == first.bundle.digest
    assert push(FakeEngine(files=tree(file("/s/g"))), "/s").displaced is None, "unchanged"
    for target in (ArchiveStore(tmp_path / "x.tar"), LayoutStore(tmp_path / "layout", "1"), MemoryStore("1")):
        pushed = [push(FakeEngine(files=tree(file(path))), "/s", target=target) for path in ("/s/f", "/s/g")]
        assert [it.displaced for it in pushed] == [None, Displaced(pushed[0].bundle.digest)]


def test_a_dry_run_knows_what_the_target_has() -> None:
    engine, target = FakeEngine(files=tree(file("/s/f"))), MemoryStore("1")
    push(engine, "/s", target=target)
    engine.files |= {"/s": directory("/s", mode=0o700)}
    planned = push(engine, "/s", target=target, dry_run=True).planned
    assert planned is not None
    assert {blob.digest for blob in planned.missing}.isdisjoint(target.blobs)
    assert push(engine, "/s", target=target).sent == planned.size
