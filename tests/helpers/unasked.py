"""A push that is refused before its model is asked to export."""

from __future__ import annotations

from collections.abc import Sequence

from fakes import FakeEngine, RecordingProgress, ScriptedModel

from bundler.format.reference import LocalReference
from bundler.stores.layout.local import LocalSpool
from bundler.verbs import push as pushing


class Untouched(ScriptedModel):
    def export(self) -> Sequence[str]:
        raise AssertionError("the model was asked to export")


def push(engine: FakeEngine, options: pushing.Options) -> None:
    """Push the container of an engine, whose model may not be asked."""
    pushing.push(engine.one, engine, Untouched("/s"), LocalSpool(), LocalReference("m", "1"), RecordingProgress(), options)
