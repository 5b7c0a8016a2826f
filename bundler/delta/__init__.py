"""Deltas: the layers of one bundle as differences from the files of another one."""
