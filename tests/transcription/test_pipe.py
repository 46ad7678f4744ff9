"""Samples from a pipe: raw and WAV, cut anywhere, of any promised length."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from deepspeech.errors import InputError
from deepspeech.transcription.pipe import Encoding, read_pipe

RAW = Encoding(16000)


class Trickle(io.RawIOBase):
    """A pipe whose writer sends a few bytes at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes = data, sizes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        size = min(self.sizes[0], len(buffer))
        self.sizes = [*self.sizes[1:], self.sizes[0]]
        piece, self.data = self.data[:size], self.data[size:]
        buffer[: len(piece)] = piece
        return len(piece)


def read(data: bytes, raw: Encoding = RAW, sizes: tuple[int, ...] = (1 << 16,)):
    """All samples, and the rates in the order in which they come."""
    pairs = list(read_pipe(io.BufferedReader(Trickle(data, list(sizes))), raw))
    rates = [rate for index, (_, rate) in enumerate(pairs) if not index or pairs[index - 1][1] != rate]
    return np.concatenate([np.zeros(0, np.float32), *(samples for samples, _ in pairs)]), rates


def wav(samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format="WAV")
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


@given(st.binary(max_size=300), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 3))
def test_raw_bytes_are_samples_wherever_they_are_cut(data, sizes, channels):
    if data[:4] == b"RIFF":
        return
    samples, _ = read(data, Encoding(16000, channels), sizes)
    whole = len(data) // (2 * channels)
    expected = np.frombuffer(data[: whole * 2 * channels], "<i2").reshape(whole, channels) / 2**15
    assert samples.dtype == np.float32
    assert np.allclose(samples, expected.mean(axis=1), atol=1e-6)


def test_an_odd_byte_is_left_out_with_a_warning(capsys):
    samples, _ = read(bytes(101))
    assert len(samples) == 50
    assert "its last 1 bytes are no whole sample of 2 bytes; they are left out" in capsys.readouterr().err


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sizes", [(1 << 16,), (5, 1, 3)])
def test_wav_headers_give_the_format(subtype, channels, sizes):
    samples = noise(500, channels)
    found, rates = read(wav(samples, 22050, subtype), RAW, sizes)
    assert rates == [22050]
    assert np.allclose(found, samples.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_of_unknown_length_is_read_to_the_end(size):
    data = bytearray(wav(noise(500)))
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", size)
    assert np.allclose(read(bytes(data))[0], noise(500), atol=1e-4)


def test_one_wav_after_another_may_have_another_rate():
    data = wav(noise(501), 16000) + wav(noise(300), 8000, "FLOAT")
    samples, rates = read(data)
    assert rates == [16000, 8000]
    assert np.allclose(samples, np.concatenate([noise(501), noise(300)]), atol=1e-4)


def test_wav_that_ends_early_gives_what_came(capsys):
    samples, _ = read(wav(noise(500))[:-100])
    assert np.allclose(samples, noise(500)[:450], atol=1e-4)
    assert "ended 100 bytes before its header says" in capsys.readouterr().err


@pytest.mark.parametrize("subtype", ["PCM_24", "ULAW", "PCM_U8"])
def test_unsupported_formats_are_named(subtype):
    with pytest.raises(InputError, match=r"standard input: WAV of format .* bits.*; send 16-bit"):
        read(wav(noise(10), 16000, subtype))


def test_wav_without_a_format_is_refused():
    with pytest.raises(InputError, match="header without a format"):
        read(b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + bytes(10))


@given(st.binary(max_size=60))
def test_damaged_wav_never_crashes(tail):
    try:
        samples, _ = read(b"RIFF\0\0\0\0WAVE" + tail)
    except InputError:
        return
    assert samples.ndim == 1


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\0", wav(np.zeros(0))])
def test_nothing_gives_nothing(data):
    assert len(read(data)[0]) <= 2


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3", "a.au", "a.aiff", "a.caf", "a.w64"])
def test_other_formats_are_named_and_not_taken_for_samples(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    with open(path, "rb") as pipe, pytest.raises(InputError, match="cannot be read from a pipe; send WAV"):
        list(read_pipe(pipe, Encoding(16000)))
