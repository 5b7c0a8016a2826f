"""Offers hostile inputs to the commands, in one process that has little memory; prints a line of JSON for each.

``python tests/hostile/offer.py DIRECTORY FIRST STEP`` takes every STEPth case; `test_corpus` runs several of these.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from fakes import FakeEngine
from typer.main import get_command

from bundler.api.stores import StoreOptions
from bundler.api.trust import host_admission
from bundler.bundle import read_bundle
from bundler.cli import console, wiring
from bundler.cli.main import app
from bundler.errors import BundlerError
from bundler.format import reference
from bundler.localfs import state_directory
from bundler.ports import Store
from bundler.stores.layout.local import LocalSpool, LocalStore
from bundler.streams import Progress
from bundler.trust.admission import Admission
from bundler.verbs import apply, ingest
from hostile.case import Case
from hostile.corpus import corpus
from hostile.forge import Signer
from hostile.signer import believed

FULL = os.environ.get("FPS_BUNDLE_FAULTS") == "full"
MOST_MEMORY = 2 << 30
"""Bytes of address space; a case that wants more dies with a traceback, and with it the run."""

SMALL = 1 << 20
"""Bytes of the largest file that is read to see whether it changed; of a larger one its inode tells."""

PROGRAM = get_command(app)
Outcome = dict[str, Any]


def main(directory: Path, first: int, step: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    homes = {f"XDG_{kind}_HOME": str(directory / kind.lower()) for kind in ("CONFIG", "STATE")}
    os.environ |= {"FPS_BUNDLE_STORE": str(directory / "store"), **homes}
    LocalStore(reference.LocalReference(""))
    sign = believed(directory / "config")
    for number, case in list(enumerate(corpus()))[first::step]:
        for outcome in offered(case, commands_of(number, case), directory, sign):
            sys.stdout.write(json.dumps({"case": case.name, **outcome}) + "\n")


def commands_of(number: int, case: Case) -> Sequence[str]:
    """The commands that a case is offered to: every one in the soak and for a sound case.

    Outside the soak it is offered to the three that read all of a bundle, and in turn to one that shows or carries it and to one
    that needs an engine. What these do before they touch the engine is what `store` does.
    """
    if FULL or case.codes == (0,):
        return list(COMMANDS)
    return ["verify", "store", "extract", ("inspect", "files", "copy")[number % 3], ("apply", "ingest")[number % 2]]


def offered(case: Case, commands: Sequence[str], directory: Path, sign: Signer) -> Iterator[Outcome]:
    """What these commands make of a case."""
    place, target = directory / "case", directory / "target"
    for path in (place, target):
        path.mkdir()
    named = case.make(place, sign)
    before = [snapshot(directory / name) for name in KEPT]
    for command in commands:
        code, text, seconds, memory = measured(COMMANDS[command], named, target)
        yield {
            "command": command,
            "code": code,
            "text": text,
            "seconds": seconds,
            "memory": memory,
            "changed": [snapshot(directory / name) for name in KEPT] != before,
            "made": sorted(path.name for path in target.iterdir()),
        }
        if code == 0:
            restore(target)
    shutil.rmtree(place)
    shutil.rmtree(target)


def measured(run: Callable[[str, Path], tuple[int, str]], named: str, target: Path) -> tuple[int, str, float, int]:
    """Exit code, what was printed, seconds of the processor, and the most memory in bytes that the process took meanwhile."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far (proc(5))
    before, began = _memory("VmRSS"), time.process_time()
    code, text = run(named, target)
    return code, text, time.process_time() - began, _memory("VmHWM") - before


def _memory(kind: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) << 10


def cli(*arguments: str) -> tuple[int, str]:
    outcome = CliRunner().invoke(PROGRAM, list(arguments))
    told = outcome.output
    if outcome.exception and not isinstance(outcome.exception, SystemExit):
        told += "".join(traceback.format_exception(outcome.exception))
    return outcome.exit_code, told


def applied(named: str, target: Path) -> tuple[int, str]:
    """As the command does it, with an engine that has the base."""
    del target

    def run(store: Store, engine: FakeEngine, admission: Admission, progress: Progress) -> None:
        apply.apply(store, engine, LocalSpool(), progress, admission=admission, options=apply.ApplyOptions(tag="copy:1"))

    return with_engine(named, run)


def ingested(named: str, target: Path) -> tuple[int, str]:
    """As the command does it until the new model has a container to copy from."""
    del target

    def run(store: Store, engine: FakeEngine, admission: Admission, progress: Progress) -> None:
        admitted = admission.admit(read_bundle(store), store, progress)
        with ingest.bundle(admitted, store, engine, LocalSpool(), progress):
            pass

    return with_engine(named, run)


def extracted(named: str, target: Path) -> tuple[int, str]:
    (state_directory.directory() / "applied.json").unlink(missing_ok=True)  # as for `with_engine`
    return cli("extract", "--quiet", "--allow-privileged", named, str(target / "extracted"))


def with_engine(named: str, run: Callable[[Store, FakeEngine, Admission, Progress], None]) -> tuple[int, str]:
    """The exit code is 1 for an error that is not ours, or that came when the engine had been touched."""
    engine = FakeEngine()
    before = list(engine.held)
    (state_directory.directory() / "applied.json").unlink(missing_ok=True)  # all cases have one signer and one sequence number
    try:
        with wiring.opened(reference.parse(named), StoreOptions()) as store, console.Terminal(quiet=True) as terminal:
            run(store, engine, host_admission(), terminal)
    except BundlerError as error:
        is_untouched = engine.held == before and not engine.loads
        return error.exit_code if is_untouched else 1, error.message
    return 0, ""


COMMANDS: dict[str, Callable[[str, Path], tuple[int, str]]] = {
    "inspect": lambda named, _: cli("inspect", named),
    "files": lambda named, _: cli("inspect", "--files", named),
    "verify": lambda named, _: cli("verify", named),
    "copy": lambda named, target: cli("copy", "--quiet", named, str(target / "copy.tar")),
    "store": lambda named, _: cli("copy", "--quiet", named, "copied:1"),
    "apply": applied,
    "ingest": ingested,
    "extract": extracted,
}
KEPT = ("case", "store", "config")
"""What no command may change that refuses a case, or carries it elsewhere."""


def snapshot(path: Path) -> dict[str, str]:
    """What lies in a directory, by name."""
    return {str(found.relative_to(path)): fingerprint(found) for found in sorted(path.rglob("*"))}


def fingerprint(path: Path) -> str:
    found = path.lstat()
    if found.st_size > SMALL:
        return f"{found.st_ino} {found.st_size} {found.st_ctime_ns}"
    if path.is_symlink() or not path.is_file():
        return "no plain file"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(target: Path) -> None:
    """Take away what a command has made, so that the next one finds what this one found."""
    for path in target.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    store = LocalStore(reference.parse("copied:1"))
    store.forget()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
