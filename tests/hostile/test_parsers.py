"""Every parser takes any bytes, or refuses them with an error of ours: at random here, guided by branches in `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.targets import TARGETS, run, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

FOUND = sorted((Path(__file__).parents[1] / "fuzz" / "found").iterdir())
SEEDS = seeds()


@st.composite
def damaged(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """Something sound with a stretch of it taken away, put elsewhere, doubled, or made something else."""
    data = draw(st.sampled_from(sound))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 64)))
        middle = draw(
            st.one_of(st.just(b""), st.binary(max_size=8), st.just(data[start:end] * 2), st.just(b"\xff" * (end - start)))
        )
        data = data[:start] + middle + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged_is_taken_or_refused(name: str) -> None:
    @settings(max_examples=settings().max_examples * 3 // 2)
    @given(st.one_of(damaged(SEEDS[name]), st.binary(max_size=2000)))
    def check(data: bytes) -> None:
        run(TARGETS[name], data)

    check()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_once_is_not_found_again(path: Path) -> None:
    run(TARGETS[path.name.partition("-")[0]], path.read_bytes())


def test_every_target_takes_something() -> None:
    """So that a target cannot pass because it refuses everything."""
    for name, target in TARGETS.items():
        assert any(_takes(target, seed) for seed in SEEDS[name]) or name == "whole_layer", name


def _takes(target: object, data: bytes) -> bool:
    from bundler.errors import BundlerError

    try:
        target(data)  # type: ignore[operator]
    except BundlerError:
        return False
    return True
