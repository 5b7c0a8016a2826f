"""The engines of other Debian releases on this host: a root directory for each release, and commands that run in it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from privateengine import SetupError, ensure

ROOTS = Path(__file__).resolve().parent.parent / ".engines"
"""Where the roots are kept from one run to the next; `make clean` removes them."""

PACKAGES = ("ca-certificates", "containerd", "crun", "docker.io", "iptables", "mount", "netavark", "podman", "runc", "skopeo")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# runc pivots into a container's root, which it cannot do in a chroot: a command gets a mount namespace whose root is the directory.
_ENTER = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount --rbind "$0" "$0"
for shared in proc sys dev; do mount --rbind "/$shared" "$0/$shared"; done
cd "$0"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
exec "$@"
"""


def inside(root: Path) -> list[str]:
    """The words before a command that run it with ``root`` as the root of a mount namespace of its own."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _ENTER, str(root)]


def debian_root(suite: str) -> Path:
    """The root directory of a Debian release (``trixie``, ``sid``) with its container engines, made by the first call.

    Raises `SetupError` where it cannot be made: that takes root, Debian or Ubuntu, and the mirror that apt uses here.
    """
    root = ROOTS / suite
    ROOTS.mkdir(exist_ok=True)
    with _locked(ROOTS / f"{suite}.lock"):
        if not (root / ".complete").exists():
            shutil.rmtree(root, ignore_errors=True)
            print(f"installing the container engines of Debian {suite} into {root} …", file=sys.stderr, flush=True)
            _install(suite, root)
            (root / ".complete").touch()
    return root


def _install(suite: str, root: Path) -> None:
    command = [
        ensure("mmdebstrap", "mmdebstrap"),
        "--quiet",
        "--variant=apt",
        "--skip=check/empty",
        '--aptopt=APT::Install-Recommends "false"',
        '--aptopt=Acquire::Check-Valid-Until "false"',  # a snapshot of an archive may be older than its own date allows
        f"--include={','.join(PACKAGES)}",
        suite,
        str(root),
        f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SetupError(f"mmdebstrap could not install Debian {suite}:\n{result.stderr[-3000:]}")


def _mirror() -> str:
    """The mirror of Debian's main archive that apt uses on this host."""
    for update in (False, True):  # a host that never ran `apt-get update` has no lists
        if update:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
        command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        if mirrors := [uri for uri in found if "security" not in uri]:
            return mirrors[0]
    raise SetupError("apt has no package lists, and `apt-get update` brought none")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
