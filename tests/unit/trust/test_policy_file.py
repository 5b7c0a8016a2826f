"""``trust.toml``: read strictly, and only where nobody else could have written it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from bundler.errors import TrustError
from bundler.trust import policy_file
from bundler.trust.policy import Policy


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


ALL = """
allowed-signers = "allowed"
revoked = "/etc/krl"
minimum-signatures = 2
signing-key = "~/key"

[may-sign]
"alice@example.org" = ["detector*"]
"""


def test_all_keys_are_understood_and_paths_lie_beside_the_file(tmp_path: Path) -> None:
    assert policy_file.load([write(tmp_path / "trust.toml", ALL)]) == Policy(
        allowed_signers=tmp_path / "allowed",
        revoked=Path("/etc/krl"),
        minimum=2,
        may_sign={"alice@example.org": ("detector*",)},
        signing_key=Path("~/key").expanduser(),
    )


def test_no_file_is_no_policy(tmp_path: Path) -> None:
    assert policy_file.load([tmp_path / "trust.toml"]) == Policy()


def test_the_later_file_and_the_command_line_come_first(tmp_path: Path) -> None:
    system = write(tmp_path / "system.toml", 'allowed-signers = "a"\nminimum-signatures = 2')
    user = write(tmp_path / "user.toml", 'allowed-signers = "b"')
    assert policy_file.load([system, user]) == Policy(allowed_signers=tmp_path / "b", minimum=2)
    assert policy_file.load([system, user], Path("c"), Path("d")) == Policy(Path("c"), Path("d"), 2)


def test_the_users_file_lies_where_users_have_their_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert policy_file.files() == (Path("/etc/fps-bundle/trust.toml"), tmp_path / "fps-bundle" / "trust.toml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("allowed_signers = 'a'", "unknown key 'allowed_signers'"),
        ("later = 1", "unknown key 'later'"),
        ("allowed-signers = 1", "1 is not a path"),
        ("allowed-signers = ''", "'' is not a path"),
        ("allowed-signers = 'a'\nminimum-signatures = 0", "minimum-signatures is 0"),
        ("allowed-signers = 'a'\nminimum-signatures = true", "minimum-signatures is True"),
        ("allowed-signers = 'a'\nminimum-signatures = '1'", "minimum-signatures is '1'"),
        ("allowed-signers = 'a'\nmay-sign = 'x'", "may-sign is not a table"),
        ("allowed-signers = 'a'\nmay-sign.alice = '*'", "the titles that 'alice' may sign are not a list"),
        ("allowed-signers = 'a'\nmay-sign.alice = [1]", "the titles that 'alice' may sign are not a list"),
        ("allowed-signers = 'a'\nallowed-signers = 'b'", "cannot be parsed: .*overwrite"),
        ("allowed-signers = ", "cannot be parsed: Invalid value"),
        ("allowed-signers = '\udcff'", "cannot be parsed: .*utf-8"),
        ("minimum-signatures = 1", "no allowed signers"),
        ("revoked = 'x'", "no allowed signers"),
        ("may-sign.alice = ['*']", "no allowed signers"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "trust.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TrustError, match=why):
        policy_file.load([path])


def test_a_revocation_list_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no allowed signers"):
        policy_file.load([], revoked=tmp_path / "krl")


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_what_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "trust.toml", ALL, mode)
    with pytest.raises(TrustError, match="other users can change") as caught:
        policy_file.load([path])
    assert "chmod go-w" in caught.value.hint
    with pytest.raises(TrustError, match="other users can change"):
        policy_file.content(path, "the allowed signers")


@pytest.mark.parametrize(("mode", "believed"), [(0o777, False), (0o775, False), (0o755, True), (0o1777, True)])
def test_what_others_can_take_away_is_not_believed(tmp_path: Path, mode: int, believed: bool) -> None:
    write(tmp_path / "trust.toml", ALL)
    tmp_path.chmod(mode)
    for path in (tmp_path / "trust.toml", tmp_path / "taken-away.toml"):
        with contextlib.nullcontext() if believed else pytest.raises(TrustError, match="other users can change"):
            policy_file.load([path])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "trust.toml", ALL)
    os.chown(path, 12345, 12345)
    with pytest.raises(TrustError, match="another user"):
        policy_file.load([path])


def test_a_file_that_a_policy_names_must_be_there(tmp_path: Path) -> None:
    assert policy_file.content(None, "the revocation list") is None
    with pytest.raises(TrustError, match="missing"):
        policy_file.content(tmp_path / "x", "the revocation list")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TrustError, match="is not a plain file"):
        policy_file.content(tmp_path / "fifo", "the revocation list")


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(("mode", "believed"), [(0o777, False), (0o755, True), (0o1777, True)])
def test_a_link_leads_where_others_can_take_nothing_away(tmp_path: Path, mode: int, believed: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = linked(tmp_path / "trust.toml", write(tmp_path / "elsewhere" / "trust.toml", ALL))
    (tmp_path / "elsewhere").chmod(mode)
    with contextlib.nullcontext() if believed else pytest.raises(TrustError, match="other users can change"):
        policy_file.load([path])


def test_a_link_to_nothing_is_no_missing_policy(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="dangling link"):
        policy_file.load([linked(tmp_path / "trust.toml", tmp_path / "nothing")])
    with pytest.raises(TrustError, match="cannot be read"):
        policy_file.load([linked(tmp_path / "loop.toml", tmp_path / "loop.toml")])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_lies_in_somebody_elses_directory_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path = write(tmp_path / "theirs" / "trust.toml", ALL)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(TrustError, match="another user"):
        policy_file.load([path])
