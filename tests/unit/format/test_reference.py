from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bundler.errors import UsageError
from bundler.format.content import Digest
from bundler.format.reference import (
    ArchiveReference,
    LayoutReference,
    LocalReference,
    Reference,
    RegistryReference,
    image_name,
    image_tag,
    parse,
    parse_registry,
)

DIGEST = "sha256:" + "a1" * 32
PARSED = Digest("a1" * 32)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example:5000/team/detector:7", RegistryReference("registry.example:5000", "team/detector", "7")),
        ("localhost/x", RegistryReference("localhost", "x", "latest")),
        ("127.0.0.1:5000/a.b/c:1", RegistryReference("127.0.0.1:5000", "a.b/c", "1")),
        (f"r.example/x@{DIGEST}", RegistryReference("r.example", "x", "latest", PARSED)),
        (f"r.example/x:1@{DIGEST}", RegistryReference("r.example", "x", "1", PARSED)),
        ("oci:some/dir", LayoutReference("some/dir")),
        ("oci:some/dir:tag", LayoutReference("some/dir", "tag")),
        ("oci:/a:b/dir", LayoutReference("/a:b/dir")),
        (f"oci:dir@{DIGEST}", LayoutReference("dir", "", PARSED)),
        ("oci-archive:/media/x:1", ArchiveReference("/media/x", "1")),
        ("oci-archive:x.tar", ArchiveReference("x.tar")),
        ("/media/stick/x.tar", ArchiveReference("/media/stick/x.tar")),
        ("x.tar", ArchiveReference("x.tar")),
        ("-", ArchiveReference("-")),
        ("oci-archive:-:1", ArchiveReference("-", "1")),
        ("registry.example/x.tar", ArchiveReference("registry.example/x.tar")),
        ("detector", LocalReference("detector", "latest")),
        ("team/detector:7", LocalReference("team/detector", "7")),
        (f"detector@{DIGEST}", LocalReference("detector", "latest", PARSED)),
    ],
)
def test_every_form_is_understood(text: str, expected: Reference) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected or isinstance(expected, RegistryReference | LocalReference)


@pytest.mark.parametrize(
    ("text", "is_pipe"), [("-", True), ("oci-archive:-:1", True), ("./-.tar", False), ("oci-archive:./-", False)]
)
def test_only_a_bare_dash_is_a_pipe(text: str, is_pipe: bool) -> None:
    reference = parse(text)
    assert isinstance(reference, ArchiveReference)
    assert reference.is_pipe is is_pipe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Detector:7",
        "a//b",
        "x:",
        "x:ta/g",
        "x@sha256:12",
        "x@md5:abc",
        "oci:",
        "oci-archive::1",
        "-x",
        "x\n",
        "r.example/",
        "x" * 256,
    ],
)
def test_nonsense_is_refused_with_the_syntax(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.exit_code == 2
    assert "REGISTRY/REPOSITORY:TAG" in caught.value.hint


@pytest.mark.parametrize(
    ("title", "name"),
    [("Example Model", "example-model"), ("Fire & Water!", "fire-water"), ("../../x", "x"), ("☃", "model"), ("a", "a")],
)
def test_a_title_becomes_a_repository_name(title: str, name: str) -> None:
    assert image_name(title) == name
    assert parse(f"{name}:1") == LocalReference(name, "1")


@pytest.mark.parametrize("name", ["docker.io", "localhost", "localhost:5000", "r.example", "10.0.0.1:5000", "[::1]:5000"])
def test_a_registry_alone_is_understood(name: str) -> None:
    assert parse_registry(name) == name


@pytest.mark.parametrize(
    "text", ["", "host", "r.example/team", "r.example/", "https://r.example", "..", "../r.example", "r.example:x"]
)
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no registry"):
        parse_registry(text)


@pytest.mark.parametrize(("version", "tag"), [("1.0", "1.0"), ("1.0+gpu x", "1.0-gpu-x"), (".hidden", "hidden"), ("☃", "latest")])
def test_a_version_becomes_a_tag(version: str, tag: str) -> None:
    assert image_tag(version) == tag


@given(st.text())
@example("x" * 300)
@example("x" * 254 + "!" + "x" * 9)
@example("OCI:ARCHIVE")
@example("oci")
def test_any_title_and_version_make_a_name_that_can_be_read(text: str) -> None:
    named = LocalReference(image_name(text), image_tag(text))
    assert parse(f"{named.name}@{DIGEST}") == LocalReference(named.name, "latest", PARSED)
    assert named.tag.endswith(".tar") or parse(str(named)) == named


@given(st.text(st.sampled_from("aA0.:/@-_ é"), max_size=12))
def test_what_is_understood_can_be_written_and_understood_again(text: str) -> None:
    for prefix in ("", "oci:", "oci-archive:", "r.example/"):
        try:
            once = parse(prefix + text)
        except UsageError:
            continue
        assert str(parse(str(once))) == str(once)


@pytest.mark.parametrize("place", ["oci:a:b:c", "oci-archive:a:b:c"])
def test_a_place_with_a_colon_is_written_as_it_was(place: str) -> None:
    """Found by `make fuzz`: without its tag the directory ``a:b`` was written as the directory ``a``."""
    text = f"{place}@sha256:{'a' * 64}"
    assert str(parse(text)) == text
