"""Hostile documents: JSON that parsers read differently, manifests that are two things, metadata that contradicts itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fakes import directory, file

from bundler.format import artifact, tar
from bundler.format import metadata as meta
from bundler.format.content import Digest
from hostile.case import Case, archive, setting
from hostile.forge import FILE, TOP

OTHER = str(Digest.of(b"something else"))


def first(text: bytes) -> Callable[[bytes], bytes]:
    """Puts something at the beginning of an object."""
    return lambda data: b"{" + text + b"," + data[1:]


TRICKS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: data[:0],
    "a list": lambda data: b"[" + data + b"]",
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "a byte that is no UTF-8": first(b'"x":"\xff"'),
    "an overlong zero": first(b'"x":"\xc0\x80"'),
    "half a surrogate pair": first(b'"x":"\\ud800"'),
    "half a surrogate pair in a key": first(b'"\\udc00":1'),
    "the same key twice": first(b'"schemaVersion":2'),
    "the same key twice, deep inside": first(b'"x":[{"y":{"z":1,"z":1}}]'),
    "the same key twice, once with an escape": first(b'"schema\\u0056ersion":2'),
    "a key in two letter cases": first(b'"SCHEMAVERSION":2'),
    "a key in two letter cases, deep inside": first(b'"x":[{"size":1,"Size":2}]'),
    "a key with a long s": first('"\u017fchemaVersion":2'.encode()),
    "NaN": first(b'"x":NaN'),
    "minus infinity": first(b'"x":-Infinity'),
    "a number beyond all floats": first(b'"x":1e999'),
    "a number of 5,000 digits": first(b'"x":' + b"9" * 5000),
    "100,000 brackets": first(b'"x":' + b"[" * 100_000),
    "100,000 closed brackets": first(b'"x":' + b"[" * 100_000 + b"]" * 100_000),
    "200 objects in each other": first(b'"x":' + b'{"y":' * 200 + b"1" + b"}" * 200),
    "a million empty objects": first(b'"x":[' + b"{}," * 1_000_000 + b"{}]"),
    "something behind its end": lambda data: data + b"{}",
    "a string of 5 MB": first(b'"x":"' + b"x" * 5_000_000 + b'"'),
    "a comment": lambda data: b"/* */" + data,
}


def tricks() -> Iterator[Case]:
    for name, trick in TRICKS.items():
        yield archive(f"index: {name}", index_data=trick)
        yield archive(f"manifest: {name}", manifest_data=trick)
        yield archive(f"metadata: {name}", config=trick)


def layer_field(name: str, to: Any) -> Callable[[dict[str, Any]], None]:
    return setting("layers", 0, name, to=to)


def manifests() -> Iterator[Case]:
    digests = [OTHER.upper(), OTHER[:-1], OTHER + "a", f"{OTHER}\n", "sha256:../../../etc/passwd", "md5:" + "a" * 32, 7]
    for number, digest in enumerate(digests, 1):
        yield archive(f"manifest: digest {number} that is none", manifest=layer_field("digest", digest))
    for size in (-1, 2**63, 1.5, "1", True, None):
        yield archive(f"manifest: the size {size!r}", manifest=layer_field("size", size))
    yield archive("manifest: a metadata of 5 MB", manifest=setting("config", "size", to=5 << 20))
    yield archive("manifest: a metadata that is one byte longer", manifest=setting("config", "size", to=lambda size: size + 1))
    yield archive("manifest: a metadata that is one byte shorter", manifest=setting("config", "size", to=lambda size: size - 1))
    yield archive("manifest: another metadata", manifest=setting("config", "digest", to=OTHER))
    yield archive("manifest: a layer somewhere on the web", manifest=layer_field("urls", ["http://attacker.example/layer"]))
    yield archive("manifest: a layer in the manifest", manifest=layer_field("data", "e30="))
    yield archive("manifest: URLS", manifest=layer_field("URLS", ["http://attacker.example/layer"]))
    yield archive("manifest: Digest beside digest", manifest=layer_field("Digest", OTHER))
    yield archive("manifest: a plain layer", manifest=layer_field("mediaType", artifact.LAYER_PLAIN))
    yield archive("manifest: an image's config", manifest=setting("config", "mediaType", to=artifact.IMAGE_CONFIG))
    yield archive("manifest: another artifact type", manifest=setting("artifactType", to="application/x"))
    yield archive("manifest: no artifact type", manifest=setting("artifactType", to=...))
    yield archive("manifest: no media type", manifest=setting("mediaType", to=...))
    yield archive("manifest: the media type of an index", manifest=setting("mediaType", to=artifact.INDEX))
    yield archive("manifest: schema version 1", manifest=setting("schemaVersion", to=1))
    for key in ("manifests", "Manifests", "fsLayers", "FSLAYERS", "signatures", "history", "Subject"):
        yield archive(f"manifest: it has {key}, too", manifest=setting(key, to=[]))
    yield archive("manifest: no layers", manifest=setting("layers", to=...))
    yield archive("manifest: layers that are an object", manifest=setting("layers", to={}))
    yield archive("manifest: one layer more than the metadata", manifest=setting("layers", to=lambda layers: layers * 2))
    yield archive("manifest: one layer less than the metadata", manifest=setting("layers", to=[]))
    yield archive("manifest: annotations that are no strings", manifest=setting("annotations", "x", to=1))
    yield archive("manifest: another title than the metadata", manifest=setting("annotations", artifact.TITLE, to="Sound Model"))
    yield archive(
        "manifest: another time than the metadata", manifest=setting("annotations", artifact.CREATED, to="2030-01-01T00:00:00Z")
    )
    yield archive("manifest: no version", manifest=setting("annotations", artifact.VERSION, to=...))


def indexes() -> Iterator[Case]:
    entry = ("manifests", 0)
    yield archive("index: the media type of a manifest", index=setting("mediaType", to=artifact.MANIFEST))
    yield archive("index: it has layers, too", index=setting("layers", to=[]))
    yield archive("index: it has a config, too", index=setting("config", to={}))
    yield archive("index: Manifests beside manifests", index=setting("Manifests", to=[]))
    yield archive("index: an artifact type that is not the bundle's", index=setting(*entry, "artifactType", to="application/x"))
    yield archive("index: a media type that is not a manifest's", index=setting(*entry, "mediaType", to=artifact.INDEX))
    yield archive("index: a size that is not the manifest's", index=setting(*entry, "size", to=lambda size: size + 1))
    yield archive("index: a manifest of 5 MB", index=setting(*entry, "size", to=5 << 20))
    yield archive("index: a manifest that is missing", index=setting(*entry, "digest", to=OTHER))
    yield archive("index: a digest that is a path", index=setting(*entry, "digest", to="sha256:../../../../etc/passwd"))
    yield archive("index: manifests that are no list", index=setting("manifests", to={}))
    yield archive("index: one name for two manifests", tag=":1", index=_add_twin)


def _add_twin(content: dict[str, Any]) -> None:
    content["manifests"].append({**content["manifests"][0], "digest": OTHER})


def claims() -> Iterator[Case]:
    def claim(name: str, *path: str | int, to: Any) -> Case:
        return archive(f"metadata: {name}", metadata=setting(*path, to=to))

    yield claim("schema version 2", "schemaVersion", to=2)
    yield claim("no model", "model", to=...)
    yield claim("a chain ID that is not that of the layers", "base", "chainID", to=OTHER)
    yield claim("a diff ID that is a path", "layers", 0, "diffID", to="sha256:../../x")
    yield claim("a layer of 2^63 bytes", "layers", 0, "size", to=2**63)
    yield claim("a size that is a fraction", "layers", 0, "size", to=0.5)
    yield claim("labels that only an applied image has", "image", "Labels", "fps.bundle.base.match", to="version")
    yield claim("such labels of the base", "base", "config", "Labels", "fps.bundle.digest", to=OTHER)
    yield claim("a label that is no string", "image", "Labels", "x", to={})
    yield claim("a Cmd with a zero byte", "image", "Cmd", to=["a\0b"])
    yield claim("a Cmd that is one text", "image", "Cmd", to="serve")
    yield claim("a health check every nanosecond", "image", "Healthcheck", to={"Test": ["CMD", "/x"], "Interval": 1})
    yield claim("a health check of the base that is no list", "base", "config", "Healthcheck", to={"Test": "CMD"})
    yield claim("a signal that is none", "image", "StopSignal", to="SIGNOW")
    yield claim("an ancestor of the 99th of a month", "lineage", to=[{"digest": OTHER, "created": "2026-01-99T00:00:00Z"}])
    yield claim("an export that is the root", "exports", 0, "resolved", to="/")
    yield claim("an export in /proc", "exports", 0, "resolved", to="/proc/1")
    yield claim("an export with ..", "exports", 0, "resolved", to="/s/../etc")
    yield claim("an export with an empty part", "exports", 0, "resolved", to="/s//x")
    yield claim("an export of 10,000 bytes", "exports", 0, "resolved", to="/" + "x" * 10_000)
    yield claim("an export that is relative", "exports", 0, "resolved", to="s")
    yield claim("an export in another spelling", "exports", 0, "resolved", to="/%73")
    yield claim("an export with a zero in its name", "exports", 0, "resolved", to="/s%00")
    yield claim("100,001 exports", "exports", to=lambda found: found * 100_001)
    yield claim("a parent of nothing", "parents", to=[{"path": "/etc", "mode": 0o777, "uid": 0, "gid": 0}])
    yield claim("a removed path outside of the exports", "removed", to=["/etc/passwd"])
    yield claim("a removed path with ..", "removed", to=["/s/../etc/passwd"])
    yield claim("removed paths within each other", "removed", to=["/s/a", "/s/a/b"])
    yield claim("removed paths out of order", "removed", to=["/s/b", "/s/a"])
    yield claim("800,000 removed paths", "removed", to=["/s/"] * 800_000)
    yield claim("a privileged path outside of the exports", "privileged", to=["/usr/bin/sudo"])
    yield claim("1,001 privileged paths", "privileged", to=[f"/s/{number}" for number in range(1001)])
    yield claim("66 layers", "layers", to=lambda found: found * 66)


def _as_skopeo(content: dict[str, Any]) -> None:
    del content["mediaType"], content["manifests"][0]["artifactType"]


def truths() -> Iterator[Case]:
    """What must be taken, so that a refusal means something."""
    yield archive("sound: the plainest bundle", sound=True)
    yield archive(
        "sound: unknown fields", sound=True, metadata=setting("later", to={"x": [1]}), manifest=setting("annotations", "x", to="y")
    )
    yield archive(
        "sound: labels that differ by letter case", sound=True, metadata=setting("image", "Labels", to={"a": "1", "A": "2"})
    )
    yield archive("sound: skopeo's index", sound=True, index=_as_skopeo)
    parents = (meta.Parent(path="/opt", mode=0o750, uid=1, gid=2),)
    above = directory("/opt", mode=0o750, uid=1, gid=2, mtime=0)
    nested = [[above, directory("/opt/s"), file("/opt/s/f"), (tar.whiteout("/opt/s/gone"), b"")]]
    told = {"exports": ("/opt/s",), "parents": parents, "removed": ("/opt/s/gone",)}
    yield archive("sound: parents and whiteouts", sound=True, layers=nested, truth=told)
    own = [[directory("/s", mtime=0), file("/s/big", b"big")], [TOP, FILE]]
    yield archive("sound: a layer of its own", sound=True, layers=own)
