"""transcribe.py --stream and test.py --stream, as a user runs them."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import signal
import sys

import numpy as np
import pytest
import soundfile

from deepspeech import Recognizer
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.errors import InputError
from tests.conftest import load_script, run_script, start_script
from tests.inference.test_stream import audio, often_silent, streaming_model


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("models") / "streaming.pth"
    save_checkpoint(path, streaming_model(labels, lookahead_context=3))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "recording.wav"
    soundfile.write(path, audio(40_000), 16000)
    return path


@pytest.fixture
def transcribe(model_path, capsys, monkeypatch):
    """Runs transcribe.py --stream in this process; returns its lines of JSON."""

    def run(*flags, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        main = load_script("transcribe.py").main
        whole = [] if "--end-silence" in flags else ["--end-silence", "0"]
        assert main(["--stream", "--model-path", str(model_path), *whole, *map(str, flags)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def check_rows(rows, text):
    """Changes only, in the order of time, whose committed part grows into the final text."""
    *partial, final = rows
    assert (final["committed"], final["tentative"], final["final"]) == (text, "", True)
    assert 0 <= final["start"] < final["end"] <= final["seconds"] + 1e-3
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert not any(row["final"] for row in partial)
    committed = ""
    for row in partial:
        assert row["committed"].startswith(committed)
        assert row["committed"] + row["tentative"]
        committed = row["committed"]
    assert text.startswith(committed)


@pytest.mark.parametrize("decoder", ["greedy", "beam"])
def test_a_file_is_printed_as_it_comes(transcribe, model_path, recording, decoder):
    rows = transcribe(recording, "--decoder", decoder)
    assert len(rows) > 3
    if decoder == "greedy":
        check_rows(rows, Recognizer.load(model_path).transcribe(recording).text)
    assert rows[-1]["seconds"] == 2.5


@pytest.mark.parametrize("kind", ["raw", "wav"])
def test_standard_input_is_printed_as_it_comes(transcribe, model_path, recording, kind):
    data = recording.read_bytes()
    rows = transcribe("-", stdin=data if kind == "wav" else data[44:])
    check_rows(rows, Recognizer.load(model_path).transcribe(recording).text)


def test_raw_samples_of_another_rate_and_of_two_channels(transcribe):
    stereo = (np.stack([audio(8000)] * 2, axis=1) * 2**15).astype("<i2")
    rows = transcribe("-", "--sample-rate", 8000, "--channels", 2, stdin=stereo.tobytes())
    assert rows[-1]["final"]


@pytest.mark.parametrize("samples", [1, 100])
def test_hardly_any_audio_is_transcribed(transcribe, samples):
    (row,) = transcribe("-", stdin=bytes(2 * samples))[-1:]
    assert row["final"]


@pytest.mark.parametrize(
    ("flags", "stdin", "words"),
    [
        (["-"], b"", "standard input: no audio came; check the command before the pipe"),
        (["-"], b"\0", "standard input: no audio came"),
        (["-", "--sample-rate", "3"], bytes(100), "audio of 3 Hz; give 1000 to 768000 Hz"),
        (["no.wav"], None, "no.wav: no such audio file"),
        (["-", "-"], None, "--stream: transcribes one file"),
        (["-", "--format", "srt"], None, "--stream: transcribes one file, to its own lines"),
    ],
)
def test_unusable_input_is_one_clear_error(transcribe, flags, stdin, words):
    with pytest.raises(InputError, match=words):
        transcribe(*flags, stdin=stdin)


def test_flags_without_effect_are_refused():
    with pytest.raises(InputError, match="--real-time: has no effect without --stream; add it"):
        load_script("transcribe.py").main(["--real-time", "a.wav"])


def test_float_wav_with_nan_is_refused(transcribe):
    file = io.BytesIO()
    soundfile.write(file, np.array([0, np.nan], np.float32), 16000, "FLOAT", format="WAV")
    with pytest.raises(InputError, match="NaN or infinite samples"):
        transcribe("-", stdin=file.getvalue())


def test_what_came_before_a_fault_is_not_lost(transcribe, tmp_path, capsys):
    samples = np.concatenate([audio(20_000), [np.nan]]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16000, "FLOAT")
    with pytest.raises(InputError, match="audio has NaN or infinite samples"):
        transcribe(tmp_path / "a.wav")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[-1]["final"]
    assert rows[-1]["seconds"] > 1


@pytest.mark.slow
def test_ctrl_c_ends_with_the_final_text(model_path):
    """While it waits for a pipe that stays open."""
    process = start_script("transcribe.py", "--stream", "-", "--model-path", model_path, stdin=-1, text=False)
    process.stdin.write((audio(40_000) * 2**15).astype("<i2").tobytes())
    process.stdin.flush()
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=120)
    rows = [json.loads(line) for line in (first + rest).splitlines()]
    assert (process.returncode, errors) == (0, b"")
    assert rows[-1]["final"]
    assert rows[-1]["committed"].startswith(rows[0]["committed"])


@pytest.mark.slow
def test_on_a_terminal_one_line_is_rewritten(model_path, recording):
    ours, theirs = pty.openpty()
    result = run_script(
        "transcribe.py",
        *("--stream", recording, "--model-path", model_path, "--end-silence", "0"),
        capture_output=False,
        stdout=theirs,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert result.returncode == 0
    assert shown.count("\n") == 1
    assert len(shown.split("\r\x1b[K")) > 3
    assert shown.split("\r\x1b[K")[-1].strip() == Recognizer.load(model_path).transcribe(recording).text


def test_silence_ends_an_utterance(transcribe, recording, labels, tmp_path):
    model = often_silent(streaming_model(labels, rnn_type="rnn", lookahead_context=3), audio(40_000))
    save_checkpoint(tmp_path / "silent.pth", model)
    rows = transcribe(recording, "--model-path", tmp_path / "silent.pth", "--end-silence", 0.1)
    ends = [row for row in rows if row["final"]]
    assert len(ends) > 1
    assert all(row["committed"].strip() for row in ends)
    for before, after in itertools.pairwise(ends):
        assert before["start"] < before["end"] <= after["start"]


def test_real_time_gives_the_same_text(transcribe, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, audio(6400), 16000)
    assert transcribe(path, "--real-time")[-1] == transcribe(path)[-1]


def test_streaming_a_corpus_gives_the_errors_of_test_py(corpus, model_path, capsys):
    flags = ["--test-manifest", str(corpus.val), "--model-path", str(model_path), "--num-workers", "0"]
    main, said = load_script("test.py").main, []
    for more in ([], ["--stream"]):
        assert main([*flags, *more]) == 0
        said.append(capsys.readouterr().out)
    assert "WER" in said[0]
    assert said[0] == said[1]


def test_reports_are_of_whole_utterances(corpus, model_path):
    flags = ["--test-manifest", str(corpus.val), "--model-path", str(model_path)]
    with pytest.raises(InputError, match="--report: needs whole utterances; leave out --stream"):
        load_script("test.py").main([*flags, "--stream", "--report", "r.html"])
