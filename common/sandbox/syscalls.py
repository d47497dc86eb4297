"""System call numbers of x86_64 and aarch64, by what the sandbox does with them."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# From 424 on every architecture uses the same numbers. Newer calls are not allowed.
FIRST_UNKNOWN = 471

_SAME_EVERYWHERE = dict(
    pidfd_send_signal=424, io_uring_setup=425, io_uring_enter=426, io_uring_register=427, open_tree=428,
    move_mount=429, fsopen=430, fsconfig=431, fsmount=432, fspick=433, pidfd_open=434, pidfd_getfd=438,
    process_madvise=440, mount_setattr=442, quotactl_fd=443, memfd_secret=447, process_mrelease=448,
    fchmodat2=452, setxattrat=463, removexattrat=466, open_tree_attr=467, file_setattr=469,
)  # fmt: skip

# Never allowed: processes, other processes, network, passing descriptors on, kernel, ownership and times of files
# (which Landlock does not cover), IPC objects of the whole machine, raising one's own limits.
_DENIED = {
    "x86_64": dict(
        socket=41, connect=42, accept=43, bind=49, listen=50, accept4=288,
        sendmsg=46, recvmsg=47, sendmmsg=307, recvmmsg=299,
        execve=59, execveat=322, fork=57, vfork=58, setsid=112, setpgid=109,
        ptrace=101, tkill=200, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297, kcmp=312,
        process_vm_readv=310, process_vm_writev=311, setpriority=141, ioprio_set=251,
        migrate_pages=256, move_pages=279,
        sched_setaffinity=203, sched_setscheduler=144, sched_setparam=142, sched_setattr=314,
        prlimit64=302, setrlimit=160, mlock=149, mlockall=151, mlock2=325, personality=135,
        unshare=272, setns=308, mount=165, umount2=166, pivot_root=155, chroot=161, swapon=167, swapoff=168,
        bpf=321, perf_event_open=298, userfaultfd=323, keyctl=250, add_key=248, request_key=249,
        open_by_handle_at=304, init_module=175, finit_module=313, delete_module=176, kexec_load=246,
        kexec_file_load=320, reboot=169, acct=163, syslog=103, quotactl=179, fanotify_init=300,
        iopl=172, ioperm=173, settimeofday=164, clock_settime=227, adjtimex=159, clock_adjtime=305,
        sethostname=170, setdomainname=171, memfd_create=319,
        shmget=29, shmat=30, shmctl=31, semget=64, semop=65, semctl=66, semtimedop=220,
        msgget=68, msgsnd=69, msgrcv=70, msgctl=71, mq_open=240, mq_unlink=241, mq_notify=244,
        chmod=90, fchmod=91, fchmodat=268, chown=92, fchown=93, lchown=94, fchownat=260,
        utime=132, utimes=235, futimesat=261, utimensat=280, truncate=76,
        setxattr=188, lsetxattr=189, fsetxattr=190, removexattr=197, lremovexattr=198, fremovexattr=199,
    ),
    "aarch64": dict(
        socket=198, connect=203, accept=202, bind=200, listen=201, accept4=242,
        sendmsg=211, recvmsg=212, sendmmsg=269, recvmmsg=243,
        execve=221, execveat=281, setsid=157, setpgid=154,
        ptrace=117, tkill=130, rt_sigqueueinfo=138, rt_tgsigqueueinfo=240, kcmp=272,
        process_vm_readv=270, process_vm_writev=271, setpriority=140, ioprio_set=30,
        migrate_pages=238, move_pages=239,
        sched_setaffinity=122, sched_setscheduler=119, sched_setparam=118, sched_setattr=274,
        prlimit64=261, setrlimit=164, mlock=228, mlockall=230, mlock2=284, personality=92,
        unshare=97, setns=268, mount=40, umount2=39, pivot_root=41, chroot=51, swapon=224, swapoff=225,
        bpf=280, perf_event_open=241, userfaultfd=282, keyctl=219, add_key=217, request_key=218,
        open_by_handle_at=265, init_module=105, finit_module=273, delete_module=106, kexec_load=104,
        kexec_file_load=294, reboot=142, acct=89, syslog=116, quotactl=60, fanotify_init=262,
        settimeofday=170, clock_settime=112, adjtimex=171, clock_adjtime=266,
        sethostname=161, setdomainname=162, memfd_create=279,
        shmget=194, shmat=196, shmctl=195, semget=190, semop=193, semctl=191, semtimedop=192,
        msgget=186, msgsnd=189, msgrcv=188, msgctl=187, mq_open=180, mq_unlink=181, mq_notify=184,
        fchmod=52, fchmodat=53, fchown=55, fchownat=54, utimensat=88, truncate=45,
        setxattr=5, lsetxattr=6, fsetxattr=7, removexattr=14, lremovexattr=15, fremovexattr=16,
    ),
}  # fmt: skip

# Denied as well where Landlock is missing: whatever makes, removes or renames a file.
_FILE_CHANGES = {
    "x86_64": dict(
        creat=85, unlink=87, unlinkat=263, rename=82, renameat=264, renameat2=316, mkdir=83, mkdirat=258, rmdir=84,
        link=86, linkat=265, symlink=88, symlinkat=266, mknod=133, mknodat=259, ftruncate=77, fallocate=285,
    ),
    "aarch64": dict(
        unlinkat=35, renameat=38, renameat2=276, mkdirat=34, linkat=37, symlinkat=36, mknodat=33, ftruncate=46,
        fallocate=47,
    ),
}  # fmt: skip

# Allowed with some arguments only; see seccomp.py.
_CONDITIONAL = {
    "x86_64": dict(clone=56, kill=62, tgkill=234, prctl=157, open=2, openat=257, fallocate=285)
    | dict(fcntl=72, ioctl=16, socketpair=53, sendto=44, close_range=436),
    "aarch64": dict(clone=220, kill=129, tgkill=131, prctl=167, openat=56, fallocate=47)
    | dict(fcntl=25, ioctl=29, socketpair=199, sendto=206, close_range=436),
}
CLONE3, OPENAT2 = 435, 437
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF, MOUNT_SETATTR = 444, 445, 446, 442


def is_known(machine: str) -> bool:
    """Whether this file has the numbers of `machine` (os.uname().machine)."""
    return machine in AUDIT_ARCH


def denied(machine: str, file_changes: bool) -> dict[str, int]:
    """Calls that always fail; with `file_changes`, those that change files too."""
    return {**_SAME_EVERYWHERE, **_DENIED[machine], **(_FILE_CHANGES[machine] if file_changes else {})}


def conditional(machine: str) -> dict[str, int]:
    """Calls whose arguments decide."""
    return _CONDITIONAL[machine]
