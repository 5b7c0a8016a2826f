"""Hypothesis strategies of what containers hold."""

from __future__ import annotations

from hypothesis import strategies as st

from bundler.format import paths
from bundler.format.tar import Entry, Kind

names = (
    st.binary(min_size=1, max_size=120)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b".."))
    .map(paths.from_bytes)
)
container_paths = st.lists(names, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
ids = st.one_of(st.integers(0, 70000), st.integers(2**21 - 2, 2**32 - 2))
times = st.integers(-(2**33), 2**36)
nanoseconds = st.one_of(st.sampled_from([0, 1, 500_000_000]), st.integers(0, 999_999_999))
xattrs = st.dictionaries(
    st.text("abc._ +%", min_size=1, max_size=40).map(lambda name: f"user.{name}"), st.binary(min_size=1, max_size=300), max_size=3
).map(lambda found: tuple(sorted(found.items())))


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARD_LINK]))
    target = {Kind.SYMLINK: st.one_of(names, container_paths), Kind.HARD_LINK: container_paths}.get(kind, st.just(""))
    return Entry(
        path=draw(container_paths),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(ids),
        gid=draw(ids),
        mtime=draw(times),
        size=draw(st.one_of(st.integers(0, 5000), st.integers(8**11 - 1, 8**12))) if kind is Kind.FILE else 0,
        target=draw(target),
        capability=draw(st.sampled_from([b"", b"\1\0\0\2\0\4\0\0\n=\0\xff"])) if kind is Kind.FILE else b"",
        nanoseconds=draw(nanoseconds),
        xattrs=draw(xattrs) if kind in (Kind.FILE, Kind.DIRECTORY) else (),
    )
