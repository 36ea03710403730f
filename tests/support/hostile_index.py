"""A package index with wheels that run wherever they can, and notice when that is as root."""

from __future__ import annotations

import contextlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sandkasten_kernels.images.pip import PipConfig

NOT_AS_ROOT = "import os; os.getuid() or os._exit(7); os.environ.get('HOME') == '/tmp' or os._exit(8)"
"""For a ``.pth`` file: it is run whenever Python starts, and lets none start as root."""
AS_ROOT = '#!/bin/sh\n[ $(/usr/bin/id -u) != 0 ] || touch /ran-as-root\nexec /usr/bin/${0##*/} "$@"\n'
"""A command in the place of another, as a wheel may bring it into the venv."""


def write_wheel(folder: Path, name: str) -> None:
    """Write a wheel that runs wherever it can."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{name}.pth": NOT_AS_ROOT,
        **{f"{name}-1.0.data/scripts/{command}": AS_ROOT for command in ("find", "rm", "chmod", "chown", "id")},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@contextlib.contextmanager
def hostile_index(folder: Path) -> Iterator[PipConfig]:
    """Serve the wheels ``hostile1`` and ``hostile2`` on loopback out of `folder`; yield pip's settings for it."""
    for name in ("hostile1", "hostile2"):
        (folder / name).mkdir(parents=True)
        write_wheel(folder / name, name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield PipConfig({"index-url": (f"http://127.0.0.1:{server.server_port}",)})
        finally:
            server.shutdown()
            thread.join()
