"""Linux namespaces, entered once by a server for all its children, without root.

User, network, mount, process, IPC and host-name namespaces of its own: no network but an unconfigured
loopback, no process of the machine in sight, every file system read-only, and memory file systems over
the places where people keep things. Source: user_namespaces(7), mount_setattr(2).
"""

import ctypes
import os
import signal
import struct

from common.sandbox import libc
from common.sandbox.landlock import python_folders
from common.sandbox.syscalls import MOUNT_SETATTR

SCRATCH = "/tmp/scratch"  # inside; the machine's own /tmp is out of sight
_NEW_USER, _NEW_NETWORK, _NEW_MOUNT = 0x10000000, 0x40000000, 0x20000
_NEW_PID, _NEW_IPC, _NEW_HOSTNAME = 0x20000000, 0x08000000, 0x04000000
_MS_BIND, _MS_RECURSIVE, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY = -100, 0x8000, 1
_COVERED = ("/tmp", "/var/tmp", "/dev/shm")
_COVER = "size=1m,mode=0755"  # room for mount points; programs may write nowhere but to their own scratch folder


def enter(home: str, scratch: str) -> None:
    """Move on inside new namespaces, as their first process. The old process waits for it, outside.

    Raises: OSError with the step that this machine refuses (a container, AppArmor, a sysctl).
    """
    user, group = os.getuid(), os.getgid()
    libc.unshare(_NEW_USER | _NEW_NETWORK | _NEW_MOUNT | _NEW_PID | _NEW_IPC | _NEW_HOSTNAME)
    _map_ids(user, group)
    libc.mount("none", "/", None, _MS_RECURSIVE | _MS_PRIVATE)
    _make_everything_read_only()
    _cover_places(home)
    os.makedirs(scratch, mode=0o700, exist_ok=True)
    _become_first_process()
    libc.mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def _map_ids(user: int, group: int) -> None:
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(line)
        except OSError as error:
            raise OSError(error.errno, f"{name} {os.strerror(error.errno or 0)}") from error


def _make_everything_read_only() -> None:
    attributes = struct.pack("QQQQ", _ATTR_READ_ONLY, 0, 0, 0)
    arguments = (ctypes.c_int(_AT_FDCWD), b"/", ctypes.c_uint(_AT_RECURSIVE), attributes, ctypes.c_size_t(32))
    libc.syscall(MOUNT_SETATTR, "mount_setattr", *arguments)


def _cover_places(home: str) -> None:
    """Memory file systems over scratch places and the home, with Python's own folders bound back.

    A Python under the home (pyenv, conda, uv) or under /tmp would otherwise lose its library.
    """
    places = {place for place in (*_COVERED, os.path.realpath(home)) if place != "/" and os.path.isdir(place)}
    covered = [place for place in places if not any(place.startswith(f"{other}/") for other in places)]
    wanted = [path for path in python_folders(home) if any(path.startswith(f"{place}/") for place in covered)]
    handles = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in wanted}
    for place in covered:
        libc.mount_memory(place, _COVER)
    for path, handle in handles.items():
        os.makedirs(path, exist_ok=True)
        libc.mount(f"/proc/self/fd/{handle}", path, None, _MS_BIND | _MS_RECURSIVE)
        os.close(handle)


def _become_first_process() -> None:
    """Fork into the new process namespace; the parent stays outside and only passes on the end."""
    pid = os.fork()
    if pid:
        os.closerange(0, 1024)  # its copies of the channels would hide that the other end closed
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
