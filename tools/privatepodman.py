"""A Podman service of our own, spoken to by its Docker-compatible API; see `privateengine`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privateengine import SetupError, ensure, stop, unmount_below

START_TIMEOUT = 60

# The ulimits and the runtime are what a container of containers allows; see containers.conf(5).
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "{events}"
"""


@contextmanager
def private_podman(events: str = "file") -> Iterator[str]:
    """Run a Podman service with everything of its own; gives its address for ``DOCKER_HOST``.

    ``events`` is the ``events_logger`` of containers.conf(5).
    """
    podman = ensure("podman", "podman")
    ensure("runc", "runc")
    root = Path(tempfile.mkdtemp(prefix="fps-podman-"))
    (root / "containers.conf").write_text(_CONFIGURATION.format(events=events))
    environment = {**os.environ, "CONTAINERS_CONF": str(root / "containers.conf")}
    command = [podman, f"--root={root}/data", f"--runroot={root}/run", f"--tmpdir={root}/tmp"]
    process = None
    try:
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "system", "service", "--time=0", f"unix://{root}/podman.sock"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not (root / "podman.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SetupError(f"podman did not come up:\n{(root / 'log').read_text()[-3000:]}")
            time.sleep(0.1)
        yield f"unix://{root}/podman.sock"
    finally:
        subprocess.run([*command, "rm", "--all", "--force", "--volumes"], env=environment, capture_output=True, check=False)
        if process:
            stop(process)
        unmount_below(root)
        shutil.rmtree(root, ignore_errors=True)
