"""What was applied here, and signed: nobody goes back unawares, and no number is used twice."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import pytest

from bundler.errors import TrustError, UsageError
from bundler.format.content import Digest
from bundler.format.statement import MAX_SEQUENCE
from bundler.trust import rollback
from bundler.trust.policy import TrustedSigner
from bundler.trust.rollback import Applied, RollbackRecords

OLD, NEW = Digest.of(b"old"), Digest.of(b"new")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "fps-bundle"


def claims(
    sequence: int,
    digest: Digest = NEW,
    title: str = "Model",
    uuid: str | None = None,
    who: str = "alice",
    repository: str = "detector",
) -> list[Applied]:
    return rollback.records_of([TrustedSigner(who, sequence)], title, uuid, repository, digest)


def advance(state: Path, sequence: int, digest: Digest = NEW, reason: str | None = None) -> None:
    with RollbackRecords(state).advancing(claims(sequence, digest), reason):
        pass


def test_an_older_one_is_refused_and_the_newest_is_kept(state: Path) -> None:
    advance(state, 2)
    advance(state, 2)
    for refused in (claims(1, OLD), claims(2, OLD)):
        with pytest.raises(TrustError, match="refusing to downgrade") as caught:
            RollbackRecords(state).check(refused)
        assert "--allow-downgrade" in caught.value.hint
        with pytest.raises(TrustError, match="refusing to downgrade"), RollbackRecords(state).advancing(refused, None):
            pytest.fail("it got its name")
    RollbackRecords(state).check(claims(3, OLD))


@pytest.mark.parametrize("other", [{"title": "Other"}, {"uuid": "1"}, {"who": "bob"}, {"repository": "second"}])
def test_each_line_has_an_order_of_its_own(state: Path, other: dict[str, str]) -> None:
    advance(state, 2)
    with RollbackRecords(state).advancing(claims(1, OLD, **other), None):
        pass
    with pytest.raises(TrustError, match="older than the newest one applied to"):
        RollbackRecords(state).check(claims(1, OLD))


def test_one_who_vouches_for_an_older_one_is_enough_to_refuse_it(state: Path) -> None:
    advance(state, 2)
    with pytest.raises(TrustError, match="older than the newest one applied to"):
        RollbackRecords(state).check([*claims(9, OLD, who="bob"), *claims(1, OLD)])


def test_a_downgrade_is_written_down_and_does_not_open_the_door(state: Path) -> None:
    advance(state, 2)
    advance(state, 1, OLD, "the new one sees ghosts")
    (downgrade,) = json.loads((state / "applied.json").read_text())["downgrades"]
    assert (downgrade["digest"], downgrade["reason"]) == (str(OLD), "the new one sees ghosts")
    with pytest.raises(TrustError, match="older than the newest one applied to"):
        RollbackRecords(state).check(claims(1, OLD))


def test_a_reason_where_nothing_is_older_is_no_downgrade(state: Path) -> None:
    advance(state, 2, reason="just in case")
    assert json.loads((state / "applied.json").read_text())["downgrades"] == []


def test_it_is_written_before_the_block_and_stays_when_that_fails(state: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), RollbackRecords(state).advancing(claims(2), None):
        assert json.loads((state / "applied.json").read_text())["applied"][0]["sequence"] == 2
        raise KeyboardInterrupt
    with pytest.raises(TrustError, match="older than the newest one applied to"):
        RollbackRecords(state).check(claims(1, OLD))


def test_the_file_is_the_owners_alone(state: Path) -> None:
    advance(state, 2)
    assert (state / "applied.json").stat().st_mode & 0o777 == 0o600
    (state / "applied.json").chmod(0o640)
    with pytest.raises(TrustError, match="other users can change"):
        RollbackRecords(state).check(claims(3))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (r"(?s).*", ""),
        (r"(?s)...$", ""),
        (r"(?s).*", "[]"),
        (r'"sequence": 2', '"sequence": "2"'),
        (r'"version": 1', '"version": 2'),
        (r'"principal"', '"principle"'),
        (r"sha256:", "sha512:"),
    ],
)
def test_a_damaged_file_lets_nothing_pass_and_says_how_to_mend_it(state: Path, good: str, bad: str) -> None:
    advance(state, 2)
    path = state / "applied.json"
    path.write_text(re.sub(good, bad, path.read_text().strip(), count=1))
    with pytest.raises(TrustError, match="damaged") as caught:
        RollbackRecords(state).check(claims(3))
    assert caught.value.command == f"mv {path} {path}.damaged"
    with pytest.raises(TrustError, match="damaged"), RollbackRecords(state).advancing(claims(3), "I insist"):
        pytest.fail("it got its name")
    path.rename(f"{path}.damaged")
    RollbackRecords(state).check(claims(1))


def test_a_directory_that_others_can_write_is_not_believed(state: Path) -> None:
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(TrustError, match="other users can change"):
        RollbackRecords(state).check(claims(3))


def test_a_link_in_place_of_the_file_is_not_followed(state: Path, tmp_path: Path) -> None:
    advance(state, 2)
    (state / "applied.json").rename(tmp_path / "elsewhere")
    (state / "applied.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrustError, match=r"applied\.json cannot be read: Too many levels of symbolic links"):
        RollbackRecords(state).check(claims(3))


def test_numbers_go_up_and_begin_with_the_time(state: Path) -> None:
    before = int(time.time())
    first = rollback.next_sequence(state, None)
    assert before <= first <= time.time()
    assert rollback.next_sequence(state, None) == first + 1
    assert rollback.next_sequence(state, first + 100) == first + 100
    assert rollback.next_sequence(state, 5) == 5
    assert rollback.next_sequence(state, None) == first + 101


def test_a_signer_is_new_until_a_bundle_of_the_same_line_was_applied(state: Path) -> None:
    both = [*claims(2), *claims(5, who="bob")]
    assert RollbackRecords(state).new_signers(both) == ["alice", "bob"]
    advance(state, 2)
    assert RollbackRecords(state).new_signers(both) == ["bob"]
    for other in ({"title": "Other"}, {"uuid": "1"}, {"repository": "second"}):
        assert RollbackRecords(state).new_signers(claims(9, **other)) == ["alice"]


def test_what_cannot_be_written_down_is_known_before(state: Path) -> None:
    advance(state, 2)
    RollbackRecords(state).prepare()
    (state / "applied.json").write_text("damaged")
    with pytest.raises(TrustError, match="damaged"):
        RollbackRecords(state).prepare()


@pytest.mark.parametrize("wanted", [-1, MAX_SEQUENCE + 1])
def test_a_number_out_of_range_is_refused(state: Path, wanted: int) -> None:
    with pytest.raises(UsageError, match=f"{wanted} is not a sequence number from 0 to {MAX_SEQUENCE}"):
        rollback.next_sequence(state, wanted)
