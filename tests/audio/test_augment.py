"""Augmentation of waveforms, and of a training run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import noise_inject
from deepspeech.audio.augment import (
    Augmentation,
    AugmentConfig,
    add_noise,
    audio_files,
    change_speed,
    limit,
    read_noise,
    reverberate,
    rms,
    telephone,
)
from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.audio.spec_augment import spec_augment
from deepspeech.checkpoint.format import load_model
from deepspeech.commands import train
from deepspeech.data.corpus import Corpus, load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader, DataConfig
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import evaluate
from deepspeech.labels import Labels
from tests.audio.tones import RATE, pitch, tone
from tests.conftest import checkpoints, load_script


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Noise files of all awkward kinds, and impulse responses."""
    folder, random = tmp_path_factory.mktemp("augment"), np.random.default_rng(0)
    noise, rooms = folder / "noise", folder / "rooms"
    (noise / "below").mkdir(parents=True)
    rooms.mkdir()
    for name, seconds, rate in (("long.wav", 20, RATE), ("short.flac", 0.2, 44100), ("low.ogg", 3, 8000)):
        soundfile.write(noise / name, 0.1 * random.standard_normal((int(seconds * rate), 2)), rate)
    soundfile.write(noise / "below/silent.wav", np.zeros(RATE), RATE)
    soundfile.write(noise / "one_sample.wav", np.full(1, 0.5), 22050)
    soundfile.write(noise / "empty.wav", np.zeros(0), RATE)
    soundfile.write(noise / "broken.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (noise / "README.txt").write_text("not audio")
    soundfile.write(rooms / "room.wav", random.uniform(-1, 1, 4000) * np.exp(-np.arange(4000) / 500), RATE)
    soundfile.write(rooms / "silent.wav", np.zeros(100), 8000)
    return {"noise": noise, "rooms": rooms}


@pytest.fixture(scope="module")
def everything(folders: dict[str, Path]) -> AugmentConfig:
    return AugmentConfig(
        speed_volume_perturb=True,
        noise_dir=str(folders["noise"]),
        noise_prob=1.0,
        rir_dir=str(folders["rooms"]),
        rir_prob=1.0,
        telephone_prob=0.5,
        spec_augment="LD",
    )


@pytest.mark.parametrize("level", [0.0, 0.5, 10.0])
def test_noise_level_is_a_ratio_of_amplitudes(random, level):
    speech, noise = tone(300, 1), random.uniform(-1, 1, RATE).astype(np.float32)
    mixed = add_noise(speech, noise, level)
    assert mixed.dtype == np.float32
    assert rms(mixed - speech) == pytest.approx(level * rms(speech), rel=1e-3)


def test_noise_by_signal_to_noise_ratio(folders, random):
    config = AugmentConfig(noise_dir=str(folders["noise"]), noise_prob=1.0, noise_snr=(20.0, 20.0))
    augment = Augmentation(config, RATE)
    augment.noises = [folders["noise"] / "long.wav"]
    speech = tone(300, 1)
    noise = augment.waveform(speech, random) - speech
    assert 20 * np.log10(rms(speech) / rms(noise)) == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize(
    "noise", [np.zeros(100), np.full(100, 1e-9), np.full(100, np.nan), np.full(100, np.inf)]
)
def test_noise_without_energy_changes_nothing(noise):
    speech = tone(300, 1)[:100]
    assert add_noise(speech, noise.astype(np.float32), 0.5) is speech


def test_noise_of_another_rate_keeps_its_pitch(tmp_path, random):
    soundfile.write(tmp_path / "noise.wav", tone(1000, 4, 44100), 44100)
    noise = read_noise(tmp_path / "noise.wav", 2 * RATE, RATE, random)
    assert len(noise) == 2 * RATE
    assert pitch(noise) == pytest.approx(1000, rel=1e-3)


def test_short_noise_is_repeated(tmp_path, random):
    soundfile.write(tmp_path / "noise.wav", np.arange(100) / 200, RATE, subtype="FLOAT")
    noise = read_noise(tmp_path / "noise.wav", 1000, RATE, random)
    np.testing.assert_array_equal(noise[:900], noise[100:])
    np.testing.assert_allclose(np.sort(noise[:100]), np.arange(100) / 200)


def test_the_part_of_a_long_noise_file_is_random(tmp_path):
    soundfile.write(tmp_path / "noise.wav", np.arange(10000) / 10000, RATE, subtype="FLOAT")
    cuts = [read_noise(tmp_path / "noise.wav", 2000, RATE, np.random.default_rng(seed)) for seed in range(40)]
    starts = [cut[0] for cut in cuts]
    assert min(starts) < 0.2
    assert 0.6 < max(starts) <= 0.8
    for cut in cuts:
        np.testing.assert_allclose(np.diff(cut), 1e-4, rtol=1e-2)


def test_noise_folder_is_searched_and_checked(folders, tmp_path):
    names = {path.name for path in audio_files(folders["noise"], "--noise-dir")}
    assert names == {"long.wav", "short.flac", "low.ogg", "silent.wav", "one_sample.wav", "broken.wav"}
    with pytest.raises(InputError, match=r"--noise-dir .*nowhere: no such folder"):
        audio_files(tmp_path / "nowhere", "--noise-dir")
    with pytest.raises(InputError, match=r"--noise-dir .*: no audio files there"):
        audio_files(tmp_path, "--noise-dir")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(InputError, match=r"--rir-dir: .*text.wav.*replace or remove it"):
        audio_files(tmp_path, "--rir-dir")


def test_a_room_with_only_direct_sound_changes_nothing():
    response = np.zeros(50, np.float32)
    response[20] = 0.7
    np.testing.assert_allclose(reverberate(tone(300, 0.5), response), tone(300, 0.5), atol=1e-5)


@pytest.mark.parametrize(("samples", "echoes"), [(500, 80), (20000, 3000), (300, 5000), (1, 1)])
def test_reverberation_is_convolution_at_the_same_loudness(random, samples, echoes):
    speech = random.standard_normal(samples).astype(np.float32)
    response = np.concatenate([[1.0], 0.3 * random.uniform(-1, 1, echoes)]).astype(np.float32)
    wet = np.convolve(speech, response)[:samples]
    np.testing.assert_allclose(reverberate(speech, response), wet * rms(speech) / rms(wet), atol=1e-4)


@pytest.mark.parametrize(("hertz", "passes"), [(60, False), (400, True), (3000, True), (6000, False)])
def test_telephone_band(hertz, passes):
    narrow = telephone(tone(hertz, 1), RATE)
    assert len(narrow) == RATE
    level = rms(narrow) / rms(tone(hertz, 1))
    assert level == pytest.approx(1, abs=0.1) if passes else level < 0.01


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_moves_length_and_pitch_alike(factor):
    played = change_speed(tone(440, 1.0), factor, RATE)
    assert len(played) == pytest.approx(RATE / factor, abs=2)
    assert pitch(played) == pytest.approx(440 * factor, rel=0.01)


def test_speed_perturbation_takes_each_of_three_speeds(random):
    augment, waveform = Augmentation(AugmentConfig(speed_perturb=True), RATE), tone(440, 0.5)
    lengths = {len(augment.waveform(waveform, random)) for _ in range(30)}
    assert sorted(lengths) == pytest.approx([0.5 * RATE / factor for factor in (1.1, 1, 0.9)], abs=2)


def test_a_waveform_beyond_full_scale_is_scaled_down():
    loud = tone(300, 0.1) * 10
    np.testing.assert_allclose(limit(loud), loud / np.abs(loud).max(), atol=1e-6)
    assert limit(tone(300, 0.1)).max() == pytest.approx(0.3, abs=0.01)


def test_gain_is_in_decibels(random):
    config = AugmentConfig(speed_volume_perturb=True, tempo_range=(1.0, 1.0), gain_range=(6.0, 6.0))
    louder = Augmentation(config, RATE).waveform(tone(300, 1), random)
    assert rms(louder) == pytest.approx(10 ** (6 / 20) * rms(tone(300, 1)), rel=1e-3)


@settings(max_examples=100)
@given(samples=st.integers(0, 40000), kind=st.sampled_from(["speech", "silence", "loud", "faint"]))
def test_any_clip_with_any_noise_is_finite(everything, samples, kind):
    augment, random = Augmentation(everything, RATE), np.random.default_rng(samples)
    scale = {"speech": 0.3, "silence": 0, "loud": 1, "faint": 1e-7}[kind]
    waveform = augment.waveform((scale * random.standard_normal(samples)).astype(np.float32), random)
    assert waveform.dtype == np.float32
    assert np.isfinite(waveform).all()
    assert np.abs(waveform).max(initial=0) <= 1
    if len(waveform):
        features = Spectrogram()(torch.from_numpy(waveform)[None])[0][0]
        assert spec_augment(features, augment.policy, random).isfinite().all()


@settings(max_examples=40)
@given(
    noise=st.integers(0, 3000),
    clip=st.integers(0, 3000),
    rate=st.sampled_from([8000, 16000, 44100]),
    silent=st.booleans(),
)
def test_noise_of_any_length_on_a_clip_of_any_length(tmp_path_factory, noise, clip, rate, silent):
    random = np.random.default_rng([noise, clip])
    path = tmp_path_factory.getbasetemp() / "any_noise.wav"
    soundfile.write(path, 0 * tone(1, 1)[:noise] if silent else random.uniform(-1, 1, noise), rate)
    cut = read_noise(path, clip, RATE, random)
    assert cut.shape == (clip,)
    speech = random.uniform(-1, 1, clip).astype(np.float32)
    assert np.isfinite(add_noise(speech, cut, 0.5)).all()


def test_without_options_nothing_changes(random):
    augment, waveform = Augmentation(AugmentConfig(), RATE), 3 * tone(300, 1)  # beyond full scale
    assert augment.waveform(waveform, random) is waveform
    assert augment.policy is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo_range": (0.9, 1.1)}, "--tempo-range .*has no effect without --speed-volume-perturb"),
        ({"noise_prob": 0.9}, "--noise-prob 0.9: has no effect without --noise-dir"),
        ({"rir_prob": 0.9}, "has no effect without --rir-dir"),
        ({"speed_volume_perturb": True, "gain_range": (3.0, -3.0)}, "swap them"),
        ({"noise_dir": "noise", "noise_min": 0.7}, "--noise-min 0.7: .*swap them"),
        ({"speed_volume_perturb": True, "tempo_range": (0.0, 1.0)}, "--tempo-range .*0.5 to 2"),
        ({"telephone_prob": 1.5}, "--telephone-prob 1.5: must be from 0 to 1"),
        ({"spec_augment": "XL"}, "--spec-augment XL: must be one of"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AugmentConfig(**options)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    rows = []
    for index in range(8):
        waveform = 0.2 * random.standard_normal(4000 + 400 * index)
        soundfile.write(folder / f"{index}.wav", waveform, RATE)
        (folder / f"{index}.txt").write_text("AB")
        rows.append(f"{index}.wav,{index}.txt\n")
    (folder / "corpus.csv").write_text("".join(rows))
    return folder / "corpus.csv"


@pytest.fixture(scope="module")
def corpus(manifest: Path) -> Corpus:
    return load_corpus(manifest, Labels(["_", "A", "B"]))


def loader_of(corpus: Corpus, augment: Augmentation | None, num_workers: int = 0) -> AudioDataLoader:
    dataset = SpectrogramDataset(corpus, Labels(["_", "A", "B"]), augment=augment)
    return AudioDataLoader(dataset, BucketingSampler(corpus.durations, 2), num_workers)


def features_of(loader: AudioDataLoader, epoch: int, start: int = 0) -> dict[int, torch.Tensor]:
    """By utterance."""
    loader.batch_sampler.set_epoch(epoch, start)
    return {
        index: features[:, :length]
        for batch in loader
        for index, features, length in zip(batch.indices, batch.features, batch.lengths, strict=True)
    }


def same(one: dict[int, torch.Tensor], other: dict[int, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[index], other[index]) for index in one)


def test_augmentation_depends_on_seed_epoch_and_utterance_only(corpus, everything):
    epoch = features_of(loader_of(corpus, Augmentation(everything, RATE, 1)), 1)
    assert same(epoch, features_of(loader_of(corpus, Augmentation(everything, RATE, 1), num_workers=2), 1))
    assert not same(epoch, features_of(loader_of(corpus, Augmentation(everything, RATE, 1)), 2))
    assert not same(epoch, features_of(loader_of(corpus, Augmentation(everything, RATE, 2)), 1))


def test_a_resumed_epoch_continues_with_the_same_augmentation(corpus, everything):
    loader = loader_of(corpus, Augmentation(everything, RATE, 1))
    whole = features_of(loader, 1)
    rest = features_of(loader, 1, start=2)
    assert len(rest) == 4
    assert same(rest, {index: whole[index] for index in rest})


def test_training_resumed_within_an_epoch_equals_uninterrupted_training(manifest, folders, tmp_path):
    (tmp_path / "labels.json").write_text('["_", "A", "B"]')
    flags = f"--train-manifest {manifest} --val-manifest {manifest} --epochs 2 --checkpoint --no-cuda"
    flags += " --batch-seconds 1 --speed-volume-perturb --spec-augment SS --num-workers 0"
    flags += f" --noise-dir {folders['noise']} --rir-dir {folders['rooms']}"
    whole = (
        f"--hidden-size 8 --hidden-layers 1 --labels-path {tmp_path}/labels.json --checkpoint-per-iteration 1"
    )
    assert train.main([*flags.split(), *whole.split(), "--save-folder", str(tmp_path / "whole")]) == 0
    saved = checkpoints(tmp_path / "whole")
    assert "epoch_2_iter" in saved[-3].name
    rest = ["--continue-from", str(saved[-3]), "--save-folder", str(tmp_path / "rest")]
    assert train.main([*flags.split(), *rest]) == 0
    (end,) = checkpoints(tmp_path / "rest")
    assert end.name == saved[-1].name
    one, other = (torch.load(path, weights_only=True)["state_dict"] for path in (saved[-1], end))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def noisy_run(manifest: Path, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that was trained with noise a thousand times as loud as speech."""
    folder = tmp_path_factory.mktemp("noisy_run")
    (folder / "labels.json").write_text('["_", "A", "B"]')
    flags = f"--labels-path {folder}/labels.json --train-manifest {manifest} --val-manifest {manifest}"
    flags += f" --save-folder {folder} --epochs 1 --hidden-size 8 --hidden-layers 1 --num-workers 0 --no-cuda"
    flags += f" --noise-dir {folders['noise']} --noise-prob 1 --noise-min 1000 --noise-max 1000"
    flags += " --spec-augment --speed-volume-perturb --telephone-prob 1"
    assert train.main(flags.split()) == 0
    return folder


def test_noise_reaches_the_training_loader_only(manifest, corpus, folders, noisy_run):
    model, device = load_model(noisy_run / "deepspeech_final.pth"), torch.device("cpu")
    config = AugmentConfig(noise_dir=str(folders["noise"]), noise_prob=1.0)
    options = str(manifest), model, DataConfig(num_workers=0), device
    clean = features_of(loader_of(corpus, None), 0)
    assert same(clean, features_of(train.make_loader(*options), 0))
    assert not same(clean, features_of(train.make_loader(*options, Augmentation(config, RATE)), 0))


def test_validation_and_inference_are_without_noise(manifest, corpus, noisy_run, capsys):
    path = noisy_run / "deepspeech_final.pth"
    config = torch.load(path, weights_only=True)["config"]
    assert not any(word in str(config) for word in ("noise", "tempo", "augment"))

    model = load_model(path)
    clean = evaluate(model, loader_of(corpus, None), GreedyDecoder(model.labels))
    with open(noisy_run / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["val_loss"]) == pytest.approx(clean.loss, rel=1e-4)
    test_flags = ["--model-path", str(path), "--test-manifest", str(manifest), "--num-workers", "0"]
    load_script("test.py").main(test_flags)
    assert f"CER {clean.characters}" in capsys.readouterr().out

    audio = corpus[0].audio_path
    features, lengths = Spectrogram()(torch.from_numpy(load_audio(audio, RATE))[None])
    text = GreedyDecoder(model.labels).decode(*model(features, lengths))[0][0].text
    load_script("transcribe.py").main(["--model-path", str(path), audio])
    assert json.loads(capsys.readouterr().out)["output"][0]["transcription"] == text


def test_noise_inject_mixes_at_the_level_that_training_would(folders, tmp_path):
    soundfile.write(tmp_path / "speech.wav", tone(300, 1), RATE, subtype="FLOAT")
    flags = f"--input-path {tmp_path}/speech.wav --noise-path {folders['noise']}/long.wav --noise-level 0.25"
    flags += f" --output-path {tmp_path}/noisy.wav"
    assert noise_inject.main(flags.split()) == 0
    noise = load_audio(tmp_path / "noisy.wav", RATE) - tone(300, 1)
    assert rms(noise) == pytest.approx(0.25 * rms(tone(300, 1)), rel=0.01)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--input-path nothing.wav", "nothing.wav: no such audio file"),
        ("--noise-level -1", "--noise-level -1.0: must not be negative"),
        ("--noise-path nothing.wav", "nothing.wav: cannot read noise"),
        ("--output-path noisy.xyz", "--output-path noisy.xyz: cannot write audio"),
    ],
)
def test_noise_inject_names_the_mistake(folders, flags, message):
    noise = str(folders["noise"] / "long.wav")
    with pytest.raises(InputError, match=message):
        noise_inject.main(["--input-path", noise, "--noise-path", noise, *flags.split()])
