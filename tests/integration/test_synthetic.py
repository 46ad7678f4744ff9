"""The synthetic corpus: test data never occurs in the training set, and a seed reproduces all files."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import synthetic
from deepspeech.audio.loading import load_audio
from deepspeech.corpora import espeak
from deepspeech.data.corpus import load_corpus
from deepspeech.data.manifest import read_manifest, read_transcript
from deepspeech.errors import InputError
from deepspeech.labels import Labels

espeakng_loader = pytest.importorskip("espeakng_loader")
ROOT = Path(__file__).parents[2]
SIZES = {"train": 40, "val": 5, "test": 8}


def make(folder: Path, seed: int) -> Path:
    synthetic.make_corpus(folder, synthetic.plan(SIZES, seed))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus"), seed=1)


def speak(text: str, voice: str) -> np.ndarray:
    """Speech of another process: espeak-ng must not have spoken in one that makes a corpus."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(speak_here, (text, voice))


def speak_here(text: str, voice: str) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "espeak-ng-data")
        espeak.link_data(data, voice.split("+")[1])
        return espeak.Synthesiser(data).speak(text, voice, speed=160, pitch=50, pause=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_sentences_and_voices_are_not_in_the_training_set(seed):
    lines = synthetic.plan(synthetic.DEFAULT_SIZES, seed)
    for what in (lambda line: line.text, lambda line: line.voice, lambda line: line.voice.split("+")[1]):
        train, val, test = ({what(line) for line in lines[split]} for split in ("train", "val", "test"))
        assert not train & test
        assert not train & val
        assert not val & test


def test_held_out_sentences_have_words_of_the_training_set():
    lines = synthetic.plan(synthetic.DEFAULT_SIZES, seed=0)
    train, val, test = (
        {word for line in lines[split] for word in line.text.split()} for split in ("train", "val", "test")
    )
    assert val | test <= train


def test_every_voice_exists():
    timbres = Path(espeakng_loader.get_data_path()) / "voices" / "!v"  # espeak-ng ignores unknown ones
    for timbre in (timbre for split in synthetic.TIMBRES.values() for timbre in split):
        assert timbre in espeak.RANDOM_TIMBRES or (timbres / timbre).is_file(), timbre
    for accent in synthetic.ACCENTS:
        assert len(speak("HELLO", f"{accent}+m1"))
    with pytest.raises(InputError, match="no such voice"):
        speak("HELLO", "en-nowhere+m1")


def test_random_timbres_differ_in_sound():
    def brightness(voice: str) -> float:
        spectrum = np.abs(np.fft.rfft(speak("HELLO", voice)))
        return (spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() / len(spectrum)

    sounds = [brightness(f"en+{timbre}") for timbre in espeak.RANDOM_TIMBRES[:4]]
    assert max(sounds) > 1.05 * min(sounds)


def test_manifests_load_and_agree_with_the_files(corpus):
    labels = Labels.load(ROOT / "labels.json")
    for split, size in SIZES.items():
        utterances, faults = read_manifest(corpus / f"{split}_manifest.csv")
        assert not faults
        durations = [utterance.duration for utterance in utterances]
        assert len(durations) == size
        assert durations == sorted(durations)
        for utterance in utterances:
            waveform = load_audio(utterance.audio_path, synthetic.SAMPLE_RATE)
            assert utterance.duration == pytest.approx(len(waveform) / synthetic.SAMPLE_RATE, abs=1e-3)
            assert -36 < 20 * np.log10(np.sqrt(np.mean(waveform**2))) < -17  # dB of full scale
        assert len(load_corpus(corpus / f"{split}_manifest.csv", labels)) == size


def test_planned_sentences_are_the_transcripts(corpus):
    for lines in synthetic.plan(SIZES, seed=1).values():
        for line in lines:
            assert read_transcript(corpus / "txt" / f"{line.name}.txt") == line.text


def test_longer_sentences_last_longer(corpus):
    utterances, _ = read_manifest(corpus / "train_manifest.csv")
    words = [len(read_transcript(utterance.transcript_path).split()) for utterance in utterances]
    assert np.corrcoef(words, [utterance.duration for utterance in utterances])[0, 1] > 0.6


def test_the_same_seed_gives_the_same_files_and_another_seed_does_not(corpus, tmp_path):
    assert contents(make(tmp_path / "same", seed=1)) == contents(corpus)
    assert contents(make(tmp_path / "other", seed=2)) != contents(corpus)


def test_the_letter_a_is_not_spoken_as_an_article():
    article = speak("ENTER a B", "en-us+m1")  # lower case is passed on unchanged
    letter = speak("ENTER A B", "en-us+m1")
    assert len(letter) > 1.05 * len(article)


def test_the_articles_of_own_sentences_are_no_letters():
    assert synthetic.with_articles("A LATTE WITH A SHOT") == "a LATTE WITH a SHOT"
    assert synthetic.with_articles("SPELL R A B A") == "SPELL R A B A"


def test_own_sentences_for_some_hours(tmp_path):
    texts = tmp_path / "orders.txt"
    texts.write_text("A LARGE COFFEE\n\nTWO SMALL TEAS PLEASE\n")
    corpus = tmp_path / "corpus"
    flags = "--hours", "0.01", "--val", "2", "--test", "3", "--sample-rate", "8000"
    result = run("--target-dir", str(corpus), "--texts", str(texts), *flags)
    assert result.returncode == 0, result.stderr
    seconds = {}
    for split in synthetic.SPLITS:
        utterances, _ = read_manifest(corpus / f"{split}_manifest.csv")
        said = {read_transcript(each.transcript_path) for each in utterances}
        assert said <= {"A LARGE COFFEE", "TWO SMALL TEAS PLEASE"}
        assert {soundfile.info(each.audio_path).samplerate for each in utterances} == {8000}
        seconds[split] = [each.duration for each in utterances]
    assert 36 <= sum(seconds["train"]) < 36 + max(seconds["train"])
    assert [len(seconds[split]) for split in ("val", "test")] == [2, 3]
    assert len(list((corpus / "wav").iterdir())) == sum(map(len, seconds.values()))


@pytest.mark.parametrize("content", [None, " \n"])
def test_own_sentences_must_be_there(content, tmp_path):
    texts = tmp_path / "orders.txt"
    if content:
        texts.write_text(content)
    result = run("--target-dir", str(tmp_path / "corpus"), "--texts", str(texts))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "orders.txt" in line


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "data" / "synthetic.py", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_script_writes_the_corpus(corpus, tmp_path):
    sizes = [f"--{split}={size}" for split, size in SIZES.items()]
    result = run("--target-dir", str(tmp_path / "corpus"), "--seed=1", *sizes)
    assert result.returncode == 0, result.stderr
    assert "test_manifest.csv: 8 utterances" in result.stderr
    assert "Speaking: 100%" in result.stderr
    assert contents(tmp_path / "corpus") == contents(corpus)


def test_mistakes_are_reported_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: the corpus cannot be written: .*Not a directory"):
        synthetic.main(["--target-dir", str(tmp_path / "file")])
    with pytest.raises(InputError, match=r"--train 0: must be positive"):
        synthetic.main(["--train", "0"])


def test_without_the_synthesiser_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as where it is not installed
    with pytest.raises(InputError, match="pip install espeakng-loader"):
        synthetic.main(["--target-dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())
