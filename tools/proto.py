"""Generates ``bundler/_proto`` from ``proto/``; ``--check`` says whether that would change a byte."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "bundler/_proto/fps/model/migrator.proto"
GENERATED = ("migrator_pb2.py", "migrator_pb2.pyi", "migrator_pb2_grpc.py")


def generate(target: Path) -> Path:
    """Run the compiler into ``target``; gives the directory of the generated files."""
    # The mapped include path makes the generated modules import each other below `bundler._proto`.
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-Ibundler/_proto={ROOT / 'proto'}", *outputs, SOURCE]
    subprocess.run(command, check=True, cwd=ROOT)
    return target / Path(SOURCE).parent


def main() -> int:
    if "--check" not in sys.argv[1:]:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        fresh = generate(Path(directory))
        committed = ROOT / Path(SOURCE).parent
        stale = [name for name in GENERATED if (fresh / name).read_bytes() != (committed / name).read_bytes()]
    if stale:
        print(f"{', '.join(stale)} differ from what proto/ gives; run: make proto", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
