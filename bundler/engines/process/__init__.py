"""The container of a process on this host, whatever runtime started it: paused by its cgroup, read through ``/proc/PID/root``."""
