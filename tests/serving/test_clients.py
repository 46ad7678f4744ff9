"""The example clients against a running server, and the files to deploy one."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deepspeech.inference.recognizer import Recognizer
from tests.conftest import ROOT, run_script

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def text(models, recordings):
    return " ".join(Recognizer.load(models["whole"]).transcribe(recordings[3]).text.split())


def test_openai_in_python(server, recordings, text):
    done = run_script("examples/serve_openai.py", recordings[3], f"http://{server.address}")
    assert done.returncode == 0, done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    assert " ".join(word for _, _, word in words) == text
    assert all(float(start) < float(end) for start, end, _ in words)


def test_vosk_in_python(server, recordings, text):
    done = run_script("examples/serve_vosk.py", recordings[3], f"ws://127.0.0.1:{server.vosk_port}/")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == text.split()


def test_curl(server, recordings, models):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    command = [ROOT / "examples" / "serve_curl.sh", recordings[3], "whole", f"http://{server.address}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = run_script("transcribe.py", "--model-path", models["whole"], "--format", "srt", recordings[3])
    assert done.stdout == shown.stdout


@pytest.mark.exhaustive
def test_openai_in_javascript(server, recordings, text, tmp_path):
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    shutil.copy(ROOT / "examples" / "serve_openai.mjs", tmp_path)
    command = ["npm", "install", "--no-audit", "--no-fund", "openai"]
    installed = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    if installed.returncode:
        pytest.skip("npm cannot fetch packages here")
    command = ["node", "serve_openai.mjs", recordings[3], f"http://{server.address}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == text


def test_the_container_file_copies_what_the_package_needs():
    lines = (ROOT / "deploy" / "Containerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "deepspeech"} <= set(copied)
    assert next(line.split()[0] for line in lines if line and not line.startswith("#")) == "FROM"
    assert any(line.startswith("USER") for line in lines), "not as root"


def test_the_unit_runs_the_command():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "deploy" / "deepspeech.service")
    assert unit["Service"]["ExecStart"].split()[:2] == ["/opt/deepspeech/bin/deepspeech", "serve"]
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "verify", str(Path(ROOT, "deploy", "deepspeech.service"))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert not [line for line in done.stderr.splitlines() if "/opt/deepspeech" not in line]
