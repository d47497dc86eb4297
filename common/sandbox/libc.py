"""System calls that Python's os module lacks, by ctypes. A call that fails is an OSError that names it."""

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_SET_CHILD_SUBREAPER = 36
_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2
_CAPABILITY_VERSION_3 = 0x20080522

_LIBC = ctypes.CDLL(None, use_errno=True)
if hasattr(_LIBC, "prctl"):  # Linux
    _LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_NO_CAPABILITIES = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()


def _checked(result: int, call: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int, pointer: int = 0) -> None:
    """prctl(2) with its unused arguments zero, as seccomp and no_new_privs demand."""
    _checked(_LIBC.prctl(option, value, pointer, 0, 0), f"prctl({option})")


def syscall(number: int, name: str, *arguments: object) -> int:
    """A raw system call; `arguments` are ctypes values, bytes buffers or None."""
    _LIBC.syscall.restype = ctypes.c_long
    return _checked(_LIBC.syscall(ctypes.c_long(number), *arguments), name)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names for new ones."""
    _checked(_LIBC.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2), with text for bytes."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _LIBC.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {kind or ''} on {target}")


def mount_memory(target: str, options: str) -> None:
    """A memory file system on `target`, without set-user-id programs and devices."""
    mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def unmount(target: str) -> None:
    """umount2(2), lazily: what is still open goes when it is closed."""
    _checked(_LIBC.umount2(os.fsencode(target), _MNT_DETACH), f"umount2 of {target}")


def drop_capabilities() -> None:
    """Give up every capability, so that root inside the sandbox is an ordinary user too."""
    _checked(_LIBC.capset(*_NO_CAPABILITIES), "capset")
