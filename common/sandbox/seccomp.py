"""Refuse dangerous system calls with a classic BPF filter, without libseccomp and without root.

A deny-list, because Python's own calls differ between versions and libraries. Refused calls fail with
EPERM, so that a program sees an ordinary OSError. Source: seccomp(2), linux/filter.h.
"""

import ctypes
import os
import struct

from common.sandbox import libc, syscalls

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = _ERRNO | 1, _ERRNO | 38
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data; arguments are 8 bytes each

_CLONE_THREAD = 0x10000
_X32_BIT = 0x40000000
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last is __O_TMPFILE
_SOCK_STREAM = 1
_OWN_PID = 0x5A5A5A5A  # replaced in the child: the filter itself is built once, before any fork


class Filter:
    """A filter under construction. Each rule leaves the call number loaded for the next."""

    def __init__(self, machine: str) -> None:
        self.code: list[tuple[int, int, int, int]] = []
        self.add(_LOAD, 0, 0, _ARCH_AT)
        self.add(_EQUAL, 1, 0, syscalls.AUDIT_ARCH[machine])
        self.add(_RETURN, 0, 0, _KILL_PROCESS)
        self.add(_LOAD, 0, 0, _NUMBER_AT)
        if machine == "x86_64":  # the x32 interface reaches the same calls under other numbers
            self.add(_ANY_BIT, 0, 1, _X32_BIT)
            self.add(_RETURN, 0, 0, _KILL_PROCESS)

    def add(self, operation: int, if_true: int, if_false: int, operand: int) -> None:
        self.code.append((operation, if_true, if_false, operand & 0xFFFFFFFF))

    def answer(self, number: int, result: int) -> None:
        """Always `result` for this call."""
        self.add(_EQUAL, 0, 1, number)
        self.add(_RETURN, 0, 0, result)

    def test(self, number: int, argument: int, tests: list[tuple[int, int, int]]) -> None:
        """For this call: the first (operation, operand, result) that holds for the argument, else EPERM.

        Only the lower half is looked at; every argument used here is a C int.
        """
        body: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)]
        for operation, operand, result in tests:
            body += [(operation, 0, 1, operand), (_RETURN, 0, 0, result)]
        body.append((_RETURN, 0, 0, _EPERM))
        self.add(_EQUAL, 0, len(body), number)
        for instruction in body:
            self.add(*instruction)

    def finish(self, numbers: list[int]) -> bytes:
        """The filter's bytes, with `numbers` refused and everything unknown answered by ENOSYS."""
        self.add(_GREATER_EQUAL, 0, 1, syscalls.FIRST_UNKNOWN)
        self.add(_RETURN, 0, 0, _ENOSYS)
        for position, number in enumerate(numbers):
            self.add(_EQUAL, len(numbers) - position, 0, number)
        self.add(_RETURN, 0, 0, _ALLOW)
        self.add(_RETURN, 0, 0, _EPERM)
        assert len(numbers) < 256, "a jump is one byte long"
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in self.code)


def build_filter(file_changes: bool, machine: str = os.uname().machine) -> bytes:
    """The filter for this machine; with `file_changes`, it also refuses to write, make or remove files."""
    rules = Filter(machine)
    calls = syscalls.conditional(machine)
    rules.answer(syscalls.CLONE3, _ENOSYS)  # its flags lie in memory, out of reach; glibc falls back to clone
    rules.test(calls["clone"], 0, [(_ANY_BIT, _CLONE_THREAD, _ALLOW)])
    rules.test(calls["kill"], 0, [(_EQUAL, _OWN_PID, _ALLOW)])
    rules.test(calls["tgkill"], 0, [(_EQUAL, _OWN_PID, _ALLOW)])
    pinned = [libc.PR_SET_PDEATHSIG, libc.PR_SET_DUMPABLE]
    rules.test(calls["prctl"], 0, [(_EQUAL, option, _EPERM) for option in pinned] + [(_GREATER_EQUAL, 0, _ALLOW)])
    # asyncio needs stream pairs; a datagram socket could send to any socket file of the machine.
    rules.test(calls["socketpair"], 1, [(_EQUAL, kind, _ALLOW) for kind in _stream_types()])
    if file_changes:
        rules.answer(syscalls.OPENAT2, _ENOSYS)
        for name, argument in (("open", 1), ("openat", 2)):
            if name in calls:
                rules.test(calls[name], argument, [(_ANY_BIT, _WRITING_FLAGS, _EPERM), (_GREATER_EQUAL, 0, _ALLOW)])
    return rules.finish(sorted(syscalls.denied(machine, file_changes).values()))


def _stream_types() -> list[int]:
    """SOCK_STREAM with any of the flags that socketpair(2) takes."""
    cloexec, nonblock = 0o2000000, 0o4000
    return [_SOCK_STREAM | extra for extra in (0, cloexec, nonblock, cloexec | nonblock)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def install(filter_bytes: bytes) -> None:
    """Put this process under the filter, for good. Needs no_new_privs."""
    patched = filter_bytes.replace(struct.pack("<I", _OWN_PID), struct.pack("<I", os.getpid()))
    code = ctypes.create_string_buffer(patched, len(patched))
    program = _Program(len(patched) // 8, ctypes.cast(code, ctypes.c_void_p))
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.addressof(program))
