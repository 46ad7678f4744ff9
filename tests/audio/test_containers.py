"""Files whose headers do not say how much audio follows: decoded to the end, or refused in one line."""

import os
import struct

import numpy as np
import pytest
import soundfile

from deepspeech.audio.containers import STREAMED
from deepspeech.audio.loading import duration, load_audio, stream_audio
from deepspeech.errors import InputError
from tests.audio.reference import decode, encode, needs_ffmpeg

RATE = 16000
LOSSY = 2e-2  # another decoder's rounding and dither
# what ffmpeg decodes otherwise, or not at all
UNLIKE_FFMPEG = {
    "DWVW_16",
    "DWVW_24",
    "NMS_ADPCM_16",
    "NMS_ADPCM_24",
    "NMS_ADPCM_32",
    "G721_32",
    "G723_24",
    "G723_40",
}


def speech(seconds=3.0, seed=0, rate=RATE):
    """Tones and noise with pauses: encoders of variable bit rate vary it."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.05, len(time))
    return ((np.sin(2 * np.pi * 300 * time) * 0.3 + noise) * (np.sin(6 * time) > 0)).astype(np.float32)


def read(path, rate=RATE):
    """The waveform, after a check that blocks and the duration agree with it."""
    waveform = load_audio(path, rate)
    for seconds in (0.1, 0.7):
        assert np.array_equal(np.concatenate(list(stream_audio(path, rate, seconds))), waveform)
    assert duration(path) == pytest.approx(len(waveform) / rate)
    return waveform


def read_or_refuse(path, rate=RATE):
    """The waveform, or the message of a refusal, which is one line."""
    try:
        return load_audio(path, rate)
    except InputError as error:
        return one_line(error)


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


def assert_equal_to_ffmpeg(path, *parts, rate=RATE, tolerance=LOSSY):
    expected = np.concatenate([decode(part, rate) for part in parts or (path,)])
    waveform = read(path, rate)
    assert len(waveform) == len(expected)
    assert np.abs(waveform - expected).max() < tolerance


@needs_ffmpeg
@pytest.mark.parametrize("flags", [("-q:a", 4), ("-b:a", "48k"), ("-b:a", "8k"), ("-b:a", "160k")])
@pytest.mark.parametrize("tags", [(), ("-id3v2_version", 0), ("-write_id3v1", 1, "-metadata", "title=a")])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_mp3_without_a_count_of_frames(tmp_path, flags, tags, rate):
    path = encode(tmp_path, "a.mp3", speech(rate=rate), rate, *flags, "-write_xing", 0, *tags)
    assert_equal_to_ffmpeg(path, rate=rate)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_joined_and_chained_streams(tmp_path, name):
    parts = [encode(tmp_path, f"{seed}{name}", speech(2, seed), RATE) for seed in range(3)]
    joined = tmp_path / name
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    rate = soundfile.info(parts[0]).samplerate
    assert_equal_to_ffmpeg(joined, *parts, rate=rate, tolerance=5e-2)


@needs_ffmpeg
def test_joined_streams_of_different_rates(tmp_path):
    for suffix in ("mp3", "ogg"):
        parts = [encode(tmp_path, f"{rate}.{suffix}", speech(1, rate=rate), rate) for rate in (8000, 44100)]
        joined = tmp_path / f"a.{suffix}"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert np.array_equal(read(joined), np.concatenate([load_audio(part, RATE) for part in parts]))


@needs_ffmpeg
def test_mp3_that_counts_fewer_frames_than_follow(tmp_path):
    first = encode(tmp_path, "a.mp3", speech(1), RATE, "-id3v2_version", 0)
    second = encode(tmp_path, "b.mp3", speech(2, 1), RATE, "-id3v2_version", 0, "-write_xing", 0)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert len(load_audio(first, RATE)) >= 3 * RATE


@needs_ffmpeg
@pytest.mark.parametrize("form", ["flac", "wav", "au", "aiff", "caf", "w64"])
def test_files_that_were_written_to_a_pipe(tmp_path, form):
    waveform = speech()
    codec = ("-c:a", "pcm_s16be") if form in ("au", "aiff", "caf") else ()
    path = encode(tmp_path, f"a.{form}", waveform, RATE, *codec, "-f", form)
    if not isinstance(read_back := read_or_refuse(path), str):
        assert len(read_back) == len(waveform)
        assert np.abs(read_back - waveform).max() < 1e-4


def formats():
    for form in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(form):
            if form not in ("RAW", "SD2") and soundfile.check_format(form, subtype):
                yield form, subtype


def write(folder, form, subtype):
    path = folder / f"a.{form.lower()}"
    rate = 8000 if form == "WVE" or subtype in ("GSM610", "ALAW", "ULAW") else RATE
    try:
        soundfile.write(path, speech(1, rate=rate), rate, format=form, subtype=subtype)
    except soundfile.LibsndfileError:
        pytest.skip("libsndfile does not write it")
    if not path.stat().st_size:
        pytest.skip("libsndfile does not write it")
    return path, rate


@needs_ffmpeg
@pytest.mark.parametrize(("form", "subtype"), list(formats()))
def test_every_format_equals_ffmpeg_or_is_refused(tmp_path, form, subtype):
    path, rate = write(tmp_path, form, subtype)
    if isinstance(waveform := read_or_refuse(path, rate), str):
        assert form not in ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AU", "CAF", "NIST")
        assert form != "AIFF" or subtype == "DWVW_12"
    elif subtype not in UNLIKE_FFMPEG:
        assert np.array_equal(waveform, read(path, rate))
        expected = decode(path, rate)
        assert len(waveform) >= len(expected) > 0.95 * len(waveform)  # ffmpeg drops the end of some
        assert np.abs(waveform[: len(expected)] - expected).max() < 5e-2


@pytest.mark.parametrize(("form", "subtype"), list(formats()))
@pytest.mark.parametrize("damage", ["cut", "zero", "unknown", "half", "double"])
def test_damaged_lengths_never_give_fewer_samples(tmp_path, form, subtype, damage):
    """Every field of the header that holds the length of the file or of the samples is overwritten."""
    path, rate = write(tmp_path, form, subtype)
    if isinstance(whole := read_or_refuse(path, rate), str):
        return
    content = bytearray(path.read_bytes())
    if damage == "cut":
        os.truncate(path, int(0.6 * len(content)))
        with pytest.raises(InputError) as caught:
            load_audio(path, rate)
        one_line(caught.value)
        return
    for place, code, value in list(length_fields(content, form)):
        limit = 256 ** struct.calcsize(code) - 1
        wrong = {"zero": 0, "unknown": limit, "half": value // 2, "double": min(2 * value, limit)}[damage]
        content[place : place + struct.calcsize(code)] = struct.pack(code, wrong)
        path.write_bytes(content)
        if not isinstance(waveform := read_or_refuse(path, rate), str):
            assert len(waveform) >= len(whole)
            assert np.abs(waveform[: len(whole)] - whole).max() < 1e-6
        content[place : place + struct.calcsize(code)] = struct.pack(code, value)


def length_fields(content, form):
    """Where a header of chunks has sizes: place, form and value."""
    names = {"AIFF": (b"SSND", ">I"), "CAF": (b"data", ">Q"), "W64": (b"data\xf3", "<Q")}
    name, code = names.get(form, (b"data", "<I"))
    place = content.find(name, 8, 8192)
    if place > 0 and form in ("WAV", "WAVEX", "RF64", "AIFF", "CAF", "W64"):
        start = place + (16 if form == "W64" else 4)
        yield start, code, struct.unpack_from(code, content, start)[0]
    if form in ("WAV", "WAVEX", "AIFF"):
        yield 4, code, struct.unpack_from(code, content, 4)[0]
    if form == "AU":
        yield 8, ">I", struct.unpack_from(">I", content, 8)[0]
    if form == "FLAC":
        yield 22, ">I", struct.unpack_from(">I", content, 22)[0]


@pytest.mark.parametrize("sizes", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (STREAMED, STREAMED), (100, 0)])
def test_wav_whose_sizes_were_never_written(tmp_path, sizes):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), RATE)
    whole, content = load_audio(path, RATE), bytearray(path.read_bytes())
    content[4:8], content[40:44] = (struct.pack("<I", size) for size in sizes)
    path.write_bytes(content)
    assert np.array_equal(read(path), whole)


def test_a_wav_over_4_gib_whose_size_wrapped(tmp_path):
    """A sparse file: 8-bit silence, after which there is a sample that only the right size reaches."""
    path, samples = tmp_path / "a.wav", 2**32 + 1000
    soundfile.write(path, np.zeros(1000), 48000, subtype="PCM_U8")
    with open(path, "r+b") as file:
        file.truncate(44 + samples)
    assert duration(path) == pytest.approx(samples / 48000)


@needs_ffmpeg
def test_what_follows_the_audio(tmp_path):
    path = encode(tmp_path, "a.mp3", speech(), RATE)
    content, whole = path.read_bytes(), load_audio(path, RATE)
    for tail in (b"TAG".ljust(128, b"x"), bytes(1000), b"ID3\x04\0\0\0\0\0\x05hello"):
        path.write_bytes(content + tail)
        assert np.array_equal(read(path), whole)
    path.write_bytes(content + b"no audio")
    with pytest.raises(InputError, match=r"8 bytes after byte .* do not belong to it"):
        load_audio(path, RATE)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.ogg", "a.opus"])
def test_a_flipped_bit_in_ogg_is_refused(tmp_path, name):
    path = encode(tmp_path, name, speech(), RATE)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for function in (duration, lambda path: load_audio(path, RATE)):
        with pytest.raises(InputError, match="wrong checksum"):
            function(path)


@needs_ffmpeg
def test_damaged_mp3_writes_nothing_to_the_terminal(tmp_path, capfd):
    path = encode(tmp_path, "a.mp3", speech(10), RATE, "-b:a", "64k")
    content = bytearray(path.read_bytes())
    content[20000:20040] = os.urandom(40)
    path.write_bytes(content)
    assert not isinstance(refusal := read_or_refuse(path), str) or "damaged audio" in refusal
    assert capfd.readouterr() == ("", "")


@needs_ffmpeg
def test_an_mp3_that_starts_within_a_stream(tmp_path):
    """Its first frames refer to bytes that are not there: it is refused, or nothing after them is lost."""
    path = encode(tmp_path, "a.mp3", speech(), RATE, "-b:a", "48k", "-write_xing", 0, "-id3v2_version", 0)
    path.write_bytes(path.read_bytes()[1000:])
    if isinstance(waveform := read_or_refuse(path), str):
        assert "damaged audio" in waveform
    else:
        assert len(waveform) >= len(decode(path, RATE)) - 1152
