"""Mounts workspaces into sandboxes, counts and removes their files: runs as a root process, or in a container.

It has one thread, as ``setns`` requires, and imports the standard library alone. The first argument is the directory
of the workspaces, each ``NAME/data``. The second is the path of a SOCK_SEQPACKET socket to connect to; without it,
stdin is that socket. Each packet is one request: a JSON object with ``id``, ``do`` and the fields that it needs,
perhaps with a descriptor. The answer is a packet with the same ``id``:

=========== ===================== =============================================================================
``do``      needs                 what happens
=========== ===================== =============================================================================
``attach``  ``name uid``, a pidfd the workspace is mounted over ``/workspace`` in the namespace of that process
``own``     ``name uid``          the workspace's directory belongs to the user
``format``  ``name uid bytes``    a file system of that size is made for the workspace, in a file beside ``data``
``plain``   ``name``              answered when the workspace is a plain directory, and nothing is mounted there
``remove``  ``name``              a directory is removed with all that is in it
``size``    ``name``              ``bytes`` on the disk, and whether all were counted (``complete``)
=========== ===================== =============================================================================

A workspace with such a file, ``disk.img``, is mounted from it through a loop device, which the system frees after its
last user. The mount is in a mount namespace of this process, so that the host never sees it.

A failure is answered with ``error`` and ``errno``. The files come from a sandbox, so they are hostile: no link is
followed, no removal crosses a mount, and directories may have any depth.
"""

import ctypes
import errno
import fcntl
import json
import os
import secrets
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

OPEN_TREE, MOVE_MOUNT, OPENAT2, MOUNT_SETATTR = 428, 429, 437, 442
OPEN_TREE_CLONE, AT_EMPTY_PATH = 1, 0x1000
MOVE_FROM_FD, MOVE_TO_FD = 0x4, 0x40
NOSUID_NODEV, PRIVATE = 0x2 | 0x4, 1 << 18
NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH = 1, 2, 4, 8
CLONE_NEWNS = 0x20000
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
# A path of 3000 bytes and one more name of 255 stay below PATH_MAX (4096).
MAX_ENTRIES, MAX_SECONDS, MAX_PATH_BYTES = 1_000_000, 5.0, 3000
IMAGE, UNMADE = "disk.img", "disk.new"
# the file is new, so its zeros are; what is removed inside gives its room on the disk back
MKFS = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1")
MOUNT = ("mount", "-n", "-i", "-t", "ext4", "-o", "loop,nosuid,nodev,discard,noinit_itable,errors=remount-ro")

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *args: int | bytes) -> int:
    words = [ctypes.create_string_buffer(a, len(a) + 1) if isinstance(a, bytes) else ctypes.c_long(a) for a in args]
    return checked(libc.syscall(ctypes.c_long(number), *words))


def beneath(directory: int, path: str, flags: int = DIRECTORY, resolve: int = 0) -> int:
    """Return a descriptor of a path below a directory; no link is followed."""
    how = struct.pack("QQQ", flags, 0, resolve | NO_MAGICLINKS | NO_SYMLINKS | BENEATH)
    return syscall(OPENAT2, directory, os.fsencode(path), how, len(how))


def own(directory: int, uid: int) -> None:
    if os.fstat(directory).st_uid != uid:
        os.fchown(directory, uid, uid)


def run(*command: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # with SIG_IGN the exit code would be lost
    try:
        ended = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise OSError(errno.ENOSYS, f"there is no {command[0]} on this host") from None
    if ended.returncode:
        raise OSError(errno.EIO, f"{command[0]}: {ended.stderr.decode(errors='replace').strip()[:300]}")


def mount(image: str, target: str) -> None:
    """Mount an image in a namespace of this process; ``mount`` reuses the loop device that an image has already."""
    checked(libc.unshare(CLONE_NEWNS))
    # Else the mount below would also appear in the namespace of the host.
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
    with open(image, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # without the lock, two mounts at once would take two loop devices
        run(*MOUNT, image, target)


def format_image(directory: str, uid: int, size: int) -> None:
    """Create the image in a workspace's directory: an empty file system with a root that the user owns."""
    unmade = f"{directory}/{UNMADE}"
    with open(unmade, "wb") as file:
        file.truncate(size)
    run(*MKFS, unmade)
    mount(unmade, f"{directory}/data")
    # An owner finds an empty workspace.
    os.rmdir(f"{directory}/data/lost+found")  # noqa: PTH106
    os.chown(f"{directory}/data", uid, uid)
    # Last: an interrupted format leaves no file that counts as an image.
    os.rename(unmade, f"{directory}/{IMAGE}")  # noqa: PTH104


def attach(directory: int, pidfd: int) -> None:
    """Mount a directory in the namespace of a process; this process stays in that namespace and must exit."""
    expected = os.fstat(directory)
    # Before `setns`: a mount is cloned only from the mount namespace of the caller.
    tree = syscall(OPEN_TREE, directory, b"", OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH)
    attributes = struct.pack("QQQQ", NOSUID_NODEV, 0, PRIVATE, 0)
    # On the clone, before it is moved: the sandbox never sees the mount without nosuid and nodev.
    syscall(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes))
    checked(libc.setns(pidfd, CLONE_NEWNS))
    # Where the root is writable the sandbox may have put a link there.
    target = os.open("/workspace", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    syscall(MOVE_MOUNT, tree, b"", target, b"", MOVE_FROM_FD | MOVE_TO_FD)
    found = os.stat("/workspace")  # noqa: PTH116  of a piece with the calls around it
    if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
        raise OSError(errno.EIO, "the mount is not where it was put")


def remove(parent: int, name: str) -> None:
    """Remove a directory of any depth: subdirectories are moved to the top until nothing is left."""
    top = beneath(parent, name, resolve=NO_XDEV)
    # Random, so that the sandbox cannot have taken a name already.
    prefix, number = f".{secrets.token_hex(8)}-", 0
    while entries := os.listdir(top):  # noqa: PTH208  by descriptor
        before = number
        removed = False
        for entry in entries:
            if not stat.S_ISDIR(os.stat(entry, dir_fd=top, follow_symlinks=False).st_mode):
                os.unlink(entry, dir_fd=top)
                removed = True
                continue
            inner = beneath(top, entry, resolve=NO_XDEV)
            for child in os.listdir(inner):  # noqa: PTH208
                if stat.S_ISDIR(os.stat(child, dir_fd=inner, follow_symlinks=False).st_mode):
                    os.rename(child, f"{prefix}{number}", src_dir_fd=inner, dst_dir_fd=top)
                    number += 1
                else:
                    os.unlink(child, dir_fd=inner)
            os.close(inner)
            os.rmdir(entry, dir_fd=top)
            removed = True
        if not removed and number == before:
            raise OSError(errno.EBUSY, "it cannot be emptied")
    os.close(top)
    os.rmdir(name, dir_fd=parent)


def size(top: int) -> dict[str, int | bool]:
    """Return the size of a directory on the disk, at any depth; a file with several names counts once."""
    deadline, left = time.monotonic() + MAX_SECONDS, MAX_ENTRIES
    total, linked, complete = 0, set[int](), True
    # each by the descriptor of a directory above it, not by its whole path: a million of those would fill the memory
    ahead = [(top, ".", ".")]
    while ahead:
        root, folder, name = ahead.pop()
        if not name:  # everything below it is counted
            os.close(root)
            continue
        path = f"{folder}/{name}"
        try:
            directory = beneath(root, path)
        except FileNotFoundError:  # the sandbox removes files during the count
            continue
        except OSError:
            complete = False
            continue
        if deep := len(os.fsencode(path)) > MAX_PATH_BYTES:  # paths below it are relative to it from here on
            ahead.append((directory, "", ""))
            root, path = directory, "."
        with os.scandir(directory) as entries:
            for entry in entries:
                left -= 1
                if left < 0 or time.monotonic() > deadline:
                    return {"bytes": total, "complete": False}
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                    if found.st_ino in linked:
                        continue
                    linked.add(found.st_ino)
                total += found.st_blocks * 512  # the unit of st_blocks, whatever the file system's block size
                if stat.S_ISDIR(found.st_mode):
                    ahead.append((root, path, entry.name))
        if not deep:
            os.close(directory)
    return {"bytes": total, "complete": complete}


def answer(root: int, request: dict[str, str | int], fds: list[int]) -> dict[str, int | bool]:
    """Carry out one request and return its answer. Raises `OSError`."""
    do, name = request["do"], str(request["name"])
    if "/" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "this is no name")
    if do == "remove":
        remove(root, name)
        return {}
    path = f"{sys.argv[1]}/{name}"
    if do == "format":
        format_image(path, int(request["uid"]), int(request["bytes"]))
        return {}
    image = os.path.exists(f"{path}/{IMAGE}")  # noqa: PTH110
    if image and do == "size":
        found = os.stat(f"{path}/{IMAGE}")  # noqa: PTH116
        # The file is sparse: only written blocks take up the disk.
        return {"bytes": min(found.st_blocks * 512, found.st_size), "complete": True}
    if image and do == "attach":
        mount(f"{path}/{IMAGE}", f"{path}/data")
        root = os.open(sys.argv[1], DIRECTORY)  # opened again: the image is mounted in the new namespace alone
    directory = beneath(root, f"{name}/data", resolve=NO_XDEV if do == "plain" else 0)
    if do in ("attach", "own"):
        own(directory, int(request["uid"]))
    if do == "attach":
        attach(directory, fds[0])
    return size(directory) if do == "size" else {}


def main() -> None:
    root = os.open(sys.argv[1], DIRECTORY)
    if len(sys.argv) > 2:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(sys.argv[2])
    else:
        link = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Linux reaps the children
    while True:
        data, fds, _, _ = socket.recv_fds(link, 65536, 1)
        if not data:
            return
        # A child for each request: `attach` moves its process into the sandbox's mount namespace for good.
        if os.fork() == 0:
            request = json.loads(data)
            try:
                reply = {"id": request["id"], **answer(root, request, fds)}
            except OSError as error:
                reply = {"id": request["id"], "error": error.strerror or str(error), "errno": error.errno or 0}
            link.send(json.dumps(reply).encode())
            os._exit(0)
        for fd in fds:
            os.close(fd)


main()
