"""The applied model has the capabilities, attributes and holes of the exported model's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_exact import pushed
from world import Host

CAPABLE_TWICE = """
import os
os.mkdir('/srv')
with open('/srv/a', 'w') as file:
    file.write('#!/bin/sh')
os.link('/srv/a', '/srv/b')
os.chown('/srv/a', 1000, 1000)
os.chmod('/srv/a', 0o6755)
os.setxattr('/srv/a', 'security.capability', bytes.fromhex('0100000200040000000000000000000000000000'))
"""


@pytest.mark.parametrize("host", ["here", "podman"])
def test_a_capable_file_with_two_names(request: pytest.FixtureRequest, there: Host, tmp_path: Path, host: str) -> None:
    source: Host = request.getfixturevalue(host)
    first = source.run_script("first", ["/srv"], CAPABLE_TWICE)
    there.must("apply", pushed(source, tmp_path), "--tag", "capable:1", "--allow-privileged")
    copy = there.tree(there.api.create_container("capable:1")["Id"], "/srv")
    assert copy == source.tree(first, "/srv")
    assert copy["srv/a"][8]


@pytest.mark.parametrize("host", ["here", "podman"])
def test_rights_that_the_base_has_need_no_word(request: pytest.FixtureRequest, tmp_path: Path, host: str) -> None:
    engine: Host = request.getfixturevalue(host)
    engine.api.commit(engine.run_script("other", [], CAPABLE_TWICE), "rights", "1")
    engine.api.remove_container("other", force=True)
    for name, change, code in (("same", "", 0), ("more", "import os; os.chown('/srv/a', 0, 0); os.chmod('/srv/a', 0o4755)", 9)):
        engine.run_script(name, ["/srv"], f"open('/srv/learned', 'w').write('x')\n{change}", image="rights:1")
        engine.must("push", name, str(tmp_path / f"{name}.tar"))
        outcome = engine.bundle("apply", str(tmp_path / f"{name}.tar"), "--tag", f"{name}:1")
        assert (outcome.code, "/srv/a runs with the rights of user 0" in outcome.err) == (code, code == 9), outcome.err
        engine.api.remove_container(name, force=True)


EXTENDED = """
import os
os.makedirs('/srv/below')
for number, name in enumerate(['/srv/file', '/srv/below/file']):
    open(name, 'w').write(name)
    os.setxattr(name, 'user.note', bytes(range(256))[::37])
    os.setxattr(name, 'user.a.b c', b'=')
os.setxattr('/srv/below', 'user.kind', b'directory')
os.link('/srv/file', '/srv/again')
os.symlink('file', '/srv/link')
for number, name in enumerate(['/srv/link', '/srv/file', '/srv/below/file', '/srv/below', '/srv']):
    os.utime(name, ns=(0, 1_700_000_000_123_456_789 + number), follow_symlinks=False)
"""

LOOK = """
import os
for directory, directories, files in os.walk('/srv'):
    for path in sorted({directory, *(os.path.join(directory, name) for name in files)}):
        found = os.lstat(path)
        names = sorted(os.listxattr(path, follow_symlinks=False))
        print(path, found.st_mtime_ns, [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names])
"""


def test_extended_keeps_nanoseconds_and_user_attributes(here: Host, there: Host, podman: Host, tmp_path: Path) -> None:
    first = here.run_script("first", ["/srv"], EXTENDED)
    layers = []
    for pause in ("--pause", "--no-pause"):
        here.must("push", "first", str(tmp_path / "x.tar"), "--extended", pause)
        layers.append(here.must("inspect", str(tmp_path / "x.tar"), "--json").json["manifest"]["layers"])
    assert layers[0] == layers[1]
    expected = here.execute(first, LOOK)
    assert "123456790" in expected
    assert "user.a.b c" in expected
    for host in (there, podman):
        host.must("apply", str(tmp_path / "x.tar"), "--tag", "extended:1")
        assert host.output("extended:1", LOOK) == expected


def test_a_sparse_file_has_its_content(here: Host, there: Host, tmp_path: Path) -> None:
    setup = """
import os
os.mkdir('/srv')
with open('/srv/sparse', 'wb') as file:
    file.seek(3_000_000); file.write(b'x'); file.truncate(10_000_000)
"""
    first = here.run_script("first", ["/srv"], setup)
    there.must("apply", pushed(here, tmp_path), "--tag", "sparse:1")
    assert there.tree(there.api.create_container("sparse:1")["Id"], "/srv") == here.tree(first, "/srv")


OTHER_ATTRIBUTES = """
import os, struct
os.mkdir('/srv')
open('/srv/file', 'w').write('content')
os.setxattr('/srv/file', 'user.note', b'x')
acl = [(1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
os.setxattr('/srv/file', 'system.posix_acl_access', struct.pack('<I', 2) + b''.join(struct.pack('<HHi', *entry) for entry in acl))
"""


def test_attributes_that_do_not_travel(here: Host, there: Host, tmp_path: Path) -> None:
    first = here.run_script("first", ["/srv"], OTHER_ATTRIBUTES)
    there.must("apply", pushed(here, tmp_path), "--tag", "plain:1")
    look = "import os; print(sorted(os.listxattr('/srv/file')), oct(os.stat('/srv/file').st_mode), open('/srv/file').read())"
    assert here.execute(first, look) == "['system.posix_acl_access', 'user.note'] 0o100640 content\n"
    assert there.output("plain:1", look) == "[] 0o100640 content\n"


def test_extended_refuses_an_attribute_that_no_layer_can_hold(here: Host) -> None:
    first = here.run_script("first", ["/srv"], "import os; os.mkdir('/srv')")
    here.must("push", "first", "extended:1", "--extended")
    for name, value in (("user.empty", ""), ("user.a=b", "x"), ("user.\u2603", "x")):
        here.execute(first, f"import os; os.setxattr('/srv', {name!r}, {value!r}.encode())")
        outcome = here.bundle("push", "first", "extended:1", "--extended")
        assert outcome.code == 3, outcome.err
        assert "no layer can hold the attribute" in outcome.err
        here.must("push", "first", "extended:1")
        here.execute(first, f"import os; os.removexattr('/srv', {name!r})")


def test_extended_takes_the_direct_reader(here: Host) -> None:
    outcome = here.bundle("push", "first", "--extended", "--reader", "api")
    assert outcome.code == 2
    assert "--reader" in outcome.err


CAPABILITIES = """
import os
os.makedirs('/srv/state')
for name, value in ('first', '01000002' + '00040000' + '00000000' * 3), ('third', '01000003' + '01000000' * 5):
    open(f'/srv/state/{name}', 'w').close()
    os.setxattr(f'/srv/state/{name}', 'security.capability', bytes.fromhex(value))
os.link('/srv/state/first', '/srv/state/second')
"""


def test_a_capability_survives_a_second_name_and_is_the_same_by_every_reader(here: Host, there: Host, tmp_path: Path) -> None:
    first = here.run_script("first", ["/srv/state"], CAPABILITIES)
    there.must("apply", pushed(here, tmp_path), "--tag", "capable:1", "--allow-privileged")
    copy = there.tree(there.api.create_container("capable:1")["Id"], "/srv/state")
    assert copy == here.tree(first, "/srv/state")
    assert all(copy[f"state/{name}"][-1] for name in ("first", "second", "third"))
