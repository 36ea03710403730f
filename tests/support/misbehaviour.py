"""What hostile or careless code does in a sandbox: for the tests, and for the bench that watches the neighbours."""

from __future__ import annotations

from tests.support.kernel_client import Api

__all__ = ["CELLS", "COMMANDS", "neighbour_is_fine"]

CELLS = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: break",
    "twice the memory": "x = bytearray(1 << 30)",
    "full /tmp": "open('/tmp/full', 'wb').write(bytes(1 << 30))",
    "full workspace": "open('/workspace/full', 'wb').write(bytes(1 << 30))",
    "a million lines": "for i in range(1_000_000): print(i)",
    "100 MB on stdout": "print('x' * 100_000_000)",
    "a display of 20 MB": "from IPython.display import HTML, display; display(HTML('x' * 20_000_000))",
    "kill -9 1": "import os; os.kill(1, 9)",
    "kill all": "import os; os.kill(-1, 9)",
    "os._exit(1)": "import os; os._exit(1)",
    "ignores SIGINT": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "closes its sockets": "import os; os.closerange(3, 1000)",
    "a thousand zombies": "import os\nfor i in range(1000):\n    if os.fork() == 0: os._exit(0)",
    "symlinks for sockets": (
        "import glob, os\nfor path in glob.glob('/run/sandkasten/*'):\n"
        "    os.rename(path, path + '-away'); os.symlink('/var/run/docker.sock', path)"
    ),
    "forged and half messages": (
        "import os, threading, zmq\nthread = get_ipython().kernel.iopub_thread\n"
        "def attack():\n    for n in range(20_000): thread.socket.send_multipart([os.urandom(64)] * (n % 9 + 1))\n"
        "    thread.socket.send(b'half', zmq.SNDMORE)\n"
        "thread.schedule(attack)"
    ),
    "inotify and pipes": (
        "import ctypes, fcntl, os\nlibc, held = ctypes.CDLL(None), []\n"
        "while libc.inotify_init() >= 0: pass\n"
        "try:\n    while True:\n        held.append(os.pipe())\n        fcntl.fcntl(held[-1][1], 1031, 1 << 20)\n"
        "except OSError: pass"
    ),
}
"""Cells, by name."""

COMMANDS = {
    "fork bomb": "f() { f | f & }; f",
    "twice the memory": "/opt/sandkasten/bin/python -c 'x = bytearray(1 << 30)'",
    "full /tmp": "head -c 1G /dev/zero > /tmp/full",
    "full workspace": "head -c 1G /dev/zero > /workspace/full",
    "a million lines": "seq 1000000",
    "100 MB on stdout": "head -c 100000000 /dev/zero | tr '\\0' x",
    "kill -9 1": "kill -9 1",
    "kill all": "kill -9 -1",
    "exit": "exit 1",
    "ignores SIGINT": "trap '' INT; while :; do :; done",
    "closes its descriptors": 'for fd in /proc/self/fd/*; do eval "exec ${fd##*/}>&-"; done',
    "symlinks for sockets": "cd /run/sandkasten; for s in *; do mv $s $s-away; ln -s /var/run/docker.sock $s; done",
    "stops itself": "kill -STOP $$",
}
"""Commands, by name."""


async def neighbour_is_fine(api: Api) -> None:
    """Assert that another kernel works."""
    socket = await api.connect(await api.create())
    assert (await socket.execute("print('fine')")).stream() == "fine\n"
