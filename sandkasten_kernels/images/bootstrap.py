"""A base image from the packages of the distribution, for hosts that reach no container registry."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageBuildError

__all__ = [
    "Source",
    "archive_sources",
    "base_archive",
    "bootstrap_tag",
    "codename",
    "index_targets",
]

REPOSITORY = "sandkasten-base"
PACKAGES = "apt,python3,python3-venv,ca-certificates"
SCRATCH = "/var/tmp"
ROOM = 2 << 30

_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")

Report = Callable[[str], None]


def codename(os_release: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return this host's distribution and release, such as `("debian", "bookworm")`.

    A derivative counts as the Ubuntu or Debian that it names. Raises `ImageBuildError` elsewhere.
    """
    release = _os_release() if os_release is None else os_release
    if name := release.get("UBUNTU_CODENAME"):
        return "ubuntu", name
    name = release.get("DEBIAN_CODENAME") or release.get("VERSION_CODENAME", "")
    if name and "debian" in [release.get("ID", ""), *release.get("ID_LIKE", "").split()]:
        return "debian", name
    raise ImageBuildError(
        "no container registry can be reached, and a base image can be made from packages on Debian and "
        "Ubuntu only: load an image with Python 3.11 or newer (docker load) and name it with --base"
    )


def bootstrap_tag() -> str:
    """Return the tag of the base image that this host makes from packages."""
    return f"{REPOSITORY}:{codename()[1]}"


@contextmanager
def base_archive(report: Report) -> Iterator[Path]:
    """Make a minimal root file system of the host's own release, with Python, and yield its archive (tar).

    Takes about 40 s and 250 MB in /var/tmp; the archive and all scratch files are removed at the end of the context.
    Raises `ImageBuildError` with what to install or the last lines of the tool.
    """
    distribution, release = codename()
    _check_room()
    tool = _tool(report)
    components = ("main", "universe") if distribution == "ubuntu" else ("main",)
    sources = archive_sources(index_targets(), release, components)
    with tempfile.TemporaryDirectory(prefix="sandkasten-", dir=SCRATCH, ignore_cleanup_errors=True) as name:
        work = Path(name)
        work.chmod(0o755)  # mmdebstrap without root works under other user ids
        archive = work / "base.tar"
        report(f"making {REPOSITORY}:{release} from {distribution.title()} packages with {tool} (about 40 s)")
        options = ["--variant=minbase", f"--include={PACKAGES}", f"--components={','.join(components)}"]
        if tool == "mmdebstrap":
            lean = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
            lean.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
            lines = [source.line() for source in sources]
            _run(["mmdebstrap", *options, *lean, release, str(archive), *lines], report, work)
        else:
            root = work / "root"
            # in a mount namespace of its own, so that no mount of the host is below `root` when it is removed
            mirror = [source.uri for source in sources if source.release == release][:1]
            _run(["unshare", "--mount", "debootstrap", *options, release, str(root), *mirror], report, work)
            excluded = "--exclude=./var/cache/apt/archives/*.deb"
            tar = ["tar", "--numeric-owner", excluded, "-C", str(root), "-cf", str(archive), "."]
            _run(tar, report, work)
        yield archive


@dataclass(frozen=True)
class Source:
    """One part of a package archive; `signed_by` is the path of its keyring, or empty."""

    uri: str
    release: str
    component: str
    signed_by: str

    def line(self) -> str:
        """Return the source as a line of `sources.list`."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by.startswith("/") else ""
        return f"deb {option}{self.uri} {self.release} {self.component}"


def archive_sources(targets: str, release: str, components: Sequence[str]) -> list[Source]:
    """Return this host's sources of `release`, with updates and security, without those of third parties.

    `targets` is the result of `index_targets`. Archives are recognised by their updates: a PPA has none. Empty if the
    host has no such sources; the bootstrapping tool then uses its default.
    """
    updates = {f"{release}-updates", f"{release}-security"}
    found = [Source(*line.split("|")) for line in targets.splitlines() if line.count("|") == 3]
    found = [source for source in dict.fromkeys(found) if source.component in components]
    plain = [source.uri for source in found if source.release == release]
    archives = {source.uri for source in found if source.release in updates} | set(plain[:1])
    return [source for source in found if source.uri in archives and source.release in updates | {release}]


def index_targets() -> str:
    """Return apt's sources, one `uri|release|component|keyring` a line; empty without apt."""
    fields = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    if not shutil.which("apt-get"):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _check_room() -> None:
    free = shutil.disk_usage(SCRATCH).free
    if free < ROOM:
        raise ImageBuildError(f"{SCRATCH} has {free >> 20} MB free, making a base image takes {ROOM >> 20} MB")


def _tool(report: Report) -> str:
    """Return the name of the bootstrapping tool; install one if this process may. Raises `ImageBuildError`."""
    if shutil.which("mmdebstrap"):
        return "mmdebstrap"
    root = os.geteuid() == 0
    if root and shutil.which("debootstrap"):
        return "debootstrap"
    if not (root and shutil.which("apt-get")):
        raise ImageBuildError(
            "no container registry can be reached and mmdebstrap is missing, which makes a base image "
            "without one: install it (sudo apt-get install mmdebstrap) and repeat"
        )
    report("installing mmdebstrap with apt-get")
    _run(["apt-get", "update", "-q"], _silent)
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "mmdebstrap", "gpg"], _silent)
    return "mmdebstrap"


def _silent(_line: str) -> None:
    pass


def _run(command: Sequence[str], report: Report, work: Path | None = None) -> None:
    """Run `command` in `work` and report its lines; an interrupt ends the command first. Raises `ImageBuildError`."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    if work is not None:
        environment["TMPDIR"] = str(work)
    tail: deque[str] = deque(maxlen=15)
    process = subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,  # no tool may wait for an answer
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.strip():
                tail.append(text)
                report(f"  {text}")
        code = process.wait()
    finally:
        _end(process)
    if code:
        last = "\n".join(f"    {line}" for line in tail)
        raise ImageBuildError(f"{command[0]} failed with exit code {code}; its last lines:\n{last}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
