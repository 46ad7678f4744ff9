"""The example clients against a running server, and the files to deploy one."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from deepspeech.inference.recognizer import Recognizer
from tests.conftest import ROOT, run_script
from tests.serving.servers import running
from tests.serving.vosk_model import write_vosk_model

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


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("ffmpeg"), reason="needs Linux and ffmpeg")
def test_vosk_transcriber(models, recordings, tmp_path):
    """The program as it comes: it always connects to port 2700, and loads a model that it does not use."""
    venv.create(tmp_path / "venv", with_pip=True)
    programs, subtitles = tmp_path / "venv" / "bin", tmp_path / "subtitles.srt"
    installed = subprocess.run([programs / "pip", "install", "vosk"], capture_output=True, timeout=240)
    if installed.returncode:
        pytest.skip("pip cannot fetch packages here")
    model = write_vosk_model(tmp_path / "model")
    command = [programs / "vosk-transcriber", "--server", "--model", model, "--input", recordings[3]]
    command += ["--output-type", "srt", "--output", subtitles]
    with running({"live": models["live"]}, vosk_port=2700):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    *_, text = subtitles.read_text().strip().split("\n")
    shown = run_script("transcribe.py", "--stream", "--model-path", models["live"], recordings[3])
    assert text.split() == json.loads(shown.stdout.splitlines()[-1])["committed"].split()


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
