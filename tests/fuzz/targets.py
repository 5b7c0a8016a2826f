"""What is fuzzed: each parser of what a stranger wrote takes any bytes, or raises an error of ours."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable
from contextlib import suppress

import zstandard
from deltas import Files
from hostile.forge import COMPRESS, FILE, TOP, Forgery, archived, dump, packed
from images import indexed, made

from bundler.delta.tar_diff import MAGIC, Rebuilder
from bundler.errors import BundlerError
from bundler.format import (
    artifact,
    consistency,
    delta_manifest,
    entry_rules,
    image,
    layer_reader,
    oci_image,
    paths,
    reference,
    split_manifest,
    strict_json,
    tar,
    thin_list,
    toc,
)
from bundler.format import metadata as meta
from bundler.format.content import Descriptor, Digest, VerifyingReader
from bundler.format.faults import Fault
from bundler.format.metadata import Metadata, Platform
from bundler.format.part_list import PartList
from bundler.format.tar import Entry, Kind
from bundler.format.toc import Chunk, Item, Table, TableWriter
from bundler.format.zstd_frames import Frames
from bundler.stores.archive.multi_file import Volume, Volumes
from bundler.stores.archive.store import BundleArchive
from bundler.stores.layout import index
from bundler.streams import from_memory
from bundler.verbs import base_layers
from bundler.verbs.base_layers import ImageLayer

Target = Callable[[bytes], object]
SOURCE = {"a": b"0123456789" * 100, "d/empty": b""}
"""The source of tar-diffs."""


def manifest(data: bytes) -> object:
    found = artifact.read(data, "here")
    return found.size, found.blobs


def referrer(data: bytes) -> object:
    return artifact.read_referrer(data, "here")


def split(data: bytes) -> object:
    return split_manifest.is_split(data) and split_manifest.read(data, "here")


def delta(data: bytes) -> object:
    """What can be read names blobs of limited number, and a source of limited layers."""
    if not delta_manifest.is_delta(data):
        return None
    found = delta_manifest.read(data, "here")
    assert len(found.blobs) <= delta_manifest.MAX_LAYERS + 3
    assert len(found.source.diff_ids) <= delta_manifest.MAX_LAYERS
    return found.size


def tar_diff(data: bytes) -> object:
    """Operations on two files give as many bytes as the first two say, or an error."""
    size = int.from_bytes(data[:2], "big")
    stream = io.BytesIO(MAGIC + zstandard.compress(data[2:]))
    with Rebuilder(stream, Files(SOURCE), size, 1, "here") as rebuilt:
        assert len(rebuilt.read()) == size
    return size


def tar_diff_stream(data: bytes) -> object:
    """The same, as it is stored."""
    with Rebuilder(io.BytesIO(data), Files(SOURCE), 1000, 1, "here") as rebuilt:
        return rebuilt.read()


def metadata(data: bytes) -> object:
    """What can be read can be written, and says the same then."""
    found = Metadata.from_bytes(data, "here")
    layers = [Descriptor(artifact.LAYER, described.diff_id, 1) for described in found.layers]
    manifest = artifact.build(found, Descriptor(artifact.CONFIG, Digest.of(data), len(data)), layers)
    consistency.check(manifest, found, "here")
    assert Metadata.from_bytes(found.to_bytes(), "here") == found
    return found


def layout_index(data: bytes) -> object:
    named = index.read(data, "here")
    assert index.read(index.edit(data, lambda _: False, (), "here"), "here") == named
    return index.find(data, "1", None, "here")


def part_list(data: bytes) -> object:
    return PartList.from_bytes(data, "here")


def have_list(data: bytes) -> object:
    return thin_list.read(data, "here")


def needs(data: bytes) -> object:
    return thin_list.needed(data.decode("utf-8", "replace"))


def tar_stream(data: bytes) -> object:
    """As engines send it."""
    return [(entry, content.read(100)) for entry, content in tar.read(io.BytesIO(data))]


def canonical_tar(data: bytes) -> object:
    """As a layer has it: what is read is written again as the same bytes."""
    again = b""
    for entry, content in tar.read(io.BytesIO(data), canonical=True):
        assert isinstance(entry_rules.fault(entry), Fault | None)
        again += tar.encode(entry) + content.read() + tar.padding(entry.size)
    assert again + tar.TRAILER == data
    return again


def frames(data: bytes) -> object:
    """What passes is what came."""
    stream = Frames(io.BytesIO(data), most=1000, what="it")
    assert b"".join([*(frame.data for frame in stream), *stream.tail()]) == data
    return data


def table(data: bytes) -> object:
    """What can be read of a table of contents is written as the very same."""
    packed = zstandard.compress(data)
    place = Table(1000, len(packed), len(data), Digest.of(packed))
    items = list(toc.read(io.BytesIO(packed), place, "here"))
    assert table_of(items) == data
    return items


def table_of(items: Iterable[Item]) -> bytes:
    writer = TableWriter()
    for item in items:
        writer.add(item)
    tail, found = writer.finish(992)
    assert found
    return zstandard.ZstdDecompressor().decompressobj().decompress(tail[8 : 8 + found.length])


def whole_layer(data: bytes) -> object:
    """Frames, decompressor, tar and rules together; the diff ID is never the right one."""
    described = meta.Layer(diff_id=Digest.of(b""), size=1 << 20, entries=1, exports=())
    blob = VerifyingReader(io.BytesIO(data), Descriptor.of(artifact.LAYER, data), "here")
    return layer_reader.verify(blob, Descriptor.of(artifact.LAYER, data), described, "here", entry_rules.fault)


def archive(data: bytes) -> object:
    place = Volumes([Volume(len(data), lambda offset: io.BytesIO(data[offset:]))])
    return BundleArchive("here", lambda: place).names()


def named(data: bytes) -> object:
    """What is a reference is written as one that means the same."""
    found = reference.parse(data.decode("utf-8", "surrogateescape"))
    assert str(reference.parse(str(found))) == str(found)
    return found


def path(data: bytes) -> object:
    """Every path of a container survives its way through the metadata."""
    text = paths.from_bytes(data)
    assert paths.decode(paths.encode(text)) == text
    return paths.decode(data.decode("latin-1")), paths.fault(text)


def image_manifest(data: bytes) -> object:
    """Of an ordinary image: each layer has a descriptor for a new one, or is refused."""
    found = oci_image.read_manifest(artifact.MANIFEST, data, "here")
    return oci_image.build_manifest(b"{}", [oci_image.oci_layer(layer, "here") for layer in found.layers]).blobs


def image_config(data: bytes) -> object:
    found = oci_image.read_config(data, "here")
    return found.labels, str(found.platform), image.settings(found.settings)


def image_index(data: bytes) -> object:
    return oci_image.pick(data, Platform(os="linux", architecture="amd64"), "here")


def base_layer(data: bytes) -> object:
    """A layer that another tool wrote, in each compression."""
    found = {}
    for kind in (artifact.LAYER_PLAIN, oci_image.LAYER_GZIP, artifact.LAYER):
        layer = ImageLayer(Descriptor.of(kind, data), from_memory(data))
        with suppress(BundlerError):
            found |= base_layers.files_at(["/s/f"], [layer], "here")
    return found


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        manifest,
        referrer,
        split,
        delta,
        tar_diff,
        tar_diff_stream,
        metadata,
        layout_index,
        part_list,
        have_list,
        needs,
        tar_stream,
        canonical_tar,
        frames,
        table,
        whole_layer,
        archive,
        named,
        path,
        image_manifest,
        image_config,
        image_index,
        base_layer,
    )
}


def run(target: Target, data: bytes) -> None:
    """Raises whatever is no answer to bad input."""
    with suppress(BundlerError):
        target(data)


def seeds() -> dict[str, list[bytes]]:
    """Something sound for each target to begin with."""
    files = Forgery().parts()
    documents = [data for data in files.values() if data.startswith(b"{")]
    plain = packed(*TOP) + packed(*FILE) + tar.TRAILER
    digest = str(Digest.of(b""))
    part = {"name": "a.001", "size": 70_000, "digest": digest}
    listed = {"schemaVersion": 1, "mediaType": "application/vnd.fps.bundle.parts.v1+json", "bundle": digest}
    streams = [plain, COMPRESS(plain), COMPRESS(plain[:512]) + COMPRESS(plain[512:])]
    parts = dump({**listed, "size": 70_000, "partSize": 70_000, "parts": [part]})
    had = thin_list.write([thin_list.Had("a:1", Digest.of(b""), frozenset({Digest.of(b"x")}))])
    names = [b"a:1", b"r.example:5000/a/b:1", b"oci:/x/y:1", b"oci-archive:x.tar:1", b"x.tar", f"a@{digest}".encode(), b"/s/%25"]
    signature = Forgery(manifest=lambda it: it.update(subject=it["config"])).parts()
    documents += [data for data in signature.values() if b'"subject"' in data]
    documents.append(split_manifest.build(Digest.of(b""), [Descriptor(split_manifest.PART, Digest.of(b"x"), 1)]))
    whole = b"".join(archived(*item) for item in files.items()) + tar.TRAILER
    chunk = Chunk(90, 0, 5, Digest.of(b"12345"))
    told = table_of(
        [
            Item(Entry("/s", Kind.DIRECTORY, 0o755, 0, 0, 0)),
            Item(Entry("/s/f", Kind.FILE, 0o644, 1, 1, 5, 5), chunk.digest, (chunk,), 120),
            Item(Entry("/s/l", Kind.SYMLINK, 0o777, 0, 0, 0, 0, "f")),
        ]
    )
    ordinary = made()
    several = indexed((ordinary, Platform(os="linux", architecture="amd64")))
    documents += [ordinary.data, several.data, *(blob for blob in ordinary.blobs.values() if blob.startswith(b"{"))]
    streams += [gzip.compress(plain, mtime=0), plain.replace(b"s/f", b"s/.wh.f")]
    documents.append(_delta_manifest(next(data for data in documents if artifact.is_bundle(data))))
    copied = b"\3\xe8\1\1a\4\x64\2\xf4\3\4\0\3\x64" + bytes(100) + b"\0\x90\3" + bytes(400)
    streams += [copied, MAGIC + COMPRESS(copied[2:])]
    found = [told, *documents, *streams, whole, parts, had, f"{digest} a:1".encode(), *names]
    return {name: [item for item in found if len(item) < strict_json.MAX_SIZE] for name in TARGETS}


def _delta_manifest(target: bytes) -> bytes:
    """The manifest of a delta to this bundle, of which every layer is a tar-diff."""
    found = artifact.read(target, "here")
    old = Digest.of(b"old")
    source = delta_manifest.DeltaSource(old, (old,), f"model@{old}", old)
    diffs = {layer.digest: Descriptor.of(delta_manifest.TAR_DIFF, b"x") for layer in found.layers}
    manifest = Descriptor.of(delta_manifest.TARGET_MANIFEST, delta_manifest.compressed(found))
    return delta_manifest.build(found, manifest, source, diffs, []).data
