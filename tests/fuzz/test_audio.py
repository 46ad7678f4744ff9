"""Mutated audio files: all of the audio, or one line."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from deepspeech.audio.loading import duration, load_audio, stream_audio
from tests.fuzz.mutations import mutations, value_or_refusal

RATE = 16000
FORMATS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("WAV", "IMA_ADPCM"),
    "c.wav": ("WAV", "GSM610"),
    "a.flac": ("FLAC", "PCM_16"),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", "MPEG_LAYER_III"),
    "a.aiff": ("AIFF", "PCM_16"),
    "a.au": ("AU", "PCM_16"),
    "a.caf": ("CAF", "PCM_16"),
    "a.w64": ("W64", "PCM_16"),
    "a.sph": ("NIST", "PCM_16"),
}

pytestmark = pytest.mark.exhaustive


def test_mutated_audio_is_decoded_whole_or_refused_in_one_line(tmp_path: Path, capfd) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.1, RATE // 2)
    originals = []
    for name, (form, subtype) in FORMATS.items():
        rate = 8000 if subtype == "GSM610" else RATE
        soundfile.write(tmp_path / name, waveform, rate, format=form, subtype=subtype)
        originals.append((tmp_path / name).read_bytes())
    names = list(FORMATS)
    for index, content in mutations(originals, seed=1):
        path = tmp_path / f"mutated-{names[index]}"
        path.write_bytes(content)
        loaded = value_or_refusal(lambda path=path: load_audio(path, RATE))
        streamed = value_or_refusal(lambda path=path: list(stream_audio(path, RATE, 0.1)))
        packed = value_or_refusal(lambda path=path: load_audio(path, RATE, path.read_bytes()))
        seconds = value_or_refusal(lambda path=path: duration(path))
        assert isinstance(loaded, str) == isinstance(streamed, str) == isinstance(packed, str)
        if isinstance(loaded, str):
            assert "\n" not in loaded
            assert loaded.startswith(str(path))
        else:
            assert np.isfinite(loaded).all()
            assert np.array_equal(np.concatenate(streamed), loaded)
            assert np.array_equal(packed, loaded)
            assert not isinstance(seconds, str), seconds
        os.unlink(path)
    assert capfd.readouterr() == ("", "")
