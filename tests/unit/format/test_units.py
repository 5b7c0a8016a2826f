from __future__ import annotations

import pytest

from bundler.errors import UsageError
from bundler.format import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("4GiB", 4 << 30),
        ("4 GiB", 4 << 30),
        ("700MB", 700_000_000),
        ("25k", 25_000),
        ("1.5GB", 1_500_000_000),
        ("2tib", 2 << 40),
        ("fat32", (4 << 30) - (64 << 10)),
        (" FAT32", (4 << 30) - (64 << 10)),
        ("dvd", 4_690_000_000),
        ("bd", 24_000_000_000),
    ],
)
def test_a_size_or_a_medium_is_read(text: str, size: int) -> None:
    assert units.medium(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1e9", "GiB", "4 G i B", "1.GB", ".5GB", "4PiB", "cd", "9000000TB", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        units.medium(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("1.5m", 90), ("1h30m", 5400), ("1h1s", 3601), (" 5M ", 300), ("1h2m3.5s", 3723.5)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-1", "1h30", "s", "1d", "1 h", "1s1m", "inf", "nan", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        units.duration(text)


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("layer",), "0 layers"),
        (1, ("layer",), "1 layer"),
        (2, ("entry", "entries"), "2 entries"),
        (1, ("entry", "entries"), "1 entry"),
    ],
)
def test_one_thing_is_no_plural(count: int, words: tuple[str, ...], text: str) -> None:
    assert units.counted(count, *words) == text


def test_each_part_fits_on_its_medium() -> None:
    assert units.MEDIA["fat32"] < 1 << 32
    assert units.MEDIA["dvd"] < 2_295_104 * 2048
    assert units.MEDIA["bd"] < 12_219_392 * 2048
