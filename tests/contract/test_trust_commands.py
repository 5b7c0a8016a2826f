"""``sign``, ``verify``, ``copy`` and ``inspect`` as commands: what passes, what is refused, and with which exit code."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sys
from pathlib import Path

import preloaded
import pytest
import sshkeys
from bundles import bundle
from fakes import MemoryStore, RecordingProgress
from sshkeys import Key
from typer.testing import CliRunner, Result

from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.format import signature
from bundler.stores.archive.store import ArchiveStore
from bundler.verbs import copy


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, below in {"FPS_BUNDLE_STORE": "store", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config"}.items():
        monkeypatch.setenv(name, str(tmp_path / below))
    return tmp_path


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return sshkeys.key(tmp_path / "alice")


@pytest.fixture
def mallory(tmp_path: Path) -> Key:
    return sshkeys.key(tmp_path / "mallory")


@pytest.fixture
def archive(tmp_path: Path) -> str:
    source, path = MemoryStore(), tmp_path / "bundle.tar"
    bundle(source)
    copy.copy(source, ArchiveStore(path), RecordingProgress())
    return str(path)


@pytest.fixture
def allowed(tmp_path: Path, alice: Key) -> str:
    path = tmp_path / "allowed_signers"
    path.write_bytes(alice.line("alice"))
    return str(path)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def policy(home: Path, text: str) -> None:
    path = home / "config" / "fps-bundle" / "trust.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_sign_prints_the_key_and_verify_says_who_signed(archive: str, alice: Key, allowed: str) -> None:
    signed = run("sign", archive, "--sign-key", alice.path, "--sequence", "7")
    assert (signed.exit_code, signed.stdout) == (0, f"{alice.fingerprint}\n")
    outcome = run("verify", archive, "--allowed-signers", allowed, "--json")
    assert outcome.exit_code == 0
    content = json.loads(outcome.stdout)
    assert (content["whole"], content["trusted"], content["refusals"]) == (True, True, [])
    (signature,) = content["signatures"]
    assert (signature["principals"], signature["fingerprint"], signature["sequence"]) == (["alice"], alice.fingerprint, 7)
    assert "signed by alice at 2" in run("verify", archive, "--allowed-signers", allowed).stdout


def test_signing_twice_adds_nothing(archive: str, alice: Key) -> None:
    run("sign", archive, "--sign-key", alice.path)
    before = Path(archive).read_bytes()
    again = run("sign", archive, "--sign-key", alice.path, "--json")
    assert json.loads(again.stdout)["added"] is False
    assert Path(archive).read_bytes() == before


def test_the_key_may_stand_in_the_policy(home: Path, archive: str, alice: Key) -> None:
    assert run("sign", archive).exit_code == 2
    policy(home, f"signing-key = '{alice.path}'")
    assert run("sign", archive).stdout == f"{alice.fingerprint}\n"


def test_verify_without_allowed_signers_says_that_nobody_vouches(archive: str, alice: Key) -> None:
    outcome = run("verify", archive)
    assert outcome.exit_code == 0
    assert "signatures not checked: no allowed signers" in outcome.stderr
    run("sign", archive, "--sign-key", alice.path)
    outcome = run("verify", archive, "--json")
    assert (outcome.exit_code, json.loads(outcome.stdout)["trusted"]) == (0, None)


@pytest.mark.parametrize("who", ["nobody", "a stranger"])
def test_verify_ends_with_9_for_what_is_not_trusted(archive: str, allowed: str, mallory: Key, who: str) -> None:
    if who == "a stranger":
        run("sign", archive, "--sign-key", mallory.path)
    outcome = run("verify", archive, "--allowed-signers", allowed)
    assert outcome.exit_code == 9, outcome.output
    assert "is not trusted" in outcome.stderr
    assert "fps-bundle sign" in outcome.stderr


def test_verify_ends_with_8_for_what_is_damaged(archive: str, alice: Key, allowed: str) -> None:
    run("sign", archive, "--sign-key", alice.path)
    found = read_bundle(ArchiveStore(Path(archive)))
    layer = ArchiveStore(Path(archive)).open(found.manifest.layers[0]).read()
    Path(archive).write_bytes(Path(archive).read_bytes().replace(layer, layer[:-1] + b"?"))
    assert run("verify", archive, "--allowed-signers", allowed).exit_code == 8


@pytest.mark.parametrize("what", [b"BEGIN SSH SIGNATURE", b"in-toto.io/Statement"])
def test_verify_ends_with_8_for_a_damaged_signature(archive: str, alice: Key, allowed: str, what: bytes) -> None:
    run("sign", archive, "--sign-key", alice.path)
    Path(archive).write_bytes(Path(archive).read_bytes().replace(what, what.swapcase()))
    assert run("verify", archive, "--allowed-signers", allowed).exit_code == 8


def test_a_revoked_key_is_refused(home: Path, archive: str, alice: Key, allowed: str) -> None:
    run("sign", archive, "--sign-key", alice.path)
    sshkeys.revocation(home / "krl", alice.path.with_name("alice.pub"))
    outcome = run("verify", archive, "--allowed-signers", allowed, "--revoked", home / "krl")
    assert outcome.exit_code == 9, outcome.output
    assert "revoked" in outcome.stderr


def test_only_what_is_trusted_comes_into_the_local_store(home: Path, archive: str, alice: Key, mallory: Key, allowed: str) -> None:
    policy(home, f"allowed-signers = '{allowed}'")
    run("sign", archive, "--sign-key", mallory.path)
    refused = run("copy", archive, "model:1")
    assert refused.exit_code == 9
    assert run("copy", archive, "model:1", "--dry-run").exit_code == 9
    assert run("list").stdout == ""
    run("sign", archive, "--sign-key", alice.path)
    assert run("copy", archive, "model:1").exit_code == 0
    assert run("verify", "model:1").exit_code == 0


def test_what_goes_elsewhere_or_is_here_already_is_not_asked(home: Path, archive: str, allowed: str) -> None:
    assert run("copy", archive, "model:1").exit_code == 0
    policy(home, f"allowed-signers = '{allowed}'")
    assert run("copy", archive, f"oci:{home}/layout:1").exit_code == 0
    assert run("copy", "model:1", "model:2").exit_code == 0


def test_there_is_one_way_past_and_it_says_so(home: Path, archive: str, allowed: str) -> None:
    policy(home, f"allowed-signers = '{allowed}'")
    outcome = run("copy", archive, "model:1", "--insecure-ignore-signatures")
    assert outcome.exit_code == 0
    assert "signatures not checked: disabled by an option" in outcome.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("minimum-signatures = 2", "1 trusted signature (2 required)"),
        ("may-sign = {alice = ['detector*']}", "alice may not sign Model"),
        ("revoked = 'missing'", "is missing"),
        ("typo = 1", "unknown key 'typo'"),
    ],
)
def test_the_policy_is_heeded(home: Path, archive: str, alice: Key, allowed: str, text: str, reason: str) -> None:
    run("sign", archive, "--sign-key", alice.path)
    policy(home, f"allowed-signers = '{allowed}'\n{text}")
    outcome = run("verify", archive)
    assert outcome.exit_code == 9, outcome.output
    assert reason in outcome.stderr


def test_a_name_cannot_write_on_the_terminal(archive: str, home: Path, mallory: Key) -> None:
    (home / "allowed").write_bytes(mallory.line('"\x1b]0;evil\x07bob"'))
    run("sign", archive, "--sign-key", mallory.path)
    for command in ("verify", "inspect"):
        outcome = run(command, archive, "--allowed-signers", home / "allowed")
        assert "evil" in outcome.stdout
        assert "\x1b" not in outcome.output


def test_a_signature_of_something_else_is_told_by_verify_and_stops_nobody(
    archive: str, alice: Key, mallory: Key, allowed: str
) -> None:
    run("sign", archive, "--sign-key", alice.path)
    found = read_bundle(ArchiveStore(Path(archive)))
    nonsense = signature.build(found.manifest.descriptor, b"{}", mallory.sign(b"{}"))
    ArchiveStore(Path(archive)).attach(nonsense)
    outcome = run("verify", archive, "--allowed-signers", allowed)
    assert outcome.exit_code == 9, outcome.output
    assert "not a signature of this bundle" in outcome.stdout
    assert "signed by alice" in outcome.stdout
    assert run("copy", archive, "model:1", "--allowed-signers", allowed).exit_code == 0


def test_doctor_says_whom_this_host_believes(home: Path, allowed: str) -> None:
    policy(home, f"allowed-signers = '{allowed}'")
    assert f"allowed signers\tok\t1 of those in {allowed}" in run("doctor", "--host", "unix:///nowhere").stdout
    (home / "config" / "fps-bundle" / "trust.toml").write_text("typo = 1")
    assert "allowed signers\twrong" in run("doctor", "--host", "unix:///nowhere").stdout


def test_a_passphrase_is_asked_for_on_the_terminal(archive: str, home: Path) -> None:
    locked = sshkeys.key(home / "locked", passphrase="secret")
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "bundler", "sign", archive, "--sign-key", str(locked.path)])
    shown = b""
    while b"passphrase" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"secret\n")
    with contextlib.suppress(OSError):  # so Linux says that nobody holds the other side any more
        while more := os.read(terminal, 1000):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    assert locked.fingerprint in shown.decode()


def test_a_signature_comes_through_a_pipe_and_in_parts(home: Path, archive: str, alice: Key, allowed: str) -> None:
    run("sign", archive, "--sign-key", alice.path)
    assert run("copy", archive, home / "parts.tar", "--split", "1MiB").exit_code == 0
    assert run("verify", home / "parts.tar", "--allowed-signers", allowed).exit_code == 0
    piped = preloaded.completed("copy", archive, "-").stdout
    for arguments in (["verify", "-"], ["copy", "-", "model:1"]):
        done = preloaded.completed(*arguments, "--allowed-signers", allowed, given=piped)
        assert done.returncode == 0, done.stderr
    other = sshkeys.key(home / "other").line("other")
    (home / "others").write_bytes(other)
    for arguments in (["verify", "-"], ["copy", "-", "model:2"]):
        done = preloaded.completed(*arguments, "--allowed-signers", home / "others", given=piped)
        assert done.returncode == 9, done.stderr
    assert "model:2" not in run("list").stdout


def test_inspect_shows_who_signed(archive: str, alice: Key, mallory: Key, allowed: str) -> None:
    assert "not signed" in run("inspect", archive).stdout
    run("sign", archive, "--sign-key", alice.path)
    run("sign", archive, "--sign-key", mallory.path)
    shown = run("inspect", archive, "--allowed-signers", allowed).stdout
    assert "signed by alice at 2" in shown
    assert "signed by an unknown key (it is not an allowed signer) at 2" in shown
    content = json.loads(run("inspect", archive, "--allowed-signers", allowed, "--json").stdout)
    assert [signature["principals"] for signature in content["signatures"]] == [["alice"], []]
