"""Fuzz every parser of untrusted input, guided by the branches that an input takes.

``make fuzz`` is bounded: each target runs a fixed number of inputs from a fixed seed, so that the same commit does the
same work and gives the same answer. With ``FPS_BUNDLE_FUZZ_SECONDS`` in the environment (``make soak``) the seed is
random and the targets share that many seconds. Names of targets select some of them. An input that makes a parser fail
is written to ``fuzz-TARGET-…`` in the working directory; keep it as a named file in ``tests/fuzz/found``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "helpers"), str(HERE)]
PROCESSES = 2
RUNS = 6_000
"""Inputs per target of a bounded run; about one second of work. The seed is fixed, so that more would be the same ones again."""
SLOW = {"whole_layer": 1_500, "metadata": 3_000}
"""The same for targets that take longer for each input."""
MOST_MEMORY = 1 << 30
HANG = 300
"""Seconds after which an input counts as a hang; far beyond what a loaded machine adds to any input."""


def main(chosen: list[str]) -> int:
    from targets import TARGETS

    names = chosen or list(TARGETS)
    seconds = os.environ.get("FPS_BUNDLE_FUZZ_SECONDS")
    failed = False
    with ThreadPoolExecutor(PROCESSES) as pool:
        extents = [open_ended(float(seconds) * PROCESSES / len(names)) if seconds else bounded(name) for name in names]
        for name, result in zip(names, pool.map(_run, names, extents), strict=True):
            print(f"{name}: {_summary(result.stdout)}")
            if result.returncode:
                failed = True
                print(result.stdout[-4000:], file=sys.stderr)
    return failed or _took_too_much_memory()


def bounded(name: str) -> list[str]:
    """A fixed amount of work.

    ``-use_cmp=0`` because the table of comparisons is indexed by memory addresses, which differ from process to process, and
    ``-use_counters=0`` because how often a line is reached depends on which thread comes first.
    """
    return ["-seed=1", f"-runs={SLOW.get(name, RUNS)}", "-use_cmp=0", "-use_counters=0"]


def open_ended(seconds: float) -> list[str]:
    return [f"-max_total_time={max(1, round(seconds))}"]


def _run(name: str, extent: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, "--target", name, *extent],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """Our own, with a fixed order of sets, which decides which branch comes first."""
    return {**os.environ, "PYTHONHASHSEED": "0"}


def _summary(out: str) -> str:
    done = [line.split("\t")[-1] for line in out.splitlines() if line.startswith("#") and "DONE" in line]
    runs = [line for line in out.splitlines() if line.startswith("Done ")]
    return f"{runs[-1].split(' in ')[0]}, {' '.join(done[-1].split()[1:7])}" if done and runs else "failed"


def _took_too_much_memory() -> bool:
    """Whether a process exceeded the limit in between two looks of libFuzzer, which looks once a second."""
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    if most > MOST_MEMORY:
        print(f"a target took {most >> 20} MiB of memory, more than {MOST_MEMORY >> 20} MiB", file=sys.stderr)
    return most > MOST_MEMORY


def fuzz(name: str, extent: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["bundler"]):
        import targets
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as directory:
        seeds = [Path(directory) / f"seed-{number:03}" for number in range(len(targets.seeds()[name]))]
        for path, seed in zip(seeds, targets.seeds()[name], strict=True):
            path.write_bytes(seed)
        # Named one by one: a directory is read in an order that depends on the file system.
        given = [f"-seed_inputs={','.join(map(str, seeds))}", *extent]
        limits = ["-max_len=65536", f"-timeout={HANG}", f"-rss_limit_mb={MOST_MEMORY >> 20}"]
        atheris.Setup([name, *given, *limits, f"-artifact_prefix=fuzz-{name}-"], _one(targets.run, target))
        atheris.Fuzz()


def _one(run: object, target: object) -> object:
    return lambda data: run(target, data)  # type: ignore[operator]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
