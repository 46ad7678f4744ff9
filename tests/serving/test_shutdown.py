"""SIGTERM under load: what was accepted is answered, streams get their text, the status is 0."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from tests.conftest import ROOT, script_environment
from tests.serving.servers import running, write_tones

pytestmark = pytest.mark.xdist_group("server")


def test_no_accepted_request_is_lost(models, recordings, tmp_path):
    """One recording is long, so that it is cut; the others take a second or two each on an old processor."""
    shorter = [write_tones(tmp_path / f"{seed}.flac", 20.0, seed) for seed in range(5)]
    answers, contents = [], [path.read_bytes() for path in (recordings[5], *shorter)]
    with running(models, "--grace", 20) as server:

        def ask(content):
            data = {"model": "whole", "response_format": "text"}
            address = f"http://{server.address}/v1/audio/transcriptions"
            try:
                answer = httpx.post(address, files={"file": content}, data=data, timeout=60)
                answers.append(answer.status_code)
            except httpx.TransportError as error:
                answers.append(type(error).__name__)

        with connect(f"ws://{server.address}/?model=live") as stream:
            stream.send(json.dumps({"config": {"sample_rate": 16000}}))
            stream.send((3000 * np.random.default_rng(0).standard_normal(32000)).astype("<i2").tobytes())
            stream.recv()
            threads = [threading.Thread(target=ask, args=[content]) for content in contents]
            for thread in threads:
                thread.start()
            wait_for(f"http://{server.address}/metrics", "deepspeech_active_requests 6.0")
            server.process.send_signal(signal.SIGTERM)
            assert "text" in json.loads(stream.recv()), "the last text of the stream"
            for thread in threads:
                thread.join()
    assert answers == [200] * 6


def test_what_is_not_done_within_the_grace_is_answered(models, tmp_path):
    recording, answers = write_tones(tmp_path / "long.flac", 3600.0, 3, 8000), []
    with (
        running(models, "--grace", 0.1) as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        head = "POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n"
        slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n".encode())

        def ask():
            files = {"file": recording.read_bytes()}
            answers.append(httpx.post(f"http://{server.address}/transcribe", files=files, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(f"http://{server.address}/metrics", "deepspeech_active_requests 2.0")
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        assert server.process.wait(10) == 0
        assert slow.recv(100).startswith(b"HTTP/1.1 503")
    assert (answers[0].status_code, answers[0].json()["status"]) == (503, "error")
    assert not any("Traceback" in line for line in server.lines)


def wait_for(address, line):
    for _ in range(500):
        if line in httpx.get(address).text:
            return
    pytest.fail(f"{line} never came")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "no model"),
        (["none.pth"], "none.pth"),
        (["--model", "a"], "NAME=FILE"),
        (["a/m.pth", "b/m.pth"], "has this name too"),
        (["m.pth", "--top-paths", "3", "--decoder", "beam"], "--top-paths"),
        (["m.pth", "--private-key", "k.pem"], "--certificate"),
    ],
)
def test_a_wrong_command_line_is_one_line(flags, words, tmp_path):
    command = [sys.executable, "-m", "deepspeech", "serve", *flags]
    environment = script_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line


def test_a_port_in_use_is_one_line(server, models):
    command = [sys.executable, "-m", "deepspeech", "serve", str(models["whole"]), "--port", str(server.port)]
    environment = script_environment()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 2
    assert str(server.port) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_tls_and_a_log_of_requests(models, recordings, tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    flags = "--certificate", certificate, "--private-key", key, "--log-json"
    with running(models, *flags) as server:
        address = f"https://{server.address}/transcribe"
        answer = httpx.post(address, files={"file": recordings[0].read_bytes()}, verify=False)
        text = answer.json()["transcription"][0][0]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{server.address}/")
    rows = [json.loads(line) for line in server.lines if line.startswith("{")]
    assert [(row["path"], row["status"]) for row in rows] == [("/transcribe", 200)]
    assert rows[0]["id"] == answer.headers["x-request-id"]
    assert not any(text in line for line in server.lines), "what was said is not logged"
