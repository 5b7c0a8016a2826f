"""The Python API: its exported names, the example of its documentation, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sshkeys
from bundles import bundle
from fakes import FakeEngine, MemoryStore, RecordingProgress, ScriptedModel, file, tree
from sshkeys import Key

import bundler
from bundler.api import engines
from bundler.format.image import LABEL_TRUST
from bundler.verbs import apply as applying
from bundler.verbs import ingest as ingesting

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = """
Admission ApplyOptions ApplyResult ApplyToOptions ApplyToResult AuthorizationError BaseMismatchError Bundle BundlerError
BusyError CopyResult EngineError ExtractOptions ExtractResult ImageCompression IngestOptions IngestResult Inspection
IntegrityError MigratorOptions ModelError NoSpaceError NotFoundError Policy PrivilegeError Progress PushOptions PushResult
ReplaceOptions ReplaceResult Replaced RunOptions Signature Signed StoreError StoreOptions TrustError UsageError Verification
apply apply_to connect_engine connect_process copy extract host_admission ingest inspect load_policy open_store push replace
sign undo_replace
verify
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def alice(home: Path) -> Key:
    """The only allowed signer of this host."""
    key = sshkeys.key(home / "signing-key")
    (home / "config" / "fps-bundle").mkdir(parents=True)
    (home / "config" / "fps-bundle" / "allowed").write_bytes(key.line("alice"))
    (home / "config" / "fps-bundle" / "trust.toml").write_text("allowed-signers = 'allowed'")
    return key


@pytest.fixture
def unsigned() -> MemoryStore:
    store = MemoryStore()
    bundle(store)
    return store


@contextmanager
def scripted(*_: Any) -> Iterator[ScriptedModel]:
    yield ScriptedModel("/s")


def test_the_exported_names_are_these_and_exist() -> None:
    assert sorted(bundler.__all__) == sorted(NAMES.split())
    for name in bundler.__all__:
        assert getattr(bundler, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = bundler.missing


def test_every_function_is_documented() -> None:
    text = (ROOT / "docs" / "user" / "api.md").read_text()
    for name in bundler.__all__:
        assert f"`{name}" in text or name.endswith("Error") or name in ("Bundle", "Signature")


def test_the_example_of_the_documentation_runs(
    alice: Key, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "user" / "api.md").read_text(), re.DOTALL)
    engine = FakeEngine(files=tree(file("/s/f")))
    monkeypatch.setattr(bundler, "connect_engine", lambda: engine)
    monkeypatch.setattr(engines, "migrator", scripted)
    values: dict[str, Any] = {}
    exec(compile(example, "api.md", "exec"), values)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(str(values["pushed"].bundle.digest))
    assert printed[1] == "trusted"
    assert printed[2] == f"detector:7: config {values['applied'].config_digest}"
    assert engine.image("detector:7").id == values["applied"].image_id
    assert values["applied"].new_signers == ["alice"]
    (signature,) = bundler.inspect(bundler.open_store("detector.tar")).signatures
    assert (signature.principals, signature.fingerprint) == (("alice",), alice.fingerprint)


@pytest.mark.usefixtures("alice")
def test_an_unsigned_bundle_is_refused_where_signers_are_allowed(unsigned: MemoryStore) -> None:
    engine, local = FakeEngine(), bundler.open_store("detector:7")
    before = list(engine.held)
    with pytest.raises(bundler.TrustError, match="memory:1 is not trusted: it is not signed"):
        bundler.apply(unsigned, engine, admission=bundler.host_admission())
    with pytest.raises(bundler.TrustError, match="memory:1 is not trusted: it is not signed"):
        bundler.ingest(unsigned, "model:1.0", "new:1", engine, admission=bundler.host_admission())
    with pytest.raises(bundler.TrustError, match="memory:1 is not trusted: it is not signed"):
        bundler.copy(unsigned, local, admission=bundler.host_admission())
    assert engine.held == before
    assert local.names() == []
    assert not bundler.verify(unsigned).trusted


def test_an_older_bundle_is_refused_unless_there_is_a_reason(alice: Key, unsigned: MemoryStore) -> None:
    older = MemoryStore()
    bundle(older, created="2025-01-01T00:00:00Z")
    bundler.sign(unsigned, alice.path, sequence=7)
    bundler.sign(older, alice.path, sequence=6)
    engine, options = FakeEngine(), bundler.ApplyOptions(tag="copy:1")
    bundler.apply(unsigned, engine, admission=bundler.host_admission(), options=options)
    with pytest.raises(
        bundler.TrustError, match=r"refusing to downgrade: .* with sequence 6 \(2.*Z\), that one with sequence 7 \(2.*Z\)"
    ):
        bundler.apply(older, engine, admission=bundler.host_admission(), options=options)
    admission = bundler.host_admission(allow_downgrade="the newer one is wrong")
    assert bundler.apply(older, engine, admission=admission, options=options).previous == "copy:1-previous"


@pytest.mark.usefixtures("alice")
def test_an_unchecked_bundle_is_told_and_labelled(unsigned: MemoryStore) -> None:
    engine, progress = FakeEngine(), RecordingProgress()
    admission = bundler.Admission.unchecked("a test")
    result = bundler.apply(unsigned, engine, admission=admission, progress=progress)
    assert progress.warnings == ["signatures not checked: a test"]
    assert engine.image(result.tag).labels[LABEL_TRUST] == "skipped"


def test_admission_cannot_be_left_out(unsigned: MemoryStore) -> None:
    engine: Any = FakeEngine()
    calls: list[Any] = [
        lambda: bundler.apply(unsigned, engine),  # type: ignore[call-arg]
        lambda: bundler.ingest(unsigned, "model:1.0", "new:1", engine),  # type: ignore[call-arg]
        lambda: bundler.copy(unsigned, MemoryStore()),  # type: ignore[call-arg]
        lambda: applying.apply(unsigned, engine, None, RecordingProgress()),  # type: ignore[arg-type, call-arg]
        lambda: ingesting.OldBundle(unsigned),  # type: ignore[call-arg]
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"missing 1 required .*'admission'"):
            call()


def test_an_admission_that_would_check_nothing_must_say_so() -> None:
    with pytest.raises(bundler.UsageError, match="needs a verifier"):
        bundler.Admission.by_policy(bundler.Policy(allowed_signers=Path("allowed")), None)
    for reason in ("", " "):
        with pytest.raises(bundler.UsageError, match="needs a reason"):
            bundler.Admission.unchecked(reason)
        with pytest.raises(bundler.UsageError, match="needs a reason of 1 to 1000 characters"):
            bundler.host_admission(allow_downgrade=reason)
    with pytest.raises(bundler.UsageError, match="needs a reason of 1 to 1000 characters"):
        bundler.host_admission(allow_downgrade="x" * 1001)


def test_a_pipe_is_not_opened() -> None:
    with pytest.raises(bundler.UsageError, match="cannot open a pipe"):
        bundler.open_store("-")
