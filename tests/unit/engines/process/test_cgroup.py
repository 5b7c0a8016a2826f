"""Only the container of a process is ever frozen: not this program, not the host, and not a part of the container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cgroups
import pytest

from bundler.engines.process import cgroup, identity
from bundler.errors import AuthorizationError, BundlerError, ModelError, NotFoundError, UsageError

FIND = """
import os, sys
from pathlib import Path
from bundler.engines.process import cgroup, identity
from bundler.errors import BundlerError
Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
try:
    cgroup.find(identity.find(int(sys.argv[1])))
except BundlerError as error:
    print(error.exit_code, error.message)
"""


def refused(pid: int) -> BundlerError:
    with pytest.raises(BundlerError) as failed:
        cgroup.find(identity.find(pid))
    return failed.value


def test_a_pid_without_a_process_is_not_found() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(NotFoundError, match="it has ended"):
        identity.find(process.pid)
    process.wait()
    with pytest.raises(NotFoundError, match=f"no process with PID {process.pid}$"):
        identity.find(process.pid)


def test_another_process_with_the_same_pid_is_not_alive() -> None:
    alive = identity.ProcessId(os.getpid(), identity._fields(os.getpid())[identity._STARTED])
    assert alive.is_alive
    assert not identity.ProcessId(alive.pid, "1").is_alive


def test_only_root_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AuthorizationError, match="by root alone"):
        identity.find(os.getpid())


@cgroups.needs_root
def test_this_program_is_refused() -> None:
    assert refused(os.getpid()).message == f"process {os.getpid()} is this fps-bundle"


@cgroups.needs_root
@pytest.mark.skipif(
    not Path("/proc/2/comm").exists() or Path("/proc/2/comm").read_text() != "kthreadd\n", reason="no kernel threads here"
)
def test_a_thread_of_the_kernel_is_refused() -> None:
    assert "a thread of the kernel" in refused(2).message


@cgroups.needs_root
@pytest.mark.parametrize("version", [1, 2])
def test_a_process_of_the_host_is_refused_in_any_cgroup(version: int) -> None:
    with cgroups.cgroup(version) as made:
        error = refused(made.start(unshared=False))
    assert isinstance(error, UsageError)
    assert "is in no container" in error.message


@cgroups.needs_root
def test_a_process_without_a_cgroup_of_its_own_is_refused() -> None:
    """Where it is in the root cgroup, and where it shares the one of this program."""
    with cgroups.sleeping() as process:
        error = refused(process)
    assert isinstance(error, UsageError)
    assert "in the root cgroup" in error.message or "contains this fps-bundle" in error.message


@cgroups.needs_root
@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_with_this_program_in_it_or_below_is_refused(version: int) -> None:
    with cgroups.cgroup(version) as made:
        process = made.start()
        with made.inner() as inner:
            for directory in (made.directory, inner.directory):
                found = subprocess.run(
                    [sys.executable, "-c", FIND, str(process), str(directory)], capture_output=True, text=True, check=True
                )
                assert found.stdout.startswith("2 "), found
                assert "contains this fps-bundle, which would stop itself" in found.stdout


@cgroups.needs_root
def test_a_cgroup_with_processes_of_the_host_is_refused() -> None:
    with cgroups.cgroup(1) as made:
        process, other = made.start(), made.start(unshared=False)
        error = refused(process)
    assert isinstance(error, UsageError)
    assert error.message.endswith(f"also contains processes of the host, such as PID {other}")


@cgroups.needs_root
def test_the_cgroup_of_all_processes_of_the_container_is_frozen() -> None:
    """A container can have further cgroups in its own, and the PID can be in one of them."""
    with cgroups.cgroup(1) as made, made.inner() as inner:
        process = inner.start()
        assert cgroup.find(identity.find(process)).directory == inner.directory
        made.start(beside=process)
        assert cgroup.find(identity.find(process)).directory == made.directory


@cgroups.needs_root
def test_a_process_of_the_container_in_a_cgroup_of_the_host_is_named() -> None:
    with cgroups.cgroup(1) as made:
        process = made.start()
        with cgroups.sleeping(unshared=False, beside=process) as other:
            error = refused(process)
    assert isinstance(error, ModelError)
    assert f"process {other} sees the files of process {process}, but is not in its cgroup" in error.message
