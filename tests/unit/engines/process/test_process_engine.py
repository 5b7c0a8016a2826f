"""The container of a process, without a runtime: its files are read as its own mounts show them, and only while it lives."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cgroups
import fakes
import pytest
from fakes import RecordingProgress, ScriptedModel, image
from test_layer_files import directory, file, layer

from bundler.engines.process.base_files import StoredImage
from bundler.engines.process.engine import ProcessEngine
from bundler.errors import EngineError, ModelError, NotFoundError, UsageError
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import push as verb

pytestmark = cgroups.needs_root


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "file").write_text("state")
    return tmp_path / "state"


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def engine(
    request: pytest.FixtureRequest, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[ProcessEngine, int]]:
    """A process in a container of its own; its base has a file of the state that it has not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    content = layer(directory(str(state)), file(f"{state}/deleted"))
    base = StoredImage(image(diff_ids=(Digest.of(content),)), "oci:base:1", [lambda: closing(io.BytesIO(content))])
    with cgroups.cgroup(request.param) as made:
        pid = made.start()
        yield ProcessEngine(pid, base, RecordingProgress()), pid


def test_its_state_is_pushed_with_what_the_base_has_more(engine: tuple[ProcessEngine, int], state: Path) -> None:
    process, pid = engine
    options = verb.Options(record_hostname=False)
    with verb.running(process.container(str(pid)), process, start=False) as running:
        result = verb.push(
            running, process, ScriptedModel(str(state)), LocalSpool(), LocalReference("m", "1"), RecordingProgress(), options
        )
    metadata = result.bundle.metadata
    assert metadata.removed == (f"{state}/deleted",)
    assert metadata.exports[0].entries == 2
    assert (metadata.source.engine, metadata.source.container_id) == ("process", running.id)
    assert running.id.startswith("/fps-test-")


def test_a_process_that_ends_is_found_out_without_a_pause_too(engine: tuple[ProcessEngine, int], state: Path) -> None:
    process, pid = engine
    container = process.container(str(pid))
    reader = process.reader(container, "auto")
    with closing(reader.entries([str(state)])) as entries:
        next(entries)
        os.kill(pid, 9)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ModelError, match=f"process {pid} ended while its files were read"):
            list(entries)
    with pytest.raises(ModelError, match="has ended"):
        process.reader(container, "direct")


def test_what_only_an_engine_has_is_refused(engine: tuple[ProcessEngine, int]) -> None:
    process, pid = engine
    container = process.container(str(pid))
    with pytest.raises(UsageError, match="no engine that could send its files"):
        process.reader(container, "api")
    with pytest.raises(EngineError, match=r"cannot start .* without an engine"):
        process.started(container)
    with pytest.raises(EngineError, match="layers cannot be seen"):
        process.changes(container)
    with pytest.raises(NotFoundError):
        process.image(fakes.image("other:1").id)
    with pytest.raises(NotFoundError):
        process.container("1")
