"""Random states of a model: what hypothesis draws here is built in a container by `BUILD`."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

State = list[dict[str, Any]]

_names = (
    st.one_of(
        st.text("ab-. ~☃%", min_size=1, max_size=6).map(lambda text: text.encode()),
        st.binary(min_size=1, max_size=40),
        st.integers(90, 120).map(lambda length: b"n" * length),
    )
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
)
_paths = st.lists(_names, min_size=1, max_size=4).map(lambda parts: b"/srv/state/" + b"/".join(parts))
_owners = st.one_of(st.sampled_from([0, 1000, 65534, 2**31 + 5, 2**32 - 2]), st.integers(0, 2**21 + 2))
_times = st.one_of(st.sampled_from([0, 1, 7258118400]), st.integers(0, 2**33)).flatmap(
    lambda seconds: st.sampled_from([0, 250_000_000, 999_999_999]).map(lambda rest: seconds * 10**9 + rest)
)
_sizes = st.one_of(st.sampled_from([0, 1, 511, 512, 513]), st.integers(0, 200_000))
_base_paths = st.sampled_from(["server.py", "state.py", "weights.py", "classifier.py", "fps/model/migrator_pb2_grpc.py", "fps"])


@st.composite
def _operations(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["file"] * 5 + ["directory"] * 3 + ["symlink", "hardlink", "hardlink", "fifo", "socket"]))
    return {
        "kind": kind,
        "path": draw(_paths).hex(),
        "target": draw(st.one_of(_paths, _names)).hex(),
        "pick": draw(st.integers(0, 100)),
        "size": draw(_sizes),
        "mode": draw(st.integers(0, 0o7777)),
        "uid": draw(_owners),
        "gid": draw(_owners),
        "mtime": draw(_times),
        "capability": draw(st.sampled_from([False, False, False, True])),
    }


_removals = st.builds(
    lambda path, how: {"kind": how, "path": path}, _base_paths, st.sampled_from(["delete", "to-file", "to-directory"])
)

states: st.SearchStrategy[State] = st.builds(
    lambda operations, removals: operations + removals,
    st.lists(_operations(), min_size=1, max_size=25),
    st.lists(_removals, max_size=4, unique_by=lambda removal: removal["path"]),
)

BUILD = """
import json, os, shutil, socket
made = []
def attempt(operation):
    kind = operation["kind"]
    if kind in ("delete", "to-file", "to-directory"):
        path = "/srv/base/" + operation["path"]
        if not os.path.lexists(path):
            return
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
        if kind == "to-file":
            open(path, "w").write("now a file")
        elif kind == "to-directory":
            os.mkdir(path); open(path + "/inside", "w").write("now in a directory")
        return
    path, target = bytes.fromhex(operation["path"]), bytes.fromhex(operation["target"])
    if os.path.lexists(path):
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "file":
            with open(path, "wb") as file:
                file.write(os.urandom(operation["size"]))
        elif kind == "directory":
            os.mkdir(path)
        elif kind == "symlink":
            os.symlink(target, path)
        elif kind == "hardlink":
            others = [other for other in made if not os.path.isdir(other) or os.path.islink(other)]
            if not others:
                return
            os.link(others[operation["pick"] % len(others)], path, follow_symlinks=False)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "socket":
            socket.socket(socket.AF_UNIX).bind(path)
    except OSError:
        return  # a name too long, or below something that is no directory
    made.append(path)
    os.lchown(path, operation["uid"], operation["gid"])
    if not os.path.islink(path):
        os.chmod(path, operation["mode"])
    if kind == "file" and operation["capability"]:
        os.setxattr(path, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    operation["done"] = True
operations = json.loads({operations!r})
os.makedirs("/srv/state", exist_ok=True)
for operation in operations:
    attempt(operation)
for operation in sorted((item for item in operations if item.get("done")), key=lambda item: -len(item["path"])):
    os.utime(bytes.fromhex(operation["path"]), ns=(operation["mtime"], operation["mtime"]), follow_symlinks=False)
"""


def build(state: State) -> str:
    """Python code that makes a state below ``/srv``, in a container of the base that has ``/srv/base``."""
    return BUILD.replace("{operations!r}", repr(json.dumps(state)))
