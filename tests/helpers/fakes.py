"""Fakes of the ports: what unit tests use in place of an engine, a model and a registry."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bundler.errors import EngineError, IntegrityError, ModelError, NotFoundError, StoreError, UsageError
from bundler.format import artifact, paths, tar
from bundler.format.content import Descriptor, Digest, RangeReader, VerifyingReader
from bundler.format.image_archive import NewImage
from bundler.format.metadata import Platform
from bundler.format.signature import NewReferrer
from bundler.format.tar import Entry, Kind
from bundler.format.whiteouts import Listed
from bundler.ports import Checked, Container, Displaced, EngineInfo, Image, Named, PathInfo, Reader, RunOptions, Store, Upload
from bundler.streams import Begun, Opener, Progress, Readable, Stream

PLATFORM = Platform(os="linux", architecture="amd64")
Tree = dict[str, tuple[Entry, bytes]]


def directory(path: str, **changes: Any) -> tuple[Entry, bytes]:
    return replace(Entry(path, Kind.DIRECTORY, 0o755, 0, 0, 1_600_000_000), **changes), b""


def file(path: str, data: bytes = b"data", **changes: Any) -> tuple[Entry, bytes]:
    return replace(Entry(path, Kind.FILE, 0o644, 1, 2, 1_600_000_000, len(data)), **changes), data


def link(path: str, kind: Kind, target: str) -> tuple[Entry, bytes]:
    return Entry(path, kind, 0o777, 0, 0, 1_600_000_000, target=target), b""


def special(path: str, kind: Kind = Kind.FIFO) -> tuple[Entry, bytes]:
    return Entry(path, kind, 0o644, 0, 0, 1_600_000_000), b""


def tree(*members: tuple[Entry, bytes]) -> Tree:
    """A file system of these members and the directories above them."""
    found = {entry.path: (entry, data) for entry, data in members}
    for path in list(found):
        for above in paths.ancestors(path):
            found.setdefault(above, directory(above))
    return found


def image(name: str = "model:1.0", layers: int = 2, **changes: Any) -> Image:
    config = {
        "Cmd": ["serve"],
        "Env": ["A=1"],
        "ExposedPorts": {"50051/tcp": {}},
        "Labels": {artifact.TITLE: "Model", artifact.VERSION: "1.0"},
    }
    diff_ids = tuple(Digest.of(f"layer {number}".encode()) for number in range(layers))
    made = Image(str(Digest.of(name.encode())), (name,), (), PLATFORM, diff_ids, config, "2026-01-01T00:00:00Z", 1000)
    return replace(made, **changes)


def container(**changes: Any) -> Container:
    made = Container(
        id="c" * 64,
        name="detector",
        image_id=image().id,
        image_name="model:1.0",
        running=True,
        paused=False,
        addresses=("10.0.0.2",),
        exposed=(50051,),
        published={},
        mounts={},
    )
    return replace(made, **changes)


class RecordingProgress:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.asides: list[tuple[str, int]] = []
        self.done = 0

    def stage(self, text: str, total: int | None = None) -> None:
        del total
        self.stages.append(text)

    def advance(self, count: int) -> None:
        self.done += count

    @contextmanager
    def aside(self, text: str, total: int) -> Iterator[Callable[[int], object]]:
        self.asides.append((text, total))
        counts: list[int] = []
        yield counts.append
        assert sum(counts) == total

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class ScriptedModel:
    """A model that exports what it was told to, and at Ingest asks for ``requests``; what it got is in ``answers``."""

    def __init__(self, *exports: str, requests: Sequence[tuple[str, str]] = (), strict: bool = False) -> None:
        self._exports = exports
        self._requests = requests
        self._strict = strict
        self.answers: list[str] = []

    def export(self) -> Sequence[str]:
        return self._exports

    def connect(self) -> None:
        pass

    def ingest(self, copy: Callable[[str, str], str]) -> None:
        for source, dest in self._requests:
            self.answers.append(copy(source, dest))
            if self._strict and self.answers[-1]:
                raise ModelError(f"the model failed Ingest: {self.answers[-1]}")

    def close(self) -> None:
        pass


NEW = container(id="n" * 64, name="fps-bundle-new")
"""What `FakeEngine.running` gives."""


CLEAN = "b" * 64
"""The ID of what `FakeEngine.created` gives of the base; it has ``base_files``."""


@dataclass
class FakeEngine:
    """An engine with one container, whose file system is a `Tree`, and images whose content is one too.

    A second container comes and goes with `running`; ``loses`` is what never arrives in it.
    """

    files: Tree = field(default_factory=dict)
    new_files: Tree = field(default_factory=dict)
    loses: str = ""
    new_ended: bool = False
    kept: list[Container] = field(default_factory=list)
    runs: list[Image] = field(default_factory=list)
    base_files: Tree = field(default_factory=dict)
    held: list[Image] = field(default_factory=lambda: [image()])
    one: Container = field(default_factory=container)
    fails_at: str = ""
    is_paused: bool = False
    pauses: int = 0
    reading: bool = False
    loads: list[NewImage] = field(default_factory=list)
    archives: dict[str, bytes] = field(default_factory=dict)
    image_store: str = "classic"
    root: str = ""
    irreplaceable: Sequence[str] = ()
    successor: Container = field(default_factory=lambda: container(id="s" * 64, instance="1"))
    healing: list[Container] = field(default_factory=list)
    """What `probed` gives, one after the other."""
    events: list[str] = field(default_factory=list)

    def info(self) -> EngineInfo:
        return EngineInfo("Fake", "1", self.image_store, self.root)

    def container(self, name: str) -> Container:
        self.refuse_while_read()
        for container in (self.one, replace(NEW, running=not self.new_ended), self.successor):
            if name in (container.name, container.id):
                return container
        raise NotFoundError(f"there is no container {name!r}")

    @contextmanager
    def route(self, endpoint: str) -> Iterator[str]:
        yield endpoint

    @contextmanager
    def paused(self, container: Container) -> Iterator[None]:
        del container
        self.refuse_while_read()
        self.is_paused = True
        self.pauses += 1
        try:
            yield
        finally:
            self.refuse_while_read()
            self.is_paused = False

    def refuse_while_read(self) -> None:
        """An engine locks a container whose archive it is sending."""
        if self.reading:
            raise EngineError("the container is locked while it is read")

    @contextmanager
    def started(self, container: Container) -> Iterator[Container]:
        yield replace(container, running=True)

    @contextmanager
    def created(self, image: Image) -> Iterator[Container]:
        yield replace(self.one, id=CLEAN if image.id == self.one.image_id else self.one.id, running=False)

    @contextmanager
    def running(self, image: Image, options: RunOptions, *, keep: bool) -> Iterator[Container]:
        del options
        self.runs.append(image)
        try:
            yield NEW
        except ModelError as error:
            if keep:
                self.kept.append(NEW)
                error.hint += f" The new container is kept: {NEW.name}"
            raise

    def check_replaceable(self, old: Container) -> None:
        if old.name in self.irreplaceable:
            raise UsageError(f"{old.name} cannot be replaced")

    @contextmanager
    def replaced(self, old: Container, image: Image, name: str, exports: Sequence[str]) -> Iterator[Container]:
        self.events.append(f"start {name} ({image.id[:12]}) in place of {old.name}, with its own {' '.join(exports)}")
        try:
            yield self.successor
        except BaseException:
            self.events.append(f"undo {old.name}")
            raise
        self.one = replace(self.successor, name=old.name)

    @contextmanager
    def exchanged(self, current: Container) -> Iterator[Container]:
        with self.replaced(current, self.held[0], f"{current.name}-previous", ()) as previous:
            yield previous

    def probed(self, container: Container) -> Container:
        self.events.append(f"check {container.name}")
        return self.healing.pop(0) if self.healing else self.container(container.id)

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        assert container == NEW
        for entry, content in tar.read(io.BytesIO(b"".join(archive))):
            if entry.path != self.loses:
                self.new_files[entry.path] = entry, content.read()

    def logs(self, container: Container) -> str:
        return f"the last words of {container.name}"

    @contextmanager
    def committed(self, container: Container) -> Iterator[Image]:
        assert container == NEW
        clean = self.runs[-1]
        made = replace(clean, id="committed", names=(), diff_ids=(*clean.diff_ids, Digest.of(b"committed")))
        self.held.append(made)
        yield made
        self.held.remove(made)

    def extent(self, container: Container, reader: Reader) -> int:
        del container, reader
        self.refuse_while_read()
        return sum(entry.size for entry, _ in self.files.values())

    def changes(self, container: Container) -> dict[str, str]:
        del container
        self.refuse_while_read()
        return {path: "added" for path in self.files if path not in self.base_files}

    def size(self, container: Container, path: str) -> int:
        del container
        self.refuse_while_read()
        return self.files[path][0].size

    def reader(self, container: Container, wanted: str) -> Reader:
        del wanted
        of_base = self.base_files if container.id == CLEAN else self.files
        return _FakeReader(self, self.new_files if container == NEW else of_base)

    def listing(self, base: Image, exports: Sequence[str]) -> Iterator[Listed]:
        del base
        assert not self.is_paused
        found = sorted(self.base_files, key=paths.sort_key)
        return iter(
            [Listed(path, self.base_files[path][0].kind) for path in found if any(paths.is_within(path, top) for top in exports)]
        )

    def image(self, name: str) -> Image:
        for held in self.held:
            if name == held.id or name in held.names:
                return held
        raise NotFoundError(f"the engine has no image {name!r}")

    def images(self) -> Iterator[Image]:
        return iter(list(self.held))

    @contextmanager
    def saved(self, image: Image) -> Iterator[io.BytesIO]:
        yield io.BytesIO(self.archives[image.id])

    def holding(self, new: NewImage) -> Image | None:
        found = (held for held in self.held if held.id == str(new.config_digest) and held.diff_ids == new.diff_ids)
        return next(found, None)

    @contextmanager
    def loaded(self, image: NewImage, base: Image, progress: Progress) -> Iterator[Image]:
        del progress
        self.loads.append(image)
        for layer in image.layers:
            with layer.open() as stream:
                while stream.read(100):
                    pass
        made = replace(base, id=str(image.config_digest), names=(), diff_ids=image.diff_ids, config=_config(image.config))
        self.held.append(made)
        try:
            yield made
        finally:
            self.held = [held for held in self.held if held.id != made.id or held.names]

    def tag(self, image: Image, name: str) -> None:
        self.held = [replace(held, names=tuple(other for other in held.names if other != name)) for held in self.held]
        self.held = [replace(held, names=(*held.names, name)) if held.id == image.id else held for held in self.held]


def _config(data: bytes) -> Mapping[str, Any]:
    import json

    config: Mapping[str, Any] = json.loads(data)["config"]
    return config


class _FakeReader:
    sees_all = True

    def __init__(self, engine: FakeEngine, files: Tree) -> None:
        self._engine = engine
        self._files = files

    def stat(self, path: str) -> PathInfo | None:
        self._engine.refuse_while_read()
        if path not in self._files:
            return None
        entry = self._files[path][0]
        return PathInfo(entry.target if entry.kind is Kind.SYMLINK else None, entry.kind is Kind.DIRECTORY)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        above = {directory for export in exports for directory in paths.ancestors(export)}
        self._engine.reading = True
        try:
            for path in sorted(self._files, key=paths.sort_key):
                if path == self._engine.fails_at:
                    raise EngineError("the engine went away")
                if path in above or any(paths.is_within(path, export) for export in exports):
                    entry, data = self._files[path]
                    yield entry, io.BytesIO(data)
        finally:
            self._engine.reading = False


class MemoryStore:
    """A store in memory; several names of one store share ``blobs`` and ``tags``."""

    rereadable = True
    parallel = 1
    ordered = False

    def __init__(self, name: str = "1", digest: Digest | None = None, shared: MemoryStore | None = None) -> None:
        self.where = f"memory:{name}"
        self._name = name
        self._digest = digest
        self.blobs: dict[Digest, bytes] = shared.blobs if shared else {}
        self.tags: dict[str, Descriptor] = shared.tags if shared else {}
        self.unnamed: list[Descriptor] = shared.unnamed if shared else []
        self.broken = False

    def resolve(self) -> Descriptor:
        found = [item for name, item in self.tags.items() if (item.digest == self._digest if self._digest else name == self._name)]
        if not found:
            raise NotFoundError(f"{self.where}: no such bundle")
        return found[0]

    def manifest(self, descriptor: Descriptor) -> bytes:
        with self.open(descriptor) as stream:
            return stream.read()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        if blob.digest not in self.blobs:
            raise IntegrityError(f"{self.where}: {blob.digest} is missing")
        content = self.blobs[blob.digest][begun.size if begun else 0 :]
        return VerifyingReader(io.BytesIO(content), blob, self.where, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        if blob.digest not in self.blobs:
            raise IntegrityError(f"{self.where}: {blob.digest} is missing")
        return RangeReader(io.BytesIO(self.blobs[blob.digest][offset:]), blob, size, self.where)

    def holds(self, blob: Descriptor) -> bool:
        return self.has(blob)

    def has(self, blob: Descriptor) -> bool:
        return blob.digest in self.blobs

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        return [found for found in self.unnamed if artifact.subject(self.manifest(found), self.where) == manifest.digest]

    def attach(self, new: NewReferrer) -> None:
        self.blobs |= {blob.digest: data for blob, data in new.blobs} | {new.referrer.descriptor.digest: new.referrer.data}
        self.unnamed.append(new.referrer.descriptor)

    def names(self) -> Sequence[Named]:
        return [Named(name, manifest) for name, manifest in self.tags.items()]

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[Upload]:
        del source
        if self.broken:
            raise StoreError(f"{self.where}: the link is down")
        yield _MemoryUpload(self, self._name or name)


class WatchedStore(MemoryStore):
    """Remembers what of its blobs was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Digest] = []
        self.ranges: list[tuple[Digest, int, int]] = []

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        self.opened.append(blob.digest)
        return super().open(blob, begun)

    def open_range(self, blob: Descriptor, offset: int, size: int) -> Stream:
        self.ranges.append((blob.digest, offset, size))
        return super().open_range(blob, offset, size)


class _MemoryUpload:
    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store = store
        self._name = name
        self._added: list[Descriptor] = []
        self._sent: list[int] = []

    @property
    def sent(self) -> int:
        return sum(self._sent)

    def has(self, blob: Descriptor) -> bool:
        return self._store.has(blob)

    def reserve(self, size: int) -> None:
        pass

    def put(self, blob: Descriptor, opened: Opener) -> None:
        with opened() as content:
            self._store.blobs[blob.digest] = b"".join(iter(lambda: content.read(1000), b""))
        self._sent.append(blob.size)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._store.blobs[manifest.digest] = data
        self._added.append(manifest)

    def commit(self, manifest: Descriptor) -> Displaced | None:
        former = self._store.tags.get(self._name, manifest)
        self._store.tags[self._name] = manifest
        others = [added for added in self._added if added.digest != manifest.digest]
        self._store.unnamed += [added for added in others if added not in self._store.unnamed]
        return Displaced(former.digest) if former.digest != manifest.digest else None


class FakeSigner:
    """A key whose signature is its name and the digest of what was signed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def sign(self, message: bytes) -> bytes:
        return f"{self._name} {Digest.of(message)}".encode()


class FakeVerifier:
    """Knows the principals of keys by their names."""

    def __init__(self, **principals: str) -> None:
        self._principals = principals

    def check(self, message: bytes, signature: bytes) -> Checked:
        name, _, digest = signature.decode().partition(" ")
        if digest != str(Digest.of(message)):
            return Checked(fault="incorrect signature")
        principal = self._principals.get(name)
        return Checked("FAKE", name, (principal,) if principal else (), "" if principal else "it is not an allowed signer")
