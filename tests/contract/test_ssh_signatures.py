"""SSH signatures, made here and checked by the system's ``ssh-keygen``, and the other way round."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sshkeys
from sshkeys import Key

from bundler.errors import TrustError
from bundler.ports import Checked
from bundler.signatures.ssh import NAMESPACE, SshSigner, SshVerifier

MESSAGE = b'{"what":"a statement"}'


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    directory = tmp_path_factory.mktemp("keys")
    kinds = {"alice": "ed25519", "bob": "ecdsa", "carol": "rsa", "authority": "ed25519"}
    return {name: sshkeys.key(directory / name, kind) for name, kind in kinds.items()}


def check(signature: bytes, allowed: bytes, revoked: bytes | None = None, message: bytes = MESSAGE) -> Checked:
    return SshVerifier(allowed, revoked).check(message, signature)


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
def test_ssh_keygen_verifies_what_we_signed(keys: dict[str, Key], tmp_path: Path, name: str) -> None:
    (tmp_path / "signature").write_bytes(SshSigner(keys[name].path).sign(MESSAGE))
    (tmp_path / "allowed").write_bytes(keys[name].line("somebody@example.org"))
    arguments = ["verify", "-n", "fps-bundle@v1", "-f", tmp_path / "allowed", "-I", "somebody@example.org"]
    assert "Good" in sshkeys.keygen("-Y", *arguments, "-s", tmp_path / "signature", input=MESSAGE)


@pytest.mark.parametrize(("name", "kind"), [("alice", "ED25519"), ("bob", "ECDSA"), ("carol", "RSA")])
def test_we_verify_what_ssh_keygen_signed(keys: dict[str, Key], name: str, kind: str) -> None:
    found = check(keys[name].sign(MESSAGE), keys[name].line("somebody@example.org"))
    assert found == Checked(kind, keys[name].fingerprint, ("somebody@example.org",))


def test_without_allowed_signers_a_signature_still_tells_its_key(keys: dict[str, Key]) -> None:
    found = SshVerifier().check(MESSAGE, keys["alice"].sign(MESSAGE))
    assert found == Checked("ED25519", keys["alice"].fingerprint)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ('valid-before="20200101"', "expired"),
        ('valid-after="20990101"', "not yet valid"),
        ('namespaces="git,file"', "namespace"),
        ("cert-authority", "not an allowed signer"),
    ],
)
def test_a_key_counts_only_as_its_line_says(keys: dict[str, Key], options: str, reason: str) -> None:
    found = check(keys["alice"].sign(MESSAGE), keys["alice"].line("alice", options))
    assert found.principals == ()
    assert reason in found.fault
    assert found.fingerprint == keys["alice"].fingerprint


@pytest.mark.parametrize(
    "options", ['valid-after="20200101",valid-before="20990101"', 'namespaces="git,fps-bundle@v1"', 'namespaces="fps-*"']
)
def test_what_a_line_allows_counts(keys: dict[str, Key], options: str) -> None:
    assert check(keys["alice"].sign(MESSAGE), keys["alice"].line("alice", options)).principals == ("alice",)


def test_an_expired_line_does_not_hide_a_later_one(keys: dict[str, Key]) -> None:
    allowed = keys["alice"].line("alice", 'valid-before="20200101"') + keys["alice"].line("alice")
    assert check(keys["alice"].sign(MESSAGE), allowed).principals == ("alice",)


@pytest.mark.parametrize("allowed", [b"", b"# nobody\n", b"no line of this kind\n"])
def test_a_stranger_counts_for_nobody(keys: dict[str, Key], allowed: bytes) -> None:
    found = check(keys["bob"].sign(MESSAGE), allowed + keys["alice"].line("alice"))
    assert found.principals == ()
    assert found.fault


def test_a_key_with_several_names_has_them_all_and_patterns_are_no_names(keys: dict[str, Key]) -> None:
    signature = keys["alice"].sign(MESSAGE)
    assert check(signature, keys["alice"].line("alice,operator@x")).principals == ("alice", "operator@x")
    assert check(signature, keys["alice"].line("*@example.org,alice")).principals == ("alice",)
    for pattern in ("*@example.org", "!bob,*", "alic?"):
        found = check(signature, keys["alice"].line(pattern))
        assert found.principals == ()
        assert "pattern" in found.fault


@pytest.mark.parametrize("how", ["namespace", "message", "cut", "empty", "noise", "bit"])
def test_what_is_no_signature_of_the_message_has_no_key(keys: dict[str, Key], how: str) -> None:
    signature = keys["alice"].sign(MESSAGE, namespace="git" if how == "namespace" else NAMESPACE)
    if how == "bit":
        lines = signature.splitlines(keepends=True)
        lines[3] = lines[3][:5] + (b"A" if lines[3][5:6] != b"A" else b"B") + lines[3][6:]
        signature = b"".join(lines)
    signature = {"cut": signature[:-40], "empty": b"", "noise": random.Random(1).randbytes(500)}.get(how, signature)
    found = check(signature, keys["alice"].line("alice"), message=MESSAGE + b"x" if how == "message" else MESSAGE)
    assert (found.fingerprint, found.principals) == ("", ())
    assert "does not match the statement" in found.fault


def test_a_revoked_key_counts_for_nobody(keys: dict[str, Key], tmp_path: Path) -> None:
    krl = sshkeys.revocation(tmp_path / "krl", keys["alice"].path.with_name("alice.pub"))
    allowed = keys["alice"].line("alice") + keys["bob"].line("bob")
    revoked = check(keys["alice"].sign(MESSAGE), allowed, krl)
    assert revoked.principals == ()
    assert "revoked" in revoked.fault
    assert check(keys["bob"].sign(MESSAGE), allowed, krl).principals == ("bob",)
    keys_as_text = f"{keys['alice'].public}\n".encode()
    assert "revoked" in check(keys["alice"].sign(MESSAGE), allowed, keys_as_text).fault


def test_a_revocation_list_that_cannot_be_read_revokes_everybody(keys: dict[str, Key]) -> None:
    found = check(keys["alice"].sign(MESSAGE), keys["alice"].line("alice"), b"SSHKRL\n\0damaged")
    assert found.principals == ()
    assert "cannot be read" in found.fault


@pytest.fixture
def node(tmp_path: Path) -> Key:
    """A key that nobody knows but the authority."""
    return sshkeys.key(tmp_path / "node")


def certified(node: Key, keys: dict[str, Key], principals: str = "node-1@fps", validity: str = "-1d:+1d", serial: int = 1) -> bytes:
    return SshSigner(node.certified(keys["authority"], principals, validity, serial)).sign(MESSAGE)


def test_an_authority_vouches_for_the_names_in_its_certificates(node: Key, keys: dict[str, Key]) -> None:
    allowed = keys["authority"].line("*@fps", "cert-authority")
    found = check(certified(node, keys), allowed)
    assert found == Checked("ED25519-CERT", node.fingerprint, ("node-1@fps",))
    assert check(certified(node, keys, "node-1@fps,root@elsewhere"), allowed).principals == ("node-1@fps",)


@pytest.mark.parametrize(
    ("principals", "validity"),
    [("root@elsewhere", "-1d:+1d"), ("node-1@fps", "-3d:-2d"), ("node-1@fps", "+1d:+2d"), ("*@fps", "-1d:+1d")],
)
def test_a_certificate_counts_for_its_names_and_its_time(node: Key, keys: dict[str, Key], principals: str, validity: str) -> None:
    found = check(certified(node, keys, principals, validity), keys["authority"].line("*@fps", "cert-authority"))
    assert found.principals == ()
    assert found.fault


def test_a_certificate_of_another_authority_counts_for_nobody(node: Key, keys: dict[str, Key]) -> None:
    assert check(certified(node, keys), keys["alice"].line("*@fps", "cert-authority")).principals == ()
    assert check(certified(node, keys), keys["authority"].line("node-1@fps")).principals == ()


def test_a_certificate_is_revoked_by_its_number(node: Key, keys: dict[str, Key], tmp_path: Path) -> None:
    allowed = keys["authority"].line("*@fps", "cert-authority")
    krl = sshkeys.revocation(tmp_path / "krl", "serial: 7\n", authority=keys["authority"])
    assert "revoked" in check(certified(node, keys, serial=7), allowed, krl).fault
    assert check(certified(node, keys, serial=8), allowed, krl).principals == ("node-1@fps",)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An agent of our own."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        while not socket.exists():
            assert process.poll() is None
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.mark.usefixtures("agent")
def test_an_agent_signs_for_a_public_key(node: Key) -> None:
    subprocess.run(["ssh-add", "-q", str(node.path)], check=True, capture_output=True)
    node.path.unlink()
    signature = SshSigner(node.path.with_name("node.pub")).sign(MESSAGE)
    assert check(signature, node.line("node")).principals == ("node",)
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)
    with pytest.raises(TrustError, match="cannot sign"):
        SshSigner(node.path.with_name("node.pub")).sign(MESSAGE)


def test_a_passphrase_is_asked_for_by_ssh_keygen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = sshkeys.key(tmp_path / "locked", passphrase="secret")
    answer = tmp_path / "answer"
    answer.write_text("#!/bin/sh\necho $ANSWER\n")
    answer.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(answer))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("ANSWER", "secret")
    assert check(SshSigner(locked.path).sign(MESSAGE), locked.line("me")).principals == ("me",)
    monkeypatch.setenv("ANSWER", "wrong")
    with pytest.raises(TrustError, match="cannot sign with"):
        SshSigner(locked.path).sign(MESSAGE)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="nowhere") as caught:
        SshSigner(tmp_path / "nowhere").sign(MESSAGE)
    assert "ssh-add" in caught.value.hint


def test_without_ssh_keygen_nothing_is_believed(keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = keys["alice"].sign(MESSAGE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrustError, match="ssh-keygen is not installed") as caught:
        check(signature, keys["alice"].line("alice"))
    assert "openssh-client" in caught.value.hint


def test_nothing_is_left_behind(keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    check(SshSigner(keys["alice"].path).sign(MESSAGE), keys["alice"].line("alice"))
    assert list(tmp_path.iterdir()) == []
