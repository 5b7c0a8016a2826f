"""On real engines: what is signed is applied, what is forged or older is not, and nothing is touched for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sshkeys
from bundles import verified
from guardedsocket import guarded
from opened import store
from sshkeys import Key
from world import Host, Outcome

from bundler.bundle import read_bundle, referrers
from bundler.format import signature
from bundler.stores.archive.store import ArchiveStore

STATE = "import os\nos.makedirs('/srv', exist_ok=True)\nopen('/srv/state', 'w').write({text!r})"


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return sshkeys.key(tmp_path / "alice")


@pytest.fixture
def mallory(tmp_path: Path) -> Key:
    return sshkeys.key(tmp_path / "mallory", "ecdsa")


def believe(host: Host, *lines: bytes, more: str = "") -> None:
    """Give a host its policy."""
    directory = host.home / "config" / "fps-bundle"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "allowed_signers").write_bytes(b"".join(lines))
    (directory / "trust.toml").write_text(f'allowed-signers = "allowed_signers"\n{more}')


@pytest.fixture
def model(here: Host) -> Callable[[str, str], None]:
    """Pushes the model, which has learned a text, to an archive, with these options."""
    container = here.run_script("first", ["/srv"], STATE.format(text="nothing yet"))

    def push(text: str, target: str, *options: str) -> None:
        here.execute(container, STATE.format(text=text))
        here.must("push", "first", target, *options)

    return push


Push = Callable[..., None]


def applied(host: Host, target: str, *options: str) -> Outcome:
    return host.bundle("apply", target, "--tag", "copy:1", "--json", *options)


def state(host: Host, tag: str = "copy:1") -> str:
    return host.output(tag, "print(open('/srv/state').read())").strip()


def labels(host: Host, tag: str = "copy:1") -> dict[str, str]:
    found: dict[str, str] = host.api.inspect_image(tag)["Config"]["Labels"]
    return found


def look(host: Host) -> object:
    """All that an engine has, by which a change would be seen."""
    images = sorted((image["Id"], sorted(image["RepoTags"] or ())) for image in host.api.images(all=True))
    return images, sorted(container["Id"] for container in host.api.containers(all=True))


def test_what_the_key_of_one_host_signed_is_applied_on_another(
    here: Host, there: Host, model: Push, alice: Key, tmp_path: Path, registry: str
) -> None:
    believe(here, alice.line("alice"), more=f'signing-key = "{alice.path}"')
    believe(there, alice.line("alice"))
    remote = f"{registry}/trust/signed:1"
    model("a lesson", remote)
    outcome = there.must("apply", remote, "--tag", "copy:1")
    assert "signed by alice" in outcome.err
    assert "no rollback record yet of alice for copy:1" in outcome.err
    assert json.loads(there.must("apply", remote, "--tag", "copy:1", "--json").out)["newSigners"] == []
    assert json.loads(there.must("apply", remote, "--tag", "other:1", "--json").out)["newSigners"] == ["alice"]
    assert state(there) == "a lesson"
    there.must("copy", remote, str(tmp_path / "stick.tar"))
    there.must("copy", str(tmp_path / "stick.tar"), "local:1")
    assert "signed by alice" in there.must("verify", "local:1").out
    assert not {"fps.bundle.trust", "fps.bundle.downgrade"} & labels(there).keys()


def _forge(kind: str, path: Path, other: Path, mallory: Key, host: Host) -> None:
    """Make an archive something that its signer did not make."""
    if kind == "another's signature":
        host.must("sign", str(path), "--sign-key", str(mallory.path))
        return
    if kind == "unsigned":
        return
    source, target = ArchiveStore(other), ArchiveStore(path)
    found, bundle = read_bundle(source), read_bundle(target)
    (referrer,) = referrers(source, found)
    said, signed = (source.open(blob).read() for blob in signature.parts(referrer, source.where))
    if kind == "a changed statement":
        said = said.replace(found.digest.hex.encode(), bundle.digest.hex.encode())
        said = said.replace(found.manifest.config.digest.hex.encode(), bundle.manifest.config.digest.hex.encode())
    target.attach(signature.build(bundle.manifest.descriptor, said, signed))


def test_a_forgery_is_refused_and_the_engine_is_not_touched(
    here: Host, there: Host, model: Push, alice: Key, mallory: Key, tmp_path: Path
) -> None:
    believe(there, alice.line("alice"))
    good, lie = tmp_path / "good.tar", tmp_path / "lie.tar"
    model("a lesson", str(good), "--sign-key", str(alice.path))
    model("a lie", str(lie))
    before = look(there)
    for kind in ("unsigned", "another's signature", "another bundle's signature", "a changed statement"):
        forged = tmp_path / "forged.tar"
        shutil.copy(lie, forged)
        _forge(kind, forged, good, mallory, here)
        verified(store(str(forged)))
        refused(there, "apply", str(forged), "--tag", "copy:1")
    refused(there, "apply", str(lie), "--dry-run")
    refused(there, "ingest", str(lie), "--onto", "example-model:1.0", "--tag", "new:1")
    refused(there, "copy", str(lie), "model:1")
    assert look(there) == before
    assert there.must("list").out == ""


def refused(host: Host, *arguments: str) -> None:
    outcome = host.bundle(*arguments)
    assert outcome.code == 9, outcome.err
    assert "is not trusted" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_way_past_says_so_and_is_written_into_the_image(there: Host, model: Push, alice: Key, tmp_path: Path) -> None:
    model("a lesson", str(tmp_path / "x.tar"))
    outcome = applied(there, str(tmp_path / "x.tar"))
    assert outcome.code == 0
    assert outcome.err.count("signatures not checked: no allowed signers") == 1
    assert "fps.bundle.trust" not in labels(there)
    believe(there, alice.line("alice"))
    outcome = applied(there, str(tmp_path / "x.tar"), "--insecure-ignore-signatures")
    assert outcome.code == 0
    assert "signatures not checked: disabled by an option" in outcome.err
    assert labels(there)["fps.bundle.trust"] == "skipped"
    assert not (there.home / "state" / "fps-bundle" / "applied.json").exists()


@pytest.fixture
def two(model: Push, alice: Key, tmp_path: Path) -> tuple[str, str]:
    """An older bundle and a newer one, both well signed."""
    old, new = str(tmp_path / "old.tar"), str(tmp_path / "new.tar")
    model("old", old, "--sign-key", str(alice.path))
    model("new", new, "--sign-key", str(alice.path))
    return old, new


def test_an_older_one_is_refused_unless_there_is_a_reason_and_all_are_when_nobody_knows(
    there: Host, two: tuple[str, str], alice: Key
) -> None:
    old, new = two
    believe(there, alice.line("alice"))
    assert applied(there, old).code == 0
    assert applied(there, new).code == 0
    before = look(there)
    outcome = applied(there, old)
    assert outcome.code == 9
    assert "older than the newest one applied to copy" in outcome.err
    assert look(there) == before
    assert there.bundle("apply", old, "--tag", "elsewhere:1").code == 0
    assert there.bundle("apply", old, "--tag", "copy:1", "--allow-downgrade", " ").code == 2
    assert applied(there, old, "--allow-downgrade", "the new one sees ghosts").code == 0
    assert state(there) == "old"
    assert labels(there)["fps.bundle.downgrade"] == "the new one sees ghosts"
    book = there.home / "state" / "fps-bundle" / "applied.json"
    assert [downgrade["reason"] for downgrade in json.loads(book.read_text())["downgrades"]] == ["the new one sees ghosts"]
    book.write_bytes(book.read_bytes()[:-10])
    before = look(there)
    outcome = applied(there, new)
    assert outcome.code == 9
    assert f"mv {book}" in outcome.err
    assert look(there) == before


def test_killed_before_the_tag_moves_the_stricter_answer_stands(
    there: Host, two: tuple[str, str], alice: Key, tmp_path: Path
) -> None:
    old, new = two
    believe(there, alice.line("alice"))
    assert applied(there, old).code == 0
    with guarded(there.address, tmp_path / "socket", b"repo=copy") as address:
        killed = Host(address, there.home).bundle("apply", new, "--tag", "copy:1")
    assert killed.code == -9
    assert state(there) == "old"
    outcome = applied(there, old)
    assert outcome.code == 9
    assert "older" in outcome.err
    assert applied(there, new).code == 0
    assert state(there) == "new"
