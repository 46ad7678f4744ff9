"""Audio files of every kind, whole and broken."""

import math
import os

import numpy as np
import pytest
import soundfile

from deepspeech.audio.loading import duration, find_audio, load_audio, locate, segment, stream_audio
from deepspeech.errors import InputError

RATE = 16000
FOLDER = "no such audio file, but a folder; pass it with --folder or correct the path"


def tone(rate, hertz=440.0, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_any_rate_becomes_the_same_waveform(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype="FLOAT")
    waveform = load_audio(tmp_path / "a.wav", RATE)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - RATE // 2) <= 1
    inner = slice(800, -800)  # a resampler rings at the ends
    assert np.abs(waveform[inner] - tone(RATE)[: len(waveform)][inner]).max() < 1e-3


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "ULAW", 3e-2),
        ("a.flac", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 5e-2),
        ("a.mp3", "MPEG_LAYER_III", 5e-2),
    ],
)
def test_any_width_and_container(tmp_path, name, subtype, tolerance):
    soundfile.write(tmp_path / name, tone(RATE), RATE, subtype=subtype)
    waveform = load_audio(tmp_path / name, RATE)
    inner = slice(800, len(tone(RATE)) - 800)
    assert np.abs(waveform[inner] - tone(RATE)[inner]).max() < tolerance
    assert duration(tmp_path / name) == pytest.approx(len(waveform) / RATE)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(tmp_path, channels):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (300, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert np.allclose(load_audio(tmp_path / "a.wav", RATE), samples.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [RATE, 8000, 48000])
def test_a_file_of_one_sample(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", [0.1], rate)
    assert np.isfinite(load_audio(tmp_path / "a.wav", RATE)).all()


def refusal(function, *arguments):
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_blocks_add_up_to_the_waveform(tmp_path, name, rate):
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * rate + 17, 2))
    soundfile.write(tmp_path / name, waveform, rate)
    blocks = list(stream_audio(tmp_path / name, RATE, seconds=0.7))
    assert len(blocks) == 5
    assert np.array_equal(np.concatenate(blocks), load_audio(tmp_path / name, RATE))


def test_a_block_of_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.1], RATE)
    (block,) = stream_audio(tmp_path / "a.wav", RATE)
    assert len(block) == 1


@pytest.mark.parametrize("name", ["missing.wav", "folder.wav"])
def test_a_path_without_a_file_is_refused(tmp_path, name):
    (tmp_path / "folder.wav").mkdir()
    for function in (duration, lambda path: load_audio(path, RATE)):
        problem = "no such audio file; correct the path" if name == "missing.wav" else FOLDER
        assert refusal(function, tmp_path / name) == f"{tmp_path / name}: {problem}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty audio file"),
        (b"no audio at all" * 99, "not an audio file"),
        (bytes(5000), "not an audio"),
    ],
)
def test_a_file_without_audio_is_refused(tmp_path, content, words):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for function in (duration, lambda path: load_audio(path, RATE)):
        message = refusal(function, path)
        assert message.startswith(f"{path}: ")
        assert words in message


def test_a_header_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    assert "no samples" in refusal(duration, tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_by_its_header(tmp_path, name, share):
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 2 * RATE), RATE)
    os.truncate(path, int(share * path.stat().st_size))
    for function in (duration, lambda path: load_audio(path, RATE)):
        assert refusal(function, path).startswith(f"{path}: ")


def test_damage_inside_a_file_is_found_on_reading(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 2 * RATE), RATE)
    content = bytearray(path.read_bytes())
    content[20000:24000] = bytes(4000)
    path.write_bytes(content)
    assert duration(path) == 2.0
    for function in (load_audio, lambda path, rate: list(stream_audio(path, rate, 0.5))):
        assert "damaged audio" in refusal(function, path, RATE)


def test_nan_samples_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.1, np.nan, 0.2], RATE, subtype="FLOAT")
    assert "NaN" in refusal(load_audio, tmp_path / "a.wav", RATE)


def test_a_wav_whose_writer_could_not_seek_back_is_read(tmp_path):
    """Recorders that stream leave a size of 0xFFFFFFFF or 0 in the header."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE), RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(load_audio(path, RATE)) == RATE // 2


def test_real_speech_is_read_at_the_model_rate(shared):
    path = sorted((shared / "speech").rglob("*.wav"))[0]
    assert len(load_audio(path, RATE)) == pytest.approx(duration(path) * RATE, abs=1)


def test_a_folder_that_cannot_be_read_is_an_error_and_not_left_out(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="locked: cannot read the folder: Permission denied"):
        find_audio(tmp_path)


def test_folders_that_link_to_each_other_are_searched_once(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "other").symlink_to(tmp_path / other)
        (tmp_path / name / "itself").symlink_to(tmp_path / name)
        soundfile.write(tmp_path / name / f"{name}.wav", np.zeros(100), RATE)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    soundfile.write(outside / "c.oga", np.zeros(100), RATE, format="OGG")
    (tmp_path / "outside").symlink_to(outside)
    found = find_audio(tmp_path)
    assert sorted(os.path.basename(path) for path in found) == ["a.wav", "b.wav", "c.oga"]


def test_pipes_are_named_with_a_remedy(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "-"):
        assert "send it to --stream -" in refusal(duration, path)


SPANS = [(0, 0.5), (0.25, 1.375), (1.9, 2.0), (0.7, 2.9)]  # seconds


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.sph"])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_segment_is_that_stretch_of_the_whole_file(tmp_path, name, rate):
    suffix = {"a.sph": {"format": "NIST", "subtype": "PCM_16"}}
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / name, random.uniform(-0.5, 0.5, 3 * rate), rate, **suffix.get(name, {}))
    whole = load_audio(tmp_path / name, rate)
    for start, stop in SPANS:
        path = segment(tmp_path / name, start, stop)
        expected = whole[round(start * rate) : round(stop * rate)]
        assert np.array_equal(load_audio(path, rate), expected)
        assert np.array_equal(np.concatenate(list(stream_audio(path, rate, 0.3))), expected)
        assert duration(path) == pytest.approx(len(expected) / rate, abs=1 / rate)
    assert np.array_equal(load_audio(f"{tmp_path / name}#t=2.5", rate), whole[round(2.5 * rate) :])


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg"])
def test_a_segment_may_span_joined_streams(tmp_path, name):
    parts = [np.random.default_rng(seed).uniform(-0.5, 0.5, RATE) for seed in range(3)]
    with open(tmp_path / name, "wb") as joined:
        for index, part in enumerate(parts):
            soundfile.write(tmp_path / f"{index}{name}", part, RATE)
            joined.write((tmp_path / f"{index}{name}").read_bytes())
    whole = load_audio(tmp_path / name, RATE)
    for start, stop in SPANS:
        expected = whole[round(start * RATE) : round(stop * RATE)]
        assert np.array_equal(load_audio(segment(tmp_path / name, start, stop), RATE), expected)


def test_the_name_of_a_segment_keeps_its_times():
    for start, stop in [(0.0, 1.5), (12345.678901, 12345.7), (3600.0, math.inf)]:
        assert locate(segment("x/a b.wav", start, stop)) == ("x/a b.wav", start, stop)
    assert segment("a.wav", 12.5, 17.0) == "a.wav#t=12.5,17"
    assert locate("a#t=one.wav") == ("a#t=one.wav", 0, math.inf)


def test_a_segment_may_end_slightly_after_its_file_but_not_more(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(RATE, seconds=1), RATE)
    assert len(load_audio(segment(tmp_path / "a.flac", 0.5, 1.05), RATE)) == RATE // 2
    for start, stop in [(0.5, 1.5), (1, 2), (2, 3), (7, math.inf), (0.5, 0.5), (0.5, 0.2)]:
        for function in (duration, lambda path: load_audio(path, RATE)):
            message = refusal(function, segment(tmp_path / "a.flac", start, stop))
            assert message.startswith(f"{tmp_path}/a.flac: no audio from {start:g} s to ")
            length = ": it has 1.00 s" if start < stop else ""
            assert message.endswith(f"{length}; correct the times")


def test_a_segment_reads_only_its_stretch(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(RATE, seconds=30), RATE)
    soundfile.write(tmp_path / "a.ogg", tone(RATE, seconds=30), RATE)
    counts = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, count, *args, **kw: counts.append(count) or read(file, count, *args, **kw),
    )
    load_audio(segment(tmp_path / "a.wav", 20, 21), RATE)
    assert sum(counts) <= RATE
    counts.clear()
    load_audio(segment(tmp_path / "a.ogg", 20, 21), RATE)
    assert sum(counts) <= 21 * RATE


@pytest.mark.parametrize("content", [b"\xff\xfb\x90\x00" + b"garbage" * 999, b"no audio at all" * 99])
def test_a_broken_mp3_is_not_called_missing(tmp_path, content):
    (tmp_path / "a.mp3").write_bytes(content)
    message = refusal(load_audio, tmp_path / "a.mp3", RATE)
    assert message.startswith(f"{tmp_path}/a.mp3: not an audio file that can be read")
    assert "exist" not in message
