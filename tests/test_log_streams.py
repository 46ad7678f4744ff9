"""Standard streams that are closed, full, or cannot take the text."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMAND = """
import sys
from pathlib import Path
from deepspeech import cli, log

def main():
    log.configure()
    log.info("begins")
    Path(sys.argv[1], "result").write_text("done")
    print("Жар 1")
    print("x" * 100_000)
    log.info("ends")
    sys.stdin.read()

cli.run(main)
"""


def run(folder, redirections, **environment):
    """The command in a shell with redirections: status, output, errors, whether it wrote its file."""
    script = folder / "command.py"
    script.write_text(COMMAND, encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" "$2" {redirections}', sys.executable, script, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"} | environment,
        capture_output=True,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    assert (folder / "result").read_text() == "done"
    return done.returncode, done.stdout.decode(), done.stderr.decode().splitlines()


def test_streams_as_they_should_be(tmp_path):
    assert run(tmp_path, "< /dev/null") == (0, f"Жар 1\n{'x' * 100_000}\n", ["begins", "ends"])


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_text_that_cannot_be_encoded_is_escaped_with_a_warning(tmp_path, encoding):
    status, output, errors = run(tmp_path, "< /dev/null", PYTHONIOENCODING=encoding)
    assert status == 0
    assert output.startswith("\\u0416\\u0430\\u0440 1\n")
    assert len(errors) == 3
    assert "PYTHONIOENCODING=utf-8" in errors[1]
    assert encoding in errors[1]


@pytest.mark.parametrize("redirection", ["> /dev/full", ">&-"])
def test_a_lost_standard_output_is_one_line(tmp_path, redirection):
    status, _, errors = run(tmp_path, f"< /dev/null {redirection}")
    assert status == 2
    assert "error: standard output: " in errors[-1]
    assert len(errors) <= 3


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-"])
def test_a_lost_standard_error_loses_nothing(tmp_path, redirection):
    assert run(tmp_path, f"< /dev/null {redirection}") == (0, f"Жар 1\n{'x' * 100_000}\n", [])


def test_a_closed_standard_input_is_an_empty_one(tmp_path):
    assert run(tmp_path, "<&-")[0] == 0


def test_results_before_a_fault_are_written(tmp_path):
    script = tmp_path / "command.py"
    lines = ["from deepspeech import cli, errors", "def main():", "    print('result')"]
    script.write_text("\n".join([*lines, "    raise errors.InputError('fault')", "cli.run(main)"]))
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert (done.returncode, done.stdout) == (2, b"result\n")
    assert done.stderr == b"command.py: error: fault\n"


def test_a_reader_that_is_gone(tmp_path):
    _, output, errors = run(tmp_path, "< /dev/null | head -c 4")
    assert (output, errors) == ("Жа", ["begins"])


def test_all_three_closed(tmp_path):
    assert run(tmp_path, "<&- >&- 2>&-")[0] == 2
