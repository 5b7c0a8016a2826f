"""The daily commands of the README do what it says, on two hosts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import sshkeys
from world import MODEL, ROOT, Host

CONSOLE = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
BLOCKS = [re.findall(r"^(edge-\d|build)\$ (.*?)(?:\s+#.*)?$", block, re.MULTILINE) for block in CONSOLE]
(SIGNED,) = [block for block in BLOCKS if block and "ssh-keygen" in block[0][1]]
(THREE,) = [block for block in BLOCKS if any(" --to " in command for _, command in block)]
DAILY = [
    [(host, command) for host, command in block if command.startswith("fps-bundle")]
    for block in BLOCKS
    if block and block not in (SIGNED, THREE)
]


def test_the_readme_has_all_ways() -> None:
    assert (len(DAILY), len(SIGNED), len(THREE)) == (2, 5, 5)


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


def test_the_three_ways_work(here: Host, there: Host, registry: str, tmp_path: Path) -> None:
    here.push_model(f"{registry}/example-model:1.0")  # where `apply --to` looks for the recorded name
    here.ask(here.run(MODEL, "detector"), "learn", text="smoke", label="fire")
    here.must("push", "detector", f"{registry}/team/detector-state:7")
    commands = [shlex.split(command) for _, command in THREE if command.startswith("fps-bundle")]
    for _, *arguments in commands:
        there.must(*(it.replace("registry.example", registry).replace("/srv", str(tmp_path)) for it in arguments))
    assert there.ask(there.run("detector:7", "second"), "predict", text="smoke") == {"fire": 1.0}
    accepted = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    manifest = requests.get(f"http://{registry}/v2/images/detector/manifests/7", headers=accepted, timeout=60).json()
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert list((tmp_path / "detector").rglob("weights.bin"))


def test_from_a_key_to_a_refused_forgery(here: Host, there: Host, tmp_path: Path) -> None:
    hosts = {"edge-1": here, "edge-2": there}
    here.run(MODEL, "detector")
    here.must("push", "detector", str(tmp_path / "forged.tar"), "--sign-key", str(sshkeys.key(tmp_path / "another").path))
    codes = []
    for host, command in SIGNED:
        line = command.replace("fps-bundle ", f"{sys.executable} -m bundler ").replace("/media/stick", str(tmp_path))
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=hosts[host].environment, capture_output=True, text=True, check=False
        )
        codes.append(done.returncode)
    assert codes == [0, 0, 0, 0, 9], done.stderr
    assert "forged.tar is not trusted: no trusted signature (1 required); " in done.stderr
    assert any("detector:7" in image["RepoTags"] for image in there.api.images())
    assert not any("detector:8" in image["RepoTags"] for image in there.api.images())
