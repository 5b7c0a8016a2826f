"""SIGINT, SIGTERM and SIGHUP end the program with a code of their own, without a traceback, and after its cleanup."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.errors import INTERRUPTED

EVERY = pytest.mark.parametrize("sign", list(INTERRUPTED), ids=lambda sign: sign.name)
HEAVY = {"click", "dataclasses", "pathlib", "rich", "threading", "typer", "typing"}

_LOSE = """
import os, signal, time
from bundler.cli import main, signals

class Lossy:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

signals.listen()
main.guard_terminal()
with signals.interruptible():
    try:
        Lossy()
        time.sleep(30)
    except KeyboardInterrupt:
        os._exit(signals.exit_code())
"""
_EXEC = """
import os, signal, sys
from bundler.cli import signals

signals.listen()
with signals.interruptible():
    try:
        exec("os.kill(os.getpid(), signal.SIGTERM)")
    except KeyboardInterrupt:
        pass
sys.exit(signals.exit_code())
"""
_CLEAN_UP = """
import os, signal, sys
from bundler.cli import signals

signals.listen()
with signals.interruptible():
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        while True:
            pass
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        sys.exit(signals.exit_code())
"""


@contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def signals(pid: int, state: str) -> set[int]:
    """The signals that a process catches (``SigCgt``) or ignores (``SigIgn``) by now (proc_pid_status(5))."""
    (mask,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{state}:")]
    return {number for number in range(1, 32) if int(mask.split()[1], 16) & 1 << number - 1}


def wait_until_ready(pid: int) -> None:
    while not INTERRUPTED.keys() <= signals(pid, "SigCgt"):
        time.sleep(0.001)


@EVERY
def test_a_signal_while_the_program_is_loaded_shows_no_traceback(sign: signal.Signals) -> None:
    with program(sys.executable, "-m", "bundler", "list") as process:
        wait_until_ready(process.pid)
        process.send_signal(sign)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (INTERRUPTED[sign], "", "interrupted\n")


def test_signals_are_handled_before_anything_slow_is_loaded() -> None:
    code = "import sys, bundler.__main__; print('main', *sys.modules); import bundler.cli.signals; print('signals', *sys.modules)"
    shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    loaded = {line.split()[0]: set(line.split()) for line in shown}
    assert "bundler.cli.signals" in loaded["signals"]
    assert HEAVY.isdisjoint(loaded["signals"])
    assert {"signal", "enum", *HEAVY}.isdisjoint(loaded["main"])


def test_a_ctrl_c_before_signals_are_handled_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "signal.py").write_text("raise KeyboardInterrupt")  # as the first module that is slow to load
    code = "import sys; sys.path.insert(0, sys.argv[1]); from bundler.__main__ import main; main()"
    with program(sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path}; {code}", str(tmp_path)) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "interrupted\n")


@pytest.mark.parametrize("sign", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_the_caller_ignores_stays_ignored(sign: signal.Signals) -> None:
    name = sign.name.removeprefix("SIG")
    with program("sh", "-c", f'trap "" {name}; exec "$0" -m bundler inspect -', sys.executable) as process:
        while sign not in signals(process.pid, "SigIgn") or signal.SIGTERM not in signals(process.pid, "SigCgt"):
            time.sleep(0.01)
        process.send_signal(sign)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_an_interrupt_that_python_drops_comes_again() -> None:
    with program(sys.executable, "-c", _LOSE) as process:
        assert process.wait(20) == 143


def test_an_interrupt_in_code_that_is_made_of_text_keeps_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made.py").write_text(_EXEC)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with program(sys.executable, "-m", "made") as process:
        assert process.wait(20) == 143


def test_the_first_signal_counts_and_its_cleanup_goes_on() -> None:
    with program(sys.executable, "-c", _CLEAN_UP) as process:
        assert process.wait(20) == 129
