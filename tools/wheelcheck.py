"""Builds the wheel twice, compares the bytes, installs it into an empty environment and runs its commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        wheel = _built(scratch / "first")
        if wheel.read_bytes() != _built(scratch / "second").read_bytes():
            sys.exit(f"{wheel.name}: two builds of the same sources differ")
        venv.create(scratch / "venv", with_pip=True)
        binaries = scratch / "venv" / "bin"
        # The lock holds for the dependencies of the wheel as well.
        constraints = scratch / "constraints.txt"
        lines = (ROOT / "requirements.lock").read_text().splitlines()
        constraints.write_text("\n".join(line.split(" ")[0] for line in lines if "==" in line and not line.startswith((" ", "#"))))
        install = [str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check", "-c", str(constraints), str(wheel)]
        subprocess.run(install, check=True)
        program = str(binaries / "fps-bundle")
        for arguments in (["--version"], ["--help"], ["list"]):
            subprocess.run(
                [program, *arguments],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=scratch,
                env={"PATH": "/usr/bin:/bin", "HOME": directory, "FPS_BUNDLE_STORE": str(scratch / "store")},
            )
        schemas = "from bundler.format import schema; print(schema.fault({}, 'metadata.v1'))"
        subprocess.run([str(binaries / "python"), "-c", schemas], check=True, cwd=scratch)
        print(f"{wheel.name}: two builds are the same, and it runs in an empty environment")


def _built(directory: Path) -> Path:
    """The wheel of the sources, dated by the last commit (https://reproducible-builds.org/specs/source-date-epoch/)."""
    dated = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    environment = {"SOURCE_DATE_EPOCH": dated or "1577836800", **os.environ}
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    (wheel,) = directory.glob("*.whl")
    return wheel


if __name__ == "__main__":
    main()
