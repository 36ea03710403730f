"""Give a process a file system and process ids of its own, and run it there: ``local_root.py HOME DOOR UID COMMAND...``

The launcher of `tests.support.local_engine`. In a mount namespace of its own it builds a root of this host's
directories, with ``/workspace``, ``/tmp``, ``/run`` and ``/home`` of the sandbox's own and the Python of the tests at
``/opt/venv``, where the images have theirs. The command is process 1 of a new PID namespace: all ends with it. This is
no protection: the command sees the host's files and network.
"""

from __future__ import annotations

import ctypes
import os
import sys

OWN = ("tmp", "run", "home", "opt", "workspace")
"""Directories of the sandbox's own in ``/``."""
LEFT_OUT = ("proc", "mnt", "media", "lost+found", "old_root")
CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV = 0x1000, 0x4000, 1 << 18, 2, 4
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source: str, target: str, kind: str = "none", flags: int = 0, options: str = "") -> None:
    checked(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()))


def bind(source: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    mount(source, target, flags=MS_BIND | MS_REC)


def build(root: str, door: str, uid: int, prefix: str) -> None:
    """Make the sandbox's root in an empty directory; the caller has a mount namespace of its own."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", options="mode=0755,size=1m")
    for name in os.listdir("/"):
        source, target = f"/{name}", f"{root}/{name}"
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source) and name not in (*OWN, *LEFT_OUT):
            bind(source, target)
    for name in OWN:
        os.mkdir(f"{root}/{name}")
    for name in ("tmp", "workspace", "home"):
        options = f"size=128m,mode={'1777' if name == 'tmp' else '0755'},uid={uid},gid={uid}"
        mount("tmpfs", f"{root}/{name}", "tmpfs", MS_NOSUID | MS_NODEV, options)
    for needed in {prefix, sys.base_prefix, os.getcwd()}:
        if needed.split("/")[1] in OWN:
            bind(needed, root + needed)
    os.makedirs(f"{root}/opt/sandkasten")
    os.symlink(prefix, f"{root}/opt/venv")
    os.symlink(f"{prefix}/bin", f"{root}/opt/sandkasten/bin")
    os.mkdir(f"{root}/run/sandkasten")
    mount("tmpfs", f"{root}/run/sandkasten", "tmpfs", MS_NOSUID | MS_NODEV, f"size=1m,nr_inodes=64,mode=0700,uid={uid}")
    bind(door, f"{root}/run/gateway")
    os.mkdir(f"{root}/proc")
    os.mkdir(f"{root}/.before")


def enter(root: str) -> None:
    """Make ``root`` the root of this process, and let go of the host's."""
    checked(libc.syscall(PIVOT_ROOT[os.uname().machine], root.encode(), f"{root}/.before".encode()))
    mount("proc", "/proc", "proc")
    checked(libc.umount2(b"/.before", MNT_DETACH))
    os.rmdir("/.before")
    os.chdir("/workspace")


def main() -> None:
    home, door, uid, *command = sys.argv[1:]
    checked(libc.unshare(CLONE_NEWNS | CLONE_NEWPID))
    guest = os.fork()
    if guest:
        status = os.waitstatus_to_exitcode(os.waitpid(guest, 0)[1])
        os._exit(status if status >= 0 else 128 - status)
    build(f"{home}/root", door, int(uid), os.path.dirname(os.path.dirname(command[0])))
    enter(f"{home}/root")
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    os.execv(command[0], command)


main()
