"""Fuzzes every parser of what a stranger wrote, guided by the branches that an input takes: ``make fuzz``.

``FPS_BUNDLE_FUZZ_SECONDS`` (60) are shared by all targets; names of targets choose some of them. What makes a parser
fail is written to ``fuzz-TARGET-…`` in the working directory, and belongs into ``tests/fuzz/found`` as a named file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "unit"), str(HERE)]
PROCESSES = 2


def main(chosen: list[str]) -> int:
    from targets import TARGETS

    names = chosen or list(TARGETS)
    seconds = float(os.environ.get("FPS_BUNDLE_FUZZ_SECONDS", "60"))
    each = max(1, round(seconds * PROCESSES / len(names)))
    failed = []
    for start in range(0, len(names), PROCESSES):
        running = {name: _start(name, each) for name in names[start : start + PROCESSES]}
        for name, process in running.items():
            out = process.communicate()[0]
            print(f"{name}: {_summary(out)}")
            if process.returncode:
                failed.append(name)
                print(out[-4000:], file=sys.stderr)
    return bool(failed)


def _start(name: str, seconds: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--target", name, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def _summary(out: str) -> str:
    done = [line for line in out.splitlines() if line.startswith("Done ")]
    return done[-1] if done else "failed"


def fuzz(name: str, seconds: str) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["bundler"]):
        import targets
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.seeds()[name]):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=65536", "-timeout=20", "-rss_limit_mb=1024"]
        atheris.Setup([name, corpus, *limits, f"-artifact_prefix=fuzz-{name}-", "-print_final_stats=0"], _one(targets.run, target))
        atheris.Fuzz()


def _one(run: object, target: object) -> object:
    return lambda data: run(target, data)  # type: ignore[operator]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        fuzz(sys.argv[2], sys.argv[3])
    else:
        sys.exit(main(sys.argv[1:]))
