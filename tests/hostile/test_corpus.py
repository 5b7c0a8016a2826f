"""Every hostile input is refused by what reads it: exit 8, one line, nothing changed, soon, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tally

from hostile.corpus import corpus
from hostile.offer import commands_of

CORPUS = corpus()
PROCESSES = 2
MOST_SECONDS = 10
MOST_MEMORY = 300 << 20
CARRIERS = {"inspect", "copy"}
"""Commands that open no layers: these show, and carry to somewhere else, what only those can tell who open them."""

LISTERS = {"files"}
"""Commands that show what tables of contents say, or layers that have none; they need not know what is wrong with the rest."""

MADE = {"copy": "copy.tar", "extract": "extracted"}
"""What commands make in their target."""

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """What each command made of each case."""
    found: dict[str, Outcomes] = {}
    running = []
    for number in range(PROCESSES):
        place = tmp_path_factory.mktemp("offer")
        command = [sys.executable, Path(__file__).with_name("offer.py"), place, number, PROCESSES]
        # OpenSSL reads no authorities of this host, which takes longer than a case.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SSL_CERT_FILE": os.devnull}
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:  # in a pipe all but one would wait to be read
            process = subprocess.Popen(list(map(str, command)), env=environment, stdout=out, stderr=err)
        running.append((process, place))
    for process, place in running:
        assert process.wait(timeout=MOST_SECONDS * len(CORPUS)) == 0, (place / "err").read_text()
        for line in (place / "out").read_text().splitlines():
            outcome = json.loads(line)
            found.setdefault(outcome["case"], {})[outcome["command"]] = outcome
    return found


@pytest.mark.parametrize("number", range(len(CORPUS)), ids=[case.name for case in CORPUS])
def test_every_command_gives_the_right_answer(number: int, outcomes: dict[str, Outcomes]) -> None:
    case = CORPUS[number]
    found = outcomes[case.name]
    for command, outcome in found.items():
        carried = case.opens_layers and command in CARRIERS
        right = (0, *case.codes) if command in LISTERS else (0,) if carried else case.codes
        assert outcome["code"] in right, (command, outcome["text"])
        assert outcome["seconds"] < MOST_SECONDS, command
        assert outcome["memory"] < MOST_MEMORY, command
        assert "Traceback" not in outcome["text"], outcome["text"]
        assert not outcome["changed"] or (command == "store" and outcome["code"] == 0), command
        assert outcome["made"] == ([MADE[command]] if command in MADE and outcome["code"] == 0 else []), command
    assert found.keys() == set(commands_of(number, case))
    tally.count("hostile inputs", "sound, and taken" if case.codes == (0,) else "refused")


def test_every_case_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(case.name for case in CORPUS).items() if count > 1] == []


def test_every_command_is_offered_every_kind_of_case() -> None:
    """Outside the soak each case goes to some of the commands."""
    for kind in ("archive: ", "layer: ", "layout: ", "registry: "):
        offered = {
            command for number, case in enumerate(CORPUS) if case.name.startswith(kind) for command in commands_of(number, case)
        }
        assert offered == {"inspect", "files", "verify", "copy", "store", "apply", "ingest", "extract"}


def test_there_are_enough_cases() -> None:
    assert len([case for case in CORPUS if case.codes != (0,)]) >= 120
