"""The daily commands of the README do what it says, on two hosts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from world import MODEL, ROOT, Host

BLOCKS = [
    re.findall(r"^(edge-\d)\$ (fps-bundle .*?)(?:\s+#.*)?$", block, re.MULTILINE)
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
]
DAILY = [block for block in BLOCKS if block]


def test_the_readme_has_both_ways() -> None:
    assert len(DAILY) == 2


@pytest.mark.parametrize("block", DAILY)
def test_the_daily_commands_work(here: Host, there: Host, registry: str, tmp_path: Path, block: list[tuple[str, str]]) -> None:
    hosts = {"edge-1": here, "edge-2": there}
    here.api.tag(MODEL, "detector", "1.0")
    first = here.run(MODEL, "detector", labels={})
    here.ask(first, "learn", text="smoke", label="fire")
    stick = tmp_path / "stick"
    stick.mkdir()
    for host, command in block:
        arguments = shlex.split(command.replace("registry.example", registry).replace("/media/stick", str(stick)))[1:]
        # The README's model is called detector; the example's title is another.
        arguments = ["example-model:1.0" if argument == "detector:1.0" else argument for argument in arguments]
        hosts[host].must(*arguments)
    second = there.run("detector:7", "second")
    assert there.ask(second, "predict", text="smoke") == {"fire": 1.0}
