"""Builds the wheel, installs it into an empty environment and runs what it brings."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(scratch), str(ROOT)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = scratch.glob("*.whl")
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
        print(f"{wheel.name}: installs into an empty environment and runs")


if __name__ == "__main__":
    main()
