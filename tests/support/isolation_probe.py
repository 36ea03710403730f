"""Runs inside a sandbox and prints what it finds there, as one JSON object: a name for each check, and what was seen.

Standard library alone, Linux on x86-64. Arguments of system calls are invalid even where the call is allowed, so that
a probe changes nothing. ``PARAMETERS`` is put before it: ``targets`` (name: [host, port]) and ``paths`` of the host.
"""

import ctypes
import glob
import json
import os
import re
import resource
import socket
import stat

PARAMETERS = globals().get("PARAMETERS") or {"targets": {}, "paths": []}
LIBC = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "setns": (308, -1, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "open_tree": (428, -1, 0, -1),
    "move_mount": (429, -1, 0, -1, 0, -1),
    "fsopen": (430, 0, -1),
    "mount_setattr": (442, -1, 0, -1, 0, 0),
    "bpf": (321, -1, 0, 0),
    "perf_event_open": (298, 0, -1, -1, -1, -1),
    "keyctl": (250, -1),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "userfaultfd": (323, -1),
    "io_uring_setup": (425, -1, 0),
    "io_uring_enter": (426, -1, 0, 0, 0, 0, 0),
    "io_uring_register": (427, -1, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, -1, 0, 0),
    "delete_module": (176, 0, 0),
    "kexec_load": (246, 0, -1, 0, 0),
    "open_by_handle_at": (304, -1, 0, 0),
    "name_to_handle_at": (303, -1, 0, 0, 0, -1),
    "swapon": (167, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "pidfd_getfd": (438, -1, -1, 0),
    "ptrace": (101, -1, 0, 0, 0),
    "process_vm_readv": (310, -1, 0, 0, 0, 0, -1),
    "acct": (163, -1),
    "quotactl": (179, -1, 0, 0, 0),
    "iopl": (172, 4),
    "settimeofday": (164, -1, 0),
    "sethostname": (170, 0, -1),
    "syslog": (103, -1, 0, -1),
}
SOCKETS = {
    "AF_ALG": (38, socket.SOCK_SEQPACKET, 0),
    "AF_VSOCK": (40, socket.SOCK_STREAM, 0),
    "AF_PACKET": (17, socket.SOCK_RAW, 0),
    "raw ICMP": (socket.AF_INET, socket.SOCK_RAW, 1),
    "netlink audit": (16, socket.SOCK_RAW, 9),
    "netlink netfilter": (16, socket.SOCK_RAW, 12),
    "AF_XDP": (44, socket.SOCK_RAW, 0),
    "AF_BLUETOOTH": (31, socket.SOCK_RAW, 0),
}
DOORS = (
    "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock",
    "/run/crio/crio.sock", "/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/port",
)  # fmt: skip
UNWRITABLE = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/proc/sys/vm/panic_on_oom",
    "/sys/kernel/uevent_helper", "/etc/passwd", "/etc/ld.so.preload",
)  # fmt: skip
OF_PID_1 = ("mem", "environ", "maps", "oom_score_adj", "auxv", "stack", "syscall")
SCRATCH = ("/tmp", "/dev/shm", "/home/sandbox", "/workspace", "/run/sandkasten")
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|^KG_|^AWS_|^DOCKER_|^SANDKASTEN_")
ALLOWED = "allowed"


def attempt(action):
    """Return why something is refused, or ``allowed``."""
    try:
        action()
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ALLOWED


def call(number, *arguments):
    if LIBC.syscall(number, *(ctypes.c_long(argument) for argument in arguments)) >= 0:
        return ALLOWED
    return os.strerror(ctypes.get_errno())


def new_user_namespace():
    """Return what ``unshare(CLONE_NEWUSER)`` says, tried in a child."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.write(writer, call(272, 0x10000000).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader, "rb") as answer:
        return answer.read().decode()


def writable(path):
    """Return whether a file can be opened for writing, or why not; a directory is looked through."""
    if not os.path.isdir(path):
        return attempt(lambda: os.close(os.open(path, os.O_WRONLY)))
    for folder, _, files in os.walk(path):
        for file in files:
            if attempt(lambda: os.close(os.open(os.path.join(folder, file), os.O_WRONLY))) == ALLOWED:
                return ALLOWED
    return "nothing in it"


def masked(path):
    try:
        with open(path, "rb") as file:
            return ALLOWED if file.read(1) else "empty"
    except OSError as error:
        return os.strerror(error.errno)


def cgroup_limit(*names):
    """Return the first of some cgroup files that is there; None when it has no limit."""
    for name in names:
        with open(name) if os.path.exists(name) else open(os.devnull) as file:
            text = file.read().split()
        if text:
            value = int(text[0]) if text[0].lstrip("-").isdigit() else None
            return value if value is not None and 0 < value < 2**60 else None
    return None


def connected(host, port):
    """Return whether a TCP connection comes about, or why not."""
    return attempt(lambda: socket.create_connection((host, port), 2).close())


def gateway_address():
    """Return the address of the default route, as the host's side of a bridge; empty without a network."""
    for line in open("/proc/net/route").read().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return socket.inet_ntoa(bytes.fromhex(fields[2])[::-1])
    return ""


def found():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    mounts = {line.split()[4]: line.split()[5].split(",") for line in open("/proc/self/mountinfo")}
    seen = {
        "uid": os.getuid(),
        "groups": sorted({os.getgid(), *os.getgroups()}),
        "NoNewPrivs": status["NoNewPrivs"].strip(),
        "Seccomp": status["Seccomp"].strip(),
        "unshare": new_user_namespace(),
        "block devices": [path for path in glob.glob("/dev/*") if stat.S_ISBLK(os.lstat(path).st_mode)],
        "set-uid files": [],
        "root": sorted(set(mounts["/"]) & {"ro", "rw"}),
        "kcore": masked("/proc/kcore"),
        "keys": masked("/proc/keys"),
        "cgroup": writable("/sys/fs/cgroup"),
        "release_agent": attempt(lambda: open(glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)[0], "w"))
        if glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)
        else "absent",
        "first process": open("/proc/1/cmdline").read().split("\0")[-2:-1],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "host name": [socket.gethostname(), *(open("/etc/hostname").read().split())],
        "secrets": [name for name in os.environ if SECRET.search(name)],
        "home": [n for n in (".ssh", ".aws", ".docker", ".kube", ".netrc") if os.path.exists(f"/home/sandbox/{n}")],
        "memory": cgroup_limit("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"),
        "pids": cgroup_limit("/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"),
        "cpu": cgroup_limit("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "pid 1 descriptors": attempt(lambda: os.listdir("/proc/1/fd")),
        "pid 1 root": attempt(lambda: os.listdir("/proc/1/root")),
        "gateway's door": sorted(os.listdir("/run/gateway")) if os.path.isdir("/run/gateway") else None,
        "mounts of the host": [p for p in PARAMETERS["paths"] if os.path.exists(p)],
    }
    swap = "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"
    seen["swap"] = (cgroup_limit(swap) or 0) - (seen["memory"] or 0) if os.path.exists(swap) else 0
    seen.update({name: status[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")})
    seen.update({f"call {name}": call(*arguments) for name, arguments in CALLS.items()})
    seen.update({f"socket {n}": attempt(lambda: socket.socket(*kind).close()) for n, kind in SOCKETS.items()})
    seen.update({f"door {path}": os.path.exists(path) for path in DOORS})
    seen.update({f"write {path}": writable(path) for path in UNWRITABLE})
    seen.update(
        {f"pid 1 {name}": attempt(lambda: os.close(os.open(f"/proc/1/{name}", os.O_RDWR))) for name in OF_PID_1}
    )
    seen.update({f"scratch {path}": sorted(set(mounts.get(path, [])) & {"nosuid", "nodev"}) for path in SCRATCH})
    for folder, _, files in os.walk("/"):
        if folder.startswith(("/proc", "/sys")):
            continue
        for file in (os.path.join(folder, name) for name in files):
            if attempt(lambda: os.lstat(file)) == ALLOWED and os.lstat(file).st_mode & 0o6000:
                seen["set-uid files"].append(file)
    near = gateway_address()
    targets = {n: (near if host == "gateway" else host, port) for n, (host, port) in PARAMETERS["targets"].items()}
    seen.update({f"reach {name}": connected(*target) if target[0] else "no route" for name, target in targets.items()})
    return seen


print(json.dumps(found()))
