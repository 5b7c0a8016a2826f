"""Runs in a container: writes down in ``/script/listing`` all that is below ``/srv``, and where the exported paths really lie.

It shares no code with the program, and knows nothing of bundles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any


def look(path: Path) -> dict[str, Any]:
    """What there is to know of one entry; times are in whole seconds, rounded down."""
    found = path.lstat()
    target, digest, capability = "", "", b""
    if stat.S_ISLNK(found.st_mode):
        target = os.fsencode(path.readlink()).hex()
    if stat.S_ISREG(found.st_mode):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with contextlib.suppress(OSError):
            capability = os.getxattr(path, "security.capability")
    return {
        "path": os.fsencode(path).hex(),
        "kind": stat.S_IFMT(found.st_mode),
        "mode": oct(stat.S_IMODE(found.st_mode)),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size": found.st_size if stat.S_ISREG(found.st_mode) else 0,
        "mtime": found.st_mtime_ns // 10**9,
        "target": target,
        "digest": digest,
        "capability": capability.hex(),
        "inode": [found.st_dev, found.st_ino],
    }


def true_place(path: Path) -> Path:
    """Where a path lies when every link among its parents is followed."""
    return path.parent.resolve() / path.name


paths = Path("/script/paths")
listing = {
    "exports": sorted({os.fsencode(true_place(Path(path))).hex() for path in json.loads(paths.read_text() or "[]")}),
    "entries": [look(Path(top, name)) for top, *names in os.walk("/srv") for name in [*names[0], *names[1]]],
}
Path("/script/listing").write_text(json.dumps(listing))
