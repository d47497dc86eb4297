"""Confine file access to a few folders with Landlock (Linux 5.13 on), without root.

Readable: what Python and its libraries need. Writable: the scratch folder. Everything else is refused,
and from version 4 TCP, from version 6 signals and abstract sockets out of the sandbox: seccomp refuses these too, at
every version, as it refuses to truncate at opening for reading, which Landlock overlooks before version 3.
Source: landlock(7) and Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
import stat
import struct
import sys
import sysconfig

from common.sandbox import libc
from common.sandbox.syscalls import LANDLOCK_ADD_RULE, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYMLINK = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_RIGHTS_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_NOT_IN_SCRATCH = _EXECUTE | _MAKE_CHAR | _MAKE_SOCKET | _MAKE_FIFO | _MAKE_BLOCK | _MAKE_SYMLINK | _IOCTL_DEVICE
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # 5 on: 16 bits
_GET_VERSION = ctypes.c_uint(1)
_RULE_PATH_BENEATH = 1

_SYSTEM_READABLE = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/zero", "/dev/urandom", "/dev/random")


def version() -> int:
    """The kernel's Landlock version. Raises: OSError where it has none or it is switched off."""
    return libc.syscall(LANDLOCK_CREATE_RULESET, "landlock_create_ruleset", None, ctypes.c_size_t(0), _GET_VERSION)


def python_folders(home: str) -> list[str]:
    """The folders that hold this Python: exactly its prefixes, never a folder that holds the user's home.

    A prefix of / or /usr is left out, because the system's library folders are granted anyway.
    """
    real_home = os.path.realpath(home)
    prefixes = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix)}
    if any(os.path.commonpath([prefix, real_home]) == prefix for prefix in prefixes):
        names = ("stdlib", "platstdlib", "purelib", "platlib")
        prefixes |= {os.path.realpath(sysconfig.get_path(name)) for name in names}
    return sorted(
        prefix for prefix in prefixes if prefix != "/usr" and os.path.commonpath([prefix, real_home]) != prefix
    )


def build_ruleset(home: str, scratch: str) -> int:
    """A descriptor of the rules, made once and inherited by every child."""
    abi = version()
    rights = _FILE_RIGHTS.get(abi, (1 << 16) - 1)
    network, scope = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)  # bind and connect; sockets and signals
    attributes = struct.pack("QQQ", rights, network, scope)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = libc.syscall(
        LANDLOCK_CREATE_RULESET, "landlock_create_ruleset", attributes, ctypes.c_size_t(size), ctypes.c_uint(0)
    )
    read = _READ_FILE | _READ_DIR
    for path in (*python_folders(home), *_SYSTEM_READABLE, *_SYSTEM_FILES):
        _allow(ruleset, path, read & rights)
    _allow(ruleset, os.devnull, (read | _WRITE_FILE) & rights)
    _allow(ruleset, scratch, rights & ~_NOT_IN_SCRATCH)
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a system without this folder needs no rule for it
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _RIGHTS_OF_A_FILE
        rule = struct.pack("=Qi", rights, parent)
        arguments = (ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
        libc.syscall(LANDLOCK_ADD_RULE, f"landlock_add_rule {path}", *arguments)
    finally:
        os.close(parent)


def restrict(ruleset: int) -> None:
    """Put this process under the rules, for good. Needs no_new_privs."""
    libc.syscall(LANDLOCK_RESTRICT_SELF, "landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0))
