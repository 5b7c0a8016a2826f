"""What is written as for ``docker run`` means the same here."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.engines.connection import gpus, memory
from bundler.errors import UsageError


@pytest.mark.parametrize(("written", "expected"), [("6291456", 6 << 20), ("512k", 512 << 10), ("256m", 256 << 20), ("2G", 2 << 30)])
def test_memory_is_a_number_with_a_unit(written: str, expected: int) -> None:
    assert memory(written) == expected


@pytest.mark.parametrize("written", ["lots", "m", "1x", "-", "1 2", "infk", "9" * 400])
def test_what_is_no_amount_of_memory_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match="not an amount of memory"):
        memory(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("all", {"Count": -1}),
        ("2", {"Count": 2}),
        ("device=0,GPU-1", {"DeviceIDs": ["0", "GPU-1"]}),
    ],
)
def test_gpus_are_all_a_number_or_devices(written: str, expected: dict[str, Any]) -> None:
    (request,) = gpus(written)
    assert request["Capabilities"] == [["gpu"]]
    assert expected.items() <= request.items()


@pytest.mark.parametrize("written", ["some", "-1", "device", "devices=0", "²", "9" * 5000])
def test_what_names_no_gpus_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match="not a choice of GPUs"):
        gpus(written)
