"""Covers the isolation levels: what is probed, chosen, refused and said, and the tables of system calls."""

import os
import resource
import struct
from types import SimpleNamespace

import pytest

from common.errors import SandboxError
from common.sandbox import Limits, Sandbox, levels, seccomp, syscalls
from common.sandbox.confinement import LANDLOCK, NAMESPACES, SECCOMP
from common.sandbox.landlock import python_folders
from common.sandbox.levels import Isolation, choose_isolation
from common.sandbox.probe import NotEnforced, Probe, in_throw_away_child


def test_the_line_says_level_layers_limits_and_python():
    isolation = Isolation(2, ("rlimits", "seccomp", "landlock v7"), {"namespaces": "uid_map EPERM"})
    assert isolation.line(Limits()).startswith(
        "sandbox: level 2/3 (rlimits, seccomp, landlock v7; no namespaces: uid_map EPERM); "
        "cpu 10 s, blocked 10 s, memory 1 GiB; python 3."
    )
    assert isolation.line(Limits()).endswith(", hash seed 0")


def test_an_unknown_setting_lists_the_valid_ones():
    with pytest.raises(SandboxError, match=r"'total'.*\n.*--sandbox.* auto, strict, none"):
        Sandbox(isolation="total")


def report(**missing: str) -> dict:
    order = ["seccomp", "landlock", "namespaces"]
    level = next((i for i, layer in enumerate(order) if layer in missing), 3)
    return {"missing": missing, "notes": {}, "level": level}


@pytest.fixture
def machine(monkeypatch):
    """A machine that refuses the given layers."""

    def refusing(**missing: str) -> None:
        monkeypatch.setattr(levels, "_probe", lambda limits, home: report(**missing))

    return refusing


def test_strict_refuses_and_names_the_missing_layer(machine):
    machine(landlock="Operation not supported")
    with pytest.raises(SandboxError, match=r"(?s)--sandbox strict .*landlock.*not supported.* 1/3.*--sandbox auto"):
        choose_isolation("strict", Limits(), "/home/someone")


def test_auto_never_falls_back_to_nothing(machine):
    machine(seccomp="Invalid argument")
    with pytest.raises(SandboxError, match=r"(?s)seccomp: Invalid argument.*--sandbox none"):
        choose_isolation("auto", Limits(), "/home/someone")
    assert choose_isolation("none", Limits(), "/home/someone").level == 0


def test_auto_takes_the_best_level_and_says_what_is_missing(machine):
    machine(namespaces="uid_map Operation not permitted")
    isolation = choose_isolation("auto", Limits(), "/home/someone")
    assert isolation.level == 2 and isolation.missing == {"namespaces": "uid_map Operation not permitted"}


def test_without_limits_there_is_no_sandbox_at_all(machine):
    machine(rlimits="capset: Operation not permitted")
    with pytest.raises(SandboxError, match=r"cannot limit .*capset.*\n.*ulimit"):
        choose_isolation("none", Limits(), "/home/someone")


def test_the_description_holds_what_a_manifest_keeps(sandbox):
    described = sandbox.describe()
    assert described["level"] == sandbox.isolation.level and described["limits"]["cpu_s"] == 1.0
    assert {"layers", "missing_layers", "python", "near_limit_count", "cache_hits", "n_programs"} <= set(described)


def test_the_probe_tells_a_reason_and_survives_a_crash():
    def not_enforced():
        raise NotEnforced("a socket was not refused")

    assert in_throw_away_child(lambda: None) == ""
    assert in_throw_away_child(not_enforced) == "a socket was not refused"
    assert in_throw_away_child(lambda: os.kill(os.getpid(), 9)) == "the probe ended with status -9"


def test_a_hard_limit_below_the_sandboxs_own_is_found():
    def with_a_low_hard_limit():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
        Probe.try_rlimits(SimpleNamespace(limits=Limits(memory_bytes=1 << 34)))

    assert "a hard limit of 8589934592 bytes" in in_throw_away_child(with_a_low_hard_limit)


@pytest.mark.parametrize(
    ("works", "missing", "tried", "level", "named"),
    [
        ({1, 2, 3}, {}, [3], 3, []),
        ({1, 2}, {}, [3, 1, 2, 3], 2, [NAMESPACES]),
        ({2}, {}, [3, 1], 0, [SECCOMP]),
        ({1, 2, 3}, {LANDLOCK: "refused"}, [1], 1, [LANDLOCK]),
    ],
)
def test_levels_are_tried_from_below_only_where_the_best_does_not_work(
    monkeypatch, works, missing, tried, level, named
):
    asked = []
    monkeypatch.setattr("common.sandbox.probe.in_throw_away_child", lambda act: act())

    def try_level(number: int) -> str:
        asked.append(number)
        return "" if number in works else "it fails"

    assert Probe.best_level(SimpleNamespace(try_level=try_level), missing) == level
    assert asked == tried and [*missing] == named


def test_python_is_granted_but_never_the_folder_that_holds_the_home(monkeypatch):
    monkeypatch.setattr("sys.prefix", "/home/someone")
    monkeypatch.setattr("sys.base_prefix", "/home/someone/.pyenv/versions/3.11")
    folders = python_folders("/home/someone")
    assert "/home/someone" not in folders and "/home/someone/.pyenv/versions/3.11" in folders
    monkeypatch.setattr("sys.prefix", "/home/some")
    assert "/home/some" in python_folders("/home/someone")


def answer(code: list[tuple[int, int, int, int]], number: int, arch: int, *arguments: int) -> int:
    """What the kernel would answer: an interpreter of the few BPF instructions in use."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    position, loaded = 0, 0
    while True:
        operation, if_true, if_false, operand = code[position]
        position += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            return operand
        else:
            holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[operation]
            position += if_true if holds else if_false


ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026


@pytest.mark.parametrize("machine_name", ["x86_64", "aarch64"])
@pytest.mark.parametrize("file_changes", [False, True])
def test_the_filter_answers_as_the_tables_say(machine_name, file_changes):
    raw = seccomp.build_filter(file_changes, machine_name)
    code = list(struct.iter_unpack("<HBBI", raw))
    arch = syscalls.AUDIT_ARCH[machine_name]
    calls = syscalls.conditional(machine_name)
    for number in syscalls.denied(machine_name, file_changes).values():
        assert answer(code, number, arch) == EPERM
    for number, expected in (
        (9999, ENOSYS),
        (syscalls.CLONE3, ENOSYS),
        (syscalls.OPENAT2, ENOSYS),
        (63 if machine_name == "aarch64" else 0, ALLOW),
    ):
        assert answer(code, number, arch) == expected
    decided = {*syscalls.denied(machine_name, file_changes).values(), *calls.values()}
    decided |= {syscalls.CLONE3, syscalls.OPENAT2}
    for number in set(range(syscalls.FIRST_UNKNOWN)) - decided:
        assert answer(code, number, arch) == ALLOW
    assert answer(code, 0, 0x40000003) == KILL
    rules = ARGUMENTS | (NO_WRITING if file_changes else WRITING)
    for call, (allowed, refused) in rules.items():
        if call in calls:
            assert {answer(code, calls[call], arch, *arguments) for arguments in allowed} <= {ALLOW}, call
            assert {answer(code, calls[call], arch, *arguments) for arguments in refused} == {EPERM}, call


OWN_PID, THREAD, FILES = 0x5A5A5A5A, 0x10000, 0x400
FCNTL = [0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030], [8, 9, 10, 11, 15, 16, 1024, 1026, 1031, 9999]
IOCTL = [0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451], [0x8901, 0x8902, 0x5452, 0x5410, 0x5412, 0x5414]
ARGUMENTS = {  # by call: (arguments that are allowed, arguments that are refused)
    "clone": ([(THREAD | FILES,)], [(THREAD,), (FILES,), (17,)]),
    "close_range": ([(3, 9, 4)], [(3, 9, 2)]),
    "kill": ([(OWN_PID,)], [(1,)]),
    "tgkill": ([(OWN_PID,)], [(1,)]),
    "prctl": ([(15,)], [(1,), (4,)]),
    "socketpair": ([(1, 1), (1, 0o2004001)], [(1, 2), (30, 1)]),
    "sendto": ([(3, 0, 1, 0), (3, 0, 1, 0x4040)], [(3, 0, 1, 1)]),
    "fcntl": (
        [*[(3, command) for command in FCNTL[0]], (3, 4, 0o4000), (3, 2, 0o20000)],
        [*[(3, command) for command in FCNTL[1]], (3, 4, 0o24000)],
    ),
    "ioctl": ([(3, request) for request in IOCTL[0]], [(3, request) for request in IOCTL[1]]),
}
WRITING = {
    "open": ([(0, 0), (0, os.O_WRONLY), (0, os.O_RDWR | os.O_TRUNC)], [(0, os.O_TRUNC)]),
    "openat": ([(0, 0, 0), (0, 0, os.O_WRONLY), (0, 0, os.O_RDWR | os.O_TRUNC)], [(0, 0, os.O_TRUNC)]),
    "fallocate": ([(3, 0)], [(3, 1)]),
}
NO_WRITING = {
    "open": ([(0, 0)], [(0, os.O_WRONLY), (0, os.O_RDWR), (0, os.O_CREAT), (0, os.O_TRUNC)]),
    "openat": ([(0, 0, 0)], [(0, 0, os.O_WRONLY), (0, 0, os.O_RDWR), (0, 0, os.O_CREAT), (0, 0, os.O_TRUNC)]),
    "fallocate": ([], [(3, 0), (3, 1)]),
}


def test_both_tables_refuse_the_same_kinds_of_calls():
    only_x86 = set(syscalls.denied("x86_64", True)) - set(syscalls.denied("aarch64", True))
    old_forms = "fork vfork chmod chown lchown utime utimes futimesat iopl ioperm"
    old_file_forms = "creat unlink rename mkdir rmdir link symlink mknod"
    assert only_x86 == {*old_forms.split(), *old_file_forms.split()}
    assert not set(syscalls.denied("aarch64", True)) - set(syscalls.denied("x86_64", True))
