"""How much memory push, copy, apply and ingest take for a large state: the peak of each process, in MiB.

Run it with ``make bench``; ``--size`` is in GiB. The state is a mix: a few files of random bytes, which do
not compress, and 20,000 small ones.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "integration")]

from privateengine import private_engine  # noqa: E402
from privateregistry import private_registry  # noqa: E402
from world import MODEL, Host  # noqa: E402

LIMIT = 200
"""MiB that no process of ours may exceed."""

NEWER = "scripted:2"

SETUP = """
import os
os.makedirs('/srv/state/small')
left, number = {size}, 0
with open('/dev/urandom', 'rb', buffering=0) as source:
    while left > 0:
        with open(f'/srv/state/weights-{{number}}', 'wb') as target:
            for _ in range(min(1024, left >> 20)):
                target.write(source.read(1 << 20))
        left -= 1 << 30
        number += 1
for number in range(20000):
    with open(f'/srv/state/small/{{number:05}}', 'wb') as target:
        target.write(os.urandom(1 + number % 8192))
"""


def measure(host: Host, *arguments: str) -> tuple[float, float]:
    """Run one command; gives its seconds and its peak memory in MiB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "bundler", *arguments], env=host.environment, cwd=host.home, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=3, help="GiB of state")
    size = int(parser.parse_args().size * (1 << 30))
    with contextlib.ExitStack() as stack:
        workplace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fps-bench-")))
        for name in ("here", "there"):
            (workplace / name).mkdir()
        here = Host(stack.enter_context(private_engine()), workplace / "here")
        there = Host(stack.enter_context(private_engine()), workplace / "there")
        registry = stack.enter_context(private_registry())
        here.build_model()
        there.take_image(here, MODEL)
        here.run_script("large", ["/srv/state"], SETUP.format(size=size), patience=600)
        here.script_image(NEWER, [("/srv/state", "/srv/state")], mood="strict")
        archive = str(workplace / "large.tar")
        steps = [
            ("push to the local store", here, ["push", "large", "large:1"]),
            ("copy to a registry", here, ["copy", "large:1", f"{registry}/bench/large:1"]),
            ("copy to a file", here, ["copy", "large:1", archive]),
            ("apply from the file", there, ["apply", archive, "--tag", "large:file"]),
            ("copy from the registry", there, ["copy", f"{registry}/bench/large:1", "large:2"]),
            ("ingest", here, ["ingest", "large", "--onto", NEWER, "--tag", "large:ingested"]),
        ]
        results = [(text, *measure(host, *arguments, "--quiet")) for text, host, arguments in steps]
    print(f"state of {size / (1 << 30):g} GiB and 20,000 small files\n")
    print(f"| {'step':<26} |   s   | peak MiB |\n|{'-' * 28}|-------|----------|")
    for text, seconds, peak in results:
        print(f"| {text:<26} | {seconds:5.1f} | {peak:8.0f} |")
    return int(any(peak > LIMIT for _, _, peak in results))


if __name__ == "__main__":
    sys.exit(main())
