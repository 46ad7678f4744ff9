"""train.py, test.py and transcribe.py as a user runs them."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from deepspeech import Recognizer
from deepspeech.checkpoint.format import load_checkpoint
from tests.conftest import (
    TinyCorpus,
    checkpoints,
    load_script,
    make_corpus,
    run_script,
    script_environment,
    start_script,
)
from tests.test_device import AVX2_ONLY

pytestmark = pytest.mark.xdist_group("test_scripts")  # one process, so that fixtures run once

SMALL = ["--hidden-layers", "1", "--no-cuda", "--precision", "fp32", "--num-workers", "0"]
# Rounding alone decides when such a tiny run has learned: after 4 to 9 epochs, by seed and padding.
FAST = [*SMALL, "--hidden-size", "32", "--adam", "--lr", "0.01", "--batch-size", "1", "--epochs", "12"]
PATIENCE = 120  # seconds until something that must happen counts as failed


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, corpus: TinyCorpus) -> tuple[Path, str, str]:
    """A folder with a trained model, and what train.py wrote to standard output and error."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script("train.py", *corpus.flags(), *FAST, "--save-folder", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def rate(kind: str, text: str) -> float:
    return float(re.findall(rf"{kind} ([\d.]+) %", text)[-1])


def test_training_shows_what_it_does(trained):
    folder, shown, messages = trained
    messages = messages.replace("\r", "\n")
    assert len(re.findall(r"^epoch \d+: train loss ", messages, re.MULTILINE)) == 12
    assert re.search(r"Epoch \d+/12: .*%.* loss [\d.]+, \d+ audio-s/s", messages)
    assert f"model {folder}/deepspeech_final.pth, curves {folder}/curves.png" in shown.splitlines()[-1]
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        wers = [float(row["wer"]) for row in csv.DictReader(file)]
    best = int(re.search(r"Best: epoch (\d+), ", shown.splitlines()[-1])[1])
    assert rate("WER", shown.splitlines()[-1]) == pytest.approx(100 * wers[best - 1], abs=0.005)
    assert min(wers) < 0.5


def test_testing_gives_the_error_rates_of_training(trained, corpus, tmp_path):
    folder, shown, _ = trained
    done = run_script(
        "test.py", "--model-path", folder / "deepspeech_final.pth", "--test-manifest", corpus.val,
        "--verbose", "--output", tmp_path / "rows.csv", "--batch-size", 3,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = shown.splitlines()[-1]
    assert rate("WER", done.stdout) == rate("WER", last)
    assert float(re.search(r"^CER ([\d.]+) %", done.stdout, re.MULTILINE)[1]) == rate("CER", last)
    kinds = r"\(\d+ substitutions, \d+ deletions, \d+ insertions of \d+\)"
    assert re.search(rf"^WER [\d.]+ % {kinds}$", done.stdout, re.MULTILINE)
    assert re.search(r"^CER with spaces [\d.]+ %", done.stdout, re.MULTILINE)
    with open(tmp_path / "rows.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == done.stdout.count("reference:") == 4
    edits = sum(int(row[f"word_{kind}"]) for row in rows for kind in ("sub", "del", "ins"))
    assert 100 * edits / sum(int(row["words"]) for row in rows) == pytest.approx(rate("WER", last), abs=0.005)


def test_transcribing_prints_a_document_for_each_file(trained, corpus):
    model = trained[0] / "deepspeech_final.pth"
    files = [corpus.folder / "val_0.wav", corpus.folder / "val_1.flac"]
    done = run_script("transcribe.py", "--model-path", model, "--offsets", *files)
    assert done.returncode == 0, done.stderr
    recognizer = Recognizer.load(model)
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        document, expected = json.loads(line), recognizer.transcribe(file)
        (output,) = document["output"]
        assert output["transcription"] == expected.text
        assert output["offsets"] == expected.offsets
        assert output["offsets_seconds"] == pytest.approx([0.02 * offset for offset in expected.offsets])
        assert document["_meta"]["acoustic_model"] == {"name": "deepspeech_final.pth"}
        assert document["_meta"]["decoder"]["type"] == "greedy"


def test_messages_stay_out_of_subtitles(trained, corpus):
    """Without bf16 instructions --precision bf16 has something to say: on standard error."""
    done = run_script(
        "transcribe.py", "--model-path", trained[0] / "deepspeech_final.pth", "--precision", "bf16",
        "--format", "srt", corpus.folder / "val_1.flac", env=script_environment() | AVX2_ONLY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no native bf16 on this CPU; using fp32" in done.stderr
    time = r"\d\d:\d\d:\d\d,\d{3}"
    assert re.fullmatch(rf"1\n{time} --> {time}\n[A-Z' ]+\n", done.stdout)


def test_flags_of_deepspeech_pytorch_transcribe_too(trained, corpus, capsys):
    model, file = trained[0] / "deepspeech_final.pth", corpus.folder / "val_0.wav"
    assert not load_script("transcribe.py").main(["--model-path", str(model), "--audio-path", str(file)])
    (output,) = json.loads(capsys.readouterr().out)["output"]
    assert set(output) == {"transcription"}


@pytest.mark.parametrize("name", ["train.py", "test.py", "transcribe.py"])
def test_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        load_script(name).main(["--help"])
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_fine_tuning_starts_anew_from_the_weights(trained, corpus, tmp_path):
    model = trained[0] / "deepspeech_final.pth"
    arguments = [
        *corpus.flags(), "--continue-from", model, "--finetune", "--epochs", 1, "--lr", 1e-9, "--no-cuda",
        "--num-workers", 0, "--precision", "fp32", "--save-folder", tmp_path,
    ]  # fmt: skip
    assert not load_script("train.py").main(list(map(str, arguments)))
    before, after = load_checkpoint(model), load_checkpoint(tmp_path / "deepspeech_final.pth")
    assert len(after.training["history"]) == 1
    weights = "fc.0.module.1.weight"
    assert torch.allclose(before.state_dict[weights], after.state_dict[weights], atol=1e-6)


def wait_for(process: subprocess.Popen, happened) -> None:
    """Wait until something has happened; a process that ended before it is a failure."""
    end = time.monotonic() + PATIENCE
    while not happened():
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()}")
        if time.monotonic() > end:
            process.kill()
            pytest.fail("it never happened")
        time.sleep(0.002)  # between two looks at a folder


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "deepspeech_checkpoint_epoch_2.pth").state_dict


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module")
def long_corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """20 batches an epoch, enough to be interrupted in."""
    return make_corpus(tmp_path_factory.mktemp("long"), train=40, val=2)


STEADY = [*SMALL, "--hidden-size", "12", "--batch-size", "2", "--epochs", "2"]
STEADY += ["--checkpoint", "--checkpoint-per-iteration", "5"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, long_corpus: TinyCorpus) -> dict:
    """The weights that training ends with when nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    done = run_script("train.py", *long_corpus.flags(), *STEADY, "--save-folder", folder)
    assert done.returncode == 0, done.stderr
    return final_weights(folder)


@pytest.mark.slow
def test_killed_three_times_and_going_on_equals_an_uninterrupted_run(long_corpus, tmp_path, uninterrupted):
    """In the epoch from short to long, at its end, and in the shuffled one."""
    arguments = [*long_corpus.flags(), *STEADY, "--save-folder", tmp_path, "--load-auto-checkpoint"]
    for name in ("epoch_1_iter_5", "epoch_1_iter_20", "epoch_2_iter_10"):
        process = start_script("train.py", *arguments)
        wait_for(process, (tmp_path / f"deepspeech_checkpoint_{name}.pth").exists)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "deepspeech_checkpoint_epoch_2.pth").exists()
    done = run_script("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert_identical(final_weights(tmp_path), uninterrupted)


@pytest.mark.slow
def test_signals_save_and_going_on_equals_an_uninterrupted_run(long_corpus, tmp_path, uninterrupted):
    """The whole process group gets the signal, as from a terminal's Ctrl-C or from `timeout`."""
    start = arguments = [*long_corpus.flags(), *STEADY, "--num-workers", "1", "--save-folder", tmp_path]
    for name, number, status in (("1_iter_5", signal.SIGTERM, 143), ("2_iter_5", signal.SIGINT, 130)):
        process = start_script("train.py", *arguments, start_new_session=True)
        wait_for(process, (tmp_path / f"deepspeech_checkpoint_epoch_{name}.pth").exists)
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, errors
        assert "Traceback" not in errors
        path = checkpoints(tmp_path)[-1]
        message = f"{number.name}: saved {path}; resume with --continue-from {path}"
        assert errors.replace("\r", "\n").strip().splitlines()[-1] == message
        arguments = [*start, "--continue-from", path]
    done = run_script("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert_identical(final_weights(tmp_path), uninterrupted)
