"""Many recordings: transcribe.py with files, manifests and folders."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deepspeech import Recognizer
from deepspeech.checkpoint.format import save_checkpoint
from deepspeech.decoding.word_times import Transcript
from deepspeech.errors import InputError
from deepspeech.transcription.recordings import RecordingsConfig, find_recordings, transcribe_recordings
from tests.conftest import load_script, tiny_model, write_rows

SECONDS = {"b": 3.0, "a": 0.5, "sub/a": 1.0, "other/deep/c": 0.3}


@pytest.fixture(scope="module")
def source(tmp_path_factory, labels) -> Path:
    """A model, and recordings of several lengths in several folders."""
    folder = tmp_path_factory.mktemp("recordings")
    save_checkpoint(folder / "model.pth", tiny_model(labels))
    for number, (name, seconds) in enumerate(SECONDS.items()):
        path = folder / "calls" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).standard_normal(round(16000 * seconds))
        soundfile.write(path, 0.1 * noise * np.sin(np.arange(len(noise)) / 2000) ** 2, 16000)
    return folder


@pytest.fixture
def folder(source, tmp_path, monkeypatch) -> Path:
    """A working directory with the recordings, which a test may change."""
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    script = load_script("transcribe.py")

    def run(*arguments: str, status: int = 0) -> tuple[list[str], str]:
        """Lines of standard output, and standard error without bars."""
        flags = ["--model-path", "model.pth", "--num-workers", "0"]
        assert script.main([*flags, *map(str, arguments)]) == status
        out, err = capsys.readouterr()
        lines = err.replace("\r", "\n").splitlines()
        return out.splitlines(), "\n".join(
            line for line in lines if line.strip(" \x1b[A") and "|" not in line
        )

    return run


def paths() -> list[str]:
    return [f"calls/{name}.wav" for name in SECONDS]


def read(lines: list[str]) -> dict[str, str]:
    documents = [json.loads(line) for line in lines]
    return {each["audio_path"]: each["output"][0]["transcription"] for each in documents}


def test_results_come_in_the_order_of_the_files(run, folder):
    lines, _ = run(*paths())
    recognizer = Recognizer.load("model.pth")
    assert list(read(lines).items()) == [(path, recognizer.transcribe(path).text) for path in paths()]


def test_long_and_short_ones_in_any_order(run):
    files = ["calls/a.wav", "calls/b.wav", "calls/sub/a.wav"]
    for order in (files, files[::-1], [files[1], files[0], files[2]]):
        lines, _ = run(*order, "--chunk-seconds", "2")
        assert list(read(lines)) == order


def test_worker_processes_give_the_same(run):
    assert run(*paths(), "--num-workers", "2", "--batch-seconds", "1") == run(*paths())


def test_a_folder_and_a_manifest(run, folder):
    (folder / "calls" / "notes.txt").write_text("none")
    lines, _ = run("--folder", "calls")
    assert list(read(lines)) == sorted(paths())
    write_rows(folder / "calls" / "all.csv", [("b.wav", "b.txt"), ("sub/a.wav", "a.txt", 1)])
    lines, _ = run("--manifest", "calls/all.csv", "calls/a.wav", "calls/b.wav")
    assert list(read(lines)) == ["calls/a.wav", "calls/b.wav", "calls/sub/a.wav"]


def test_bad_files_are_reported_and_the_others_transcribed(run, folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["transcribe.py"])
    (folder / "bad.wav").write_bytes(b"no audio at all" * 99)
    broken = folder / "broken.flac"
    soundfile.write(broken, np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
    content = bytearray(broken.read_bytes())
    content[20000:24000] = bytes(4000)
    broken.write_bytes(content)
    (folder / "rows.csv").write_text("one column\ncalls/a.wav,a.txt\n")
    arguments = "gone.wav", "bad.wav", "calls/b.wav", "broken.flac", "--manifest", "rows.csv"
    for more in ([], ["--chunk-seconds", "2", "--format", "text"]):
        lines, errors = run(*arguments, *more, status=1)
        assert sorted(errors.splitlines()) == sorted(
            [
                "transcribe.py: error: rows.csv:1: expected audio,transcript[,seconds], got 'one column'",
                "transcribe.py: error: gone.wav: no such audio file; correct the path",
                "transcribe.py: error: bad.wav: not an audio file that can be read (wav, flac, ogg, mp3, "
                "aiff, au, caf, w64, sph)",
                next(line for line in errors.splitlines() if "broken.flac: damaged audio" in line),
            ]
        )
        if not more:
            assert list(read(lines)) == ["calls/b.wav", "calls/a.wav"]
    assert len(lines) == 2


def test_each_recording_has_a_result_and_is_not_transcribed_twice(run, folder):
    lines, _ = run("--folder", "calls", "--output", "out", "--words")
    assert lines == []
    results = {path: folder / "out" / f"{path}.json" for path in paths()}
    assert {str(path) for path in folder.glob("out/**/*.*")} == set(map(str, results.values()))
    for path, result in results.items():
        assert json.loads(result.read_text())["audio_path"] == path
    results["calls/a.wav"].write_text("kept")
    results["calls/b.wav"].unlink()
    before = {path: result.stat().st_mtime_ns for path, result in results.items() if result.exists()}
    _, errors = run("--folder", "calls", "--output", "out", "--words")
    assert "3 of 4 recordings have their results in out already" in errors
    assert results["calls/a.wav"].read_text() == "kept"
    assert json.loads(results["calls/b.wav"].read_text())["audio_path"] == "calls/b.wav"
    assert all(results[path].stat().st_mtime_ns == time for path, time in before.items())


def test_failed_recordings_have_no_result_and_are_tried_again(run, folder):
    (folder / "calls" / "bad.wav").write_bytes(b"none")
    for _ in range(2):
        _, errors = run("--folder", "calls", "--output", "out", "--format", "srt", status=1)
        assert "calls/bad.wav: not an audio file" in errors
        assert not list(folder.glob("out/**/*bad*"))
    assert len(list(folder.glob("out/**/*.srt"))) == len(SECONDS)


def test_results_come_in_order_as_values(source, monkeypatch):
    """Long ones as often as they have segments, until an error; even silent ones once."""
    monkeypatch.chdir(source)
    broken = np.random.default_rng(0).normal(0, 0.1, 480_000) * (np.arange(480_000) // 8000 % 5 < 4)
    soundfile.write("broken.flac", broken, 16000)
    content = bytearray(Path("broken.flac").read_bytes())
    content[-20000:-10000] = bytes(10000)
    Path("broken.flac").write_bytes(content)
    soundfile.write("silent.wav", np.zeros(48000), 16000)
    files = ["broken.flac", "calls/sub/a.wav", "gone.wav", "silent.wav", "calls/a.wav"]
    recognizer = Recognizer.load("model.pth")
    config = RecordingsConfig(chunk_seconds=2.0, batch_seconds=4.0, num_workers=0)
    results = list(transcribe_recordings(recognizer, files, config, words=True, progress=False))
    assert [path for path, _ in itertools.groupby(path for path, _ in results)] == files
    found = {path: [result for other, result in results if other == path] for path in files}
    *segments, error = found["broken.flac"]
    assert len(segments) > 1
    assert all(isinstance(transcript, Transcript) for (transcript,) in segments)
    assert "damaged audio" in str(error)
    assert isinstance(error, InputError)
    ((silent,),) = found["silent.wav"]
    assert (silent.hypothesis.text, silent.words) == ("", [])
    assert isinstance(found["gone.wav"][0], InputError)
    for path in ("calls/sub/a.wav", "calls/a.wav"):
        ((short,),) = found[path]
        assert short.hypothesis.text == recognizer.transcribe(path).text


def test_mistakes(run, folder):
    for arguments, words in (
        ([], "no audio file; give one or more"),
        (["--folder", "gone"], "gone: no such folder"),
        (["--manifest", "gone.csv"], "gone.csv: cannot read the manifest"),
        (["calls/a.wav", "--output", "model.pth"], "--output model.pth: cannot write there"),
        (["calls/a.wav", "--chunk-seconds", "1"], "--chunk-seconds 1.0: must be at least 2 seconds, or 0"),
    ):
        with pytest.raises(InputError, match=words):
            run(*arguments)


def test_a_recording_with_several_names_is_transcribed_once(folder):
    names = "calls/a.wav", "./calls/a.wav", "calls/sub/../a.wav", str(folder / "calls/a.wav"), "calls/b.wav"
    config = RecordingsConfig(files=names, folder="calls")
    files, faults = find_recordings(config)
    assert (files[:2], faults) == (["calls/a.wav", "calls/b.wav"], [])
    assert len(files) == len(SECONDS)
