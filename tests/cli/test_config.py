"""``config check``, ``config show`` and ``config docs``, as a person runs them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import yaml

from sandkasten_kernels.cli.commands import main

DOCS = Path(__file__).parents[2] / "docs"


def settings_environ(environ: dict[str, str]) -> dict[str, str]:
    """Return this environment with no settings in it but these."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("SANDKASTEN_")}, **environ}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``config`` in this process, which saves a second of imports."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, settings_environ(environ), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(["config", *arguments])
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def shown(*arguments: str, **environ: str) -> dict[str, dict[str, object]]:
    data: dict[str, dict[str, object]] = json.loads(run("show", "--json", *arguments, **environ).stdout)
    return data


def test_the_command_line_comes_before_the_environment_before_the_file_before_the_default(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("listen: :1\nengine: docker\ndefaults:\n  cpu_limit: 0.5\n  mem_limit_mb: 256\n  pids_limit: 64\n")
    values = shown(
        f"--config={file}", "--Defaults.cpu_limit=1", SANDKASTEN_CPU_LIMIT="2", SANDKASTEN_MEM_LIMIT_MB="1024"
    )
    assert values["defaults.cpu_limit"] == {"value": 1.0, "source": "command line"}
    assert values["defaults.mem_limit_mb"] == {"value": 1024, "source": "SANDKASTEN_MEM_LIMIT_MB"}
    assert values["defaults.pids_limit"] == {"value": 64, "source": f"{file}:6"}
    assert values["limits.max_sandboxes"] == {"value": 64, "source": "default"}


def test_the_file_is_named_by_an_option_or_else_by_a_variable(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("listen: :1\n")
    two.write_text("listen: :2\n")
    assert shown(SANDKASTEN_CONFIG=str(one))["listen"]["value"] == ":1"
    assert shown(f"--config={two}", SANDKASTEN_CONFIG=str(one))["listen"]["value"] == ":2"


def test_what_is_shown_is_a_yaml_file_with_the_source_of_each_value_and_no_secret() -> None:
    result = run("show", "--listen=:9000", "--Pool.images=base=1", SANDKASTEN_API_KEY="s3cret")
    assert result.returncode == 0
    assert "s3cret" not in result.stdout + result.stderr
    data = yaml.safe_load(result.stdout)
    assert data["listen"] == ":9000"
    assert data["pool"]["images"] == {"base": 1}
    assert re.search(r"^api_key: '\*+' +# SANDKASTEN_API_KEY$", result.stdout, re.MULTILINE)
    assert re.search(r"^listen: :9000 +# command line$", result.stdout, re.MULTILINE)
    assert re.search(r"^  max_starting: 2 +# default$", result.stdout, re.MULTILINE)
    assert "s3cret" not in json.dumps(shown("--api-key=s3cret"))


def test_a_right_configuration_is_one_line() -> None:
    command = [sys.executable, "-m", "sandkasten_kernels", "config", "check", "--data-dir=/nonexistent/never/made"]
    result = subprocess.run(command, env=settings_environ({}), capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "the configuration is right; kernelspecs: bash, python3, python3 by default\n"


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["check", "--listen=nowhere"], {}, "listen: expected HOST:PORT"),
        (["check", "--Pool.imges=a=1"], {}, "--Pool.imges: unknown option; did you mean --Pool.images?"),
        (["show", "--Pool.imges=a=1"], {}, "--Pool.imges: unknown option; did you mean --Pool.images?"),
        (["check"], {"SANDKASTEN_POOL_IMGES": "1"}, "did you mean SANDKASTEN_POOL_IMAGES?"),
        (["check"], {"SANDKASTEN_CONFIG": "/nowhere"}, "/nowhere: cannot be read"),
        (["check"], {"SANDKASTEN_DEFAULT_IMAGE": "cobol"}, "SANDKASTEN_DEFAULT_IMAGE: default_image: no kernelspec"),
        (["check", "--Limits.max_sandboxes=-1"], {}, "expected a whole number of at least 1, got -1"),
        (
            ["check", "sandkasten.yaml"],
            {},
            "config: unrecognized arguments: sandkasten.yaml; see sandkasten-kernels config --help",
        ),
        (["chek"], {}, "invalid choice: 'chek' (choose from"),
        ([], {}, "config: the following arguments are required: verb; see sandkasten-kernels config --help"),
    ],
)
def test_a_wrong_one_is_one_line_and_exit_code_2(arguments: list[str], environ: dict[str, str], words: str) -> None:
    result = run(*arguments, **environ)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_reference_is_up_to_date() -> None:
    made = run("docs").stdout
    assert made == (DOCS / "configuration.md").read_text(), "sandkasten-kernels config docs > docs/configuration.md"


def test_the_ten_settings_that_matter_stand_above_the_reference() -> None:
    above, _, reference = (DOCS / "configuration.md").read_text().partition("\n## Keys of the root\n")
    rows = re.findall(r"^\| \[`([\w.]+)`\]\(#(\w+)\)", above, re.MULTILINE)
    assert len(rows) == 10
    for name, anchor in rows:
        assert f"### `{name}`\n" in f"## Keys of the root\n{reference}"
        assert anchor == name.replace(".", "")


def test_the_examples_of_the_reference_are_right(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (DOCS / "configuration.md").read_text(), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(example)
        assert run("check", f"--config={file}").stderr == ""
    text = (DOCS / "configuration.md").read_text()
    for name, value in re.findall(r"`(SANDKASTEN_\w+)='(.*?)'`", text):
        assert run("check", **{name: value}).stderr == ""
