"""The doctor: what it sees on this machine, and what it says of one where something is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from sandkasten_kernels.doctor import host as doctor_host
from sandkasten_kernels.doctor.host import (
    check_data_dir,
    check_descriptors,
    check_memory,
    check_mounts,
    check_pidfd,
    check_port,
)
from sandkasten_kernels.engines.docker.doctor import (
    check_cgroups,
    check_confinement,
    check_engine_warnings,
    check_storage,
    check_versions,
)
from sandkasten_kernels.engines.docker.escapes import LISTED_UNTIL, known_escapes
from sandkasten_kernels.engines.finding import Finding, Level
from tests.support.gateway_process import GatewayProcess


def doctor(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run the doctor; return its exit code and, by subject, the level and what it saw and advised."""
    command = [sys.executable, "-m", "sandkasten_kernels", "doctor", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **(env or {})}
    )
    assert "Traceback" not in done.stderr, done.stderr
    findings: dict[str, tuple[str, str]] = {}
    *lines, summary = done.stdout.splitlines()
    for line in lines:
        level, _, rest = line.partition(" ")
        if level:
            subject, _, saw = rest.strip().partition(": ")
            findings[subject] = (level, saw)
        else:
            findings[subject] = (findings[subject][0], f"{findings[subject][1]} {rest.strip()}")
    problems = sum(level == "problem" for level, _ in findings.values())
    assert summary.startswith(f"problems: {problems}, ")
    assert all("->" in text for level, text in findings.values() if level != "ok")
    return done.returncode, findings


def of_sandkasten(engine: docker.DockerClient) -> set[str]:
    """Return what the engine has of doctors: containers and networks."""
    found = [*engine.containers.list(all=True, ignore_removed=True), *engine.networks.list()]
    label = "sandkasten.instance"
    labels = [(thing.attrs.get("Config") or thing.attrs)["Labels"] or {} for thing in found]
    return {instance for entry in labels if (instance := entry.get(label, "")).startswith("doctor-")}


# -- on this machine


@pytest.mark.docker
def test_a_machine_that_runs_the_tests_has_no_problem(engine: docker.DockerClient, folder: Path) -> None:
    code, findings = doctor(f"--data-dir={folder / 'data'}", "--listen=127.0.0.1:0")
    assert (code, [subject for subject, (level, _) in findings.items() if level == "problem"]) == (0, [])
    assert findings["sandbox"] == ("ok", "one was started, its guest answered, and it is gone again")
    assert engine.version()["Version"] in findings["engine"][1]
    for subject in (
        "configuration", "user", "data_dir", "disk", "descriptors", "listen", "pidfd", "mount injection",
        "containerd", "runc", "cgroups", "seccomp", "user namespaces", "storage", "engine's disk", "memory",
        "image base", "image python",
    ):  # fmt: skip
        assert subject in findings
    assert list(folder.iterdir()) == []
    assert of_sandkasten(engine) == set()


def test_without_an_engine_the_rest_is_still_checked(folder: Path) -> None:
    code, findings = doctor(f"--data-dir={folder}", env={"DOCKER_HOST": f"unix://{folder}/nobody.sock"})
    assert code == 1
    level, text = findings["engine"]
    assert level == "problem"
    assert f"no Docker engine answers at unix://{folder}/nobody.sock" in text
    assert "-> start one ('systemctl start docker')" in text
    assert findings["data_dir"][0] == "ok"
    assert "pidfd" in findings
    assert "sandbox" not in findings


@pytest.mark.docker
def test_a_data_dir_that_cannot_be_made_is_a_problem(folder: Path) -> None:
    (folder / "file").write_text("")
    code, findings = doctor("--data-dir=/proc/sandkasten", "--listen=127.0.0.1:0")
    assert code == 1
    assert findings["data_dir"][0] == "problem"
    assert findings["data_dir"][1].endswith("-> name a directory of this user's with --data-dir")
    assert check_data_dir(folder / "file").saw == f"{folder / 'file'} is not a directory"


@pytest.mark.docker
def test_an_image_that_is_missing_is_named_with_its_command(engine: docker.DockerClient, folder: Path) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    file = folder / "sandkasten.yaml"
    file.write_text(f"images: {{{name}: {{from: base}}}}\n")
    code, findings = doctor(f"--config={file}", f"--data-dir={folder / 'data'}", "--listen=127.0.0.1:0")
    assert code == 1
    assert findings[f"image {name}"] == (
        "problem",
        f"sandbox-runtime:{name} is not built -> run `sandkasten-kernels images build {name} --config=FILE`",
    )
    assert findings["sandbox"][0] == "ok"
    assert of_sandkasten(engine) == set()


def test_a_configuration_that_is_wrong_is_a_problem_among_others(folder: Path) -> None:
    file = folder / "sandkasten.yaml"
    file.write_text("listen: 127.0.0.1:0\npool:\n  imges: {}\n")
    code, findings = doctor(f"--config={file}", env={"DOCKER_HOST": f"unix://{folder}/nobody.sock"})
    assert code == 1
    level, text = findings["configuration"]
    assert level == "problem"
    assert f"{file}:3: pool.imges: unknown key; did you mean pool.images?" in text
    assert findings["pidfd"][0] == "ok"


@pytest.mark.docker
def test_a_port_is_taken_rightly_only_by_the_gateway_of_this_data_dir(folder: Path) -> None:
    with GatewayProcess(folder, config="pool: {enabled: false}\n") as gateway:
        listen = f"--listen={gateway.url.removeprefix('http://')}"
        _, findings = doctor(listen, f"--data-dir={gateway.data_dir}")
        assert findings["listen"][0] == "ok"
        assert findings["listen"][1].endswith("is taken, and a gateway runs with this data_dir")
        _, findings = doctor(listen, f"--data-dir={folder / 'other'}")
        assert findings["listen"][0] == "problem"


# -- what each check says


def levels(findings: Any) -> dict[str, str]:
    found = [findings] if isinstance(findings, Finding) else list(findings)
    return {finding.subject: finding.level.value for finding in found}


@pytest.mark.parametrize(
    ("component", "version", "cves"),
    [
        ("runc", "1.0.0-rc6", ["CVE-2019-5736", "CVE-2021-30465", "CVE-2025-31133"]),
        ("runc", "1.1.5", ["CVE-2024-21626", "CVE-2025-31133"]),
        ("runc", "1.1.12", ["CVE-2025-31133"]),
        ("runc", "1.2.7", ["CVE-2025-31133"]),
        ("runc", "1.2.8", []),
        ("runc", "1.3.2", ["CVE-2025-31133"]),
        ("runc", "1.3.3", []),
        ("runc", "1.4.0-rc.2", ["CVE-2025-31133"]),
        ("runc", "1.4.0-rc.3", []),
        ("runc", "1.4.0", []),
        ("runc", "1.5.1", []),
        ("runc", "1.1.5+ds1-1+deb12u1", ["CVE-2024-21626", "CVE-2025-31133"]),
        ("runc", "1.2.9-0ubuntu1~24.04", []),
        ("runc", "unknown", []),
        ("containerd", "1.4.2", ["CVE-2020-15257", "CVE-2022-23648"]),
        ("containerd", "1.6.20~ds1", []),
        ("containerd", "v2.1.1", []),
        ("AuthZ", "20.10.24+dfsg1", ["CVE-2024-41110"]),
        ("AuthZ", "18.09.9", []),
        ("AuthZ", "26.1.5", []),
        ("AuthZ", "28.2.2", []),
        ("Docker Desktop", "4.43.1 (198352)", ["CVE-2025-9074"]),
        ("Docker Desktop", "4.44.3 (202357)", []),
    ],
)
def test_a_version_has_the_escapes_that_were_mended_after_it(component: str, version: str, cves: list[str]) -> None:
    assert [escape.cves.split(",")[0] for escape in known_escapes(component, version)] == cves


def test_the_list_of_escapes_is_younger_than_18_months() -> None:
    age = datetime.now(tz=UTC).date() - LISTED_UNTIL
    assert timedelta(0) <= age < timedelta(days=548), (
        "bring engines/docker/escapes.py up to date: its docstring says how"
    )


def versions(runc: str, commit: str = "", **info: Any) -> list[Finding]:
    parts = [{"Name": "runc", "Version": runc, "Details": {"GitCommit": commit}}]
    return list(check_versions({"Version": "26.1.0", "Components": parts}, info))


def test_a_version_of_the_authors_is_a_problem_and_a_distributions_a_warning() -> None:
    (finding,) = versions("1.1.11", "v1.1.11-0-g4bccb38")
    assert finding.level is Level.PROBLEM
    assert "CVE-2024-21626" in finding.saw
    assert finding.advice == "update runc to 1.4.0rc3 or newer"
    (finding,) = versions("1.1.5+ds1", "1.1.5+ds1-1+deb12u1")
    assert finding.level is Level.WARNING
    assert finding.saw.startswith("1.1.5+ds1-1+deb12u1 is a distribution's package")
    assert "Its number cannot tell whether the distribution has mended them" in finding.saw
    assert "https://security-tracker.debian.org/tracker/CVE-2024-21626" in finding.advice
    (finding,) = versions("1.3.4", "v1.3.4-0-gd6d73eb8")
    assert finding.level is Level.OK


def test_authorization_plugins_are_looked_at_where_there_are_any() -> None:
    found = versions("1.3.4", Plugins={"Authorization": ["opa"]})
    assert levels(found) == {"runc": "ok", "authorization plugins": "problem"}


def test_an_engine_that_cannot_limit_is_a_problem() -> None:
    able = {"CgroupVersion": "2", "CgroupDriver": "systemd", "MemoryLimit": True, "PidsLimit": True}
    able |= {"CpuCfsQuota": True, "SwapLimit": True}
    assert check_cgroups(able).level is Level.OK
    assert "cannot limit processes" in check_cgroups({**able, "PidsLimit": False}).saw
    assert check_cgroups({**able, "CgroupDriver": "none"}).level is Level.PROBLEM
    assert check_cgroups({**able, "SwapLimit": False}).level is Level.WARNING


def test_confinement_and_storage_are_named() -> None:
    assert levels(check_confinement({"SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"]})) == {
        "seccomp": "ok",
        "user namespaces": "ok",
    }
    assert levels(check_confinement({}))["seccomp"] == "problem"
    assert check_storage({"Driver": "vfs"}).level is Level.WARNING


def test_the_engines_own_warnings_are_passed_on_once() -> None:
    warnings = [
        "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.\n  Access to the remote API is root",
        "WARNING: No swap limit support",
        "WARNING: bridge-nf-call-iptables is disabled",
    ]
    found = list(check_engine_warnings({"Warnings": warnings}))
    assert [finding.level for finding in found] == [Level.PROBLEM, Level.WARNING]
    assert list(check_engine_warnings({"Warnings": None})) == []


def test_memory_is_compared_with_the_pool_and_with_all_sandboxes() -> None:
    assert check_memory(8192, 1024, 512, 16).level is Level.OK
    short = check_memory(8192, 1024, 512, 64)
    assert (short.level, short.advice) == (
        Level.WARNING, "to guarantee each its limit, set limits.max_sandboxes to 16 or less",
    )  # fmt: skip
    assert check_memory(8192, 9216, 512, 64).level is Level.PROBLEM


def test_descriptors_are_compared_with_the_sandboxes() -> None:
    assert check_descriptors(1).level is Level.OK
    assert check_descriptors(10**9).level is Level.PROBLEM


def test_a_port_that_is_taken_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert check_port("127.0.0.1", port, running=False).level is Level.PROBLEM
        assert check_port("127.0.0.1", port, running=True).level is Level.OK
    assert check_port("", 0, running=False).level is Level.OK
    assert check_port("203.0.113.1", 0, running=False).level is Level.PROBLEM


def test_a_data_dir_that_is_open_to_others_is_a_warning(folder: Path) -> None:
    folder.chmod(0o755)
    assert check_data_dir(folder).level is Level.WARNING
    folder.chmod(0o700)
    assert check_data_dir(folder).level is Level.OK
    assert check_data_dir(folder / "a" / "b").saw == f"{folder}/a/b can be made"
    assert list(folder.iterdir()) == []


def test_asking_the_kernel_changes_nothing() -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert check_mounts().level in (Level.OK, Level.WARNING)
    assert check_pidfd().level is Level.OK
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_process_without_the_capability_is_told_so() -> None:
    code = (
        "import os\n"
        "from sandkasten_kernels.doctor.host import check_mounts\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "print(check_mounts().saw)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "the kernel can, this process may not (no CAP_SYS_ADMIN)\n"


def test_a_kernel_without_the_calls_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_host, "_SYSCALLS", {"open_tree": 1023, "move_mount": 1022})
    assert check_mounts().saw.startswith("the kernel has no open_tree, move_mount")
