"""An utterance to look at and listen to: its sound, spectrogram, network output and words, for a web page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from deepspeech.decoding.decoder import as_numpy
from deepspeech.decoding.word_times import Word
from deepspeech.evaluation.evaluate import Result
from deepspeech.inference.recognizer import Recognizer

EMBEDDED = 16_000_000  # bytes of sound in a page; what comes after is linked
VISIBLE = 0.1  # labels of lower probability are not drawn


@dataclass(frozen=True)
class Mark:
    """A character where the network wrote it."""

    text: str
    place: float  # share of the duration
    probability: float


@dataclass(frozen=True)
class UtteranceView:
    """What the page shows of an utterance."""

    result: Result
    seconds: float
    sound: str  # address: data, or a file
    spectrogram: str  # address of a PNG, a pixel for each bin and frame
    blank: list[float]  # probability in every output frame
    curves: list[tuple[str, list[float]]]  # of each visible label
    marks: list[Mark]
    words: list[Word]


def views(
    results: list[Result], recognizer: Recognizer, load: Callable[[int], np.ndarray]
) -> Iterator[UtteranceView]:
    """Run the network once more on some utterances, and prepare what a page shows of each.

    Args:
        results: Of an evaluation.
        recognizer: The same as in the evaluation.
        load: Reads the waveform of an utterance (samples,), by its number in the corpus.

    Raises:
        InputError: A recording cannot be read.
    """
    room = EMBEDDED
    for result in results:
        waveform = load(result.index)
        sound = encode_sound(waveform, recognizer.model.config.features.sample_rate)
        room -= len(sound)
        address = data_url("audio/flac", sound) if room >= 0 else Path(result.audio_path).resolve().as_uri()
        yield _view(result, waveform, address, recognizer)


def _view(result: Result, waveform: np.ndarray, sound: str, recognizer: Recognizer) -> UtteranceView:
    features, frames = recognizer.features([waveform])
    log_probs, lengths = recognizer.log_probs([waveform])
    own = as_numpy(log_probs[0, : int(lengths)])  # (frames, labels)
    (hypothesis, *_), probabilities = recognizer.decoder.decode(log_probs, lengths)[0], np.exp(own)
    labels, (transcript,) = recognizer.model.labels, recognizer.with_words(waveform, own, [hypothesis])
    visible = [
        index for index in np.flatnonzero(probabilities.max(axis=0) > VISIBLE) if index != labels.blank
    ]
    marks = [
        Mark(
            character,
            (offset + 0.5) / len(probabilities),
            float(probabilities[offset, labels.index(character)]),
        )
        for character, offset in zip(hypothesis.text, hypothesis.offsets, strict=True)
    ]
    return UtteranceView(
        result=result,
        seconds=len(waveform) / recognizer.model.config.features.sample_rate,
        sound=sound,
        spectrogram=data_url("image/png", draw_spectrogram(features[0, :, : int(frames)].cpu().numpy())),
        blank=probabilities[:, labels.blank].tolist(),
        curves=[(labels[index], probabilities[:, index].tolist()) for index in visible],
        marks=marks,
        words=transcript.words,
    )


def encode_sound(waveform: np.ndarray, sample_rate: int) -> bytes:
    """A FLAC file with 16 bits a sample, which browsers play."""
    data = io.BytesIO()
    soundfile.write(data, np.clip(waveform, -1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return data.getvalue()


def draw_spectrogram(features: np.ndarray) -> bytes:
    """A PNG of features (bins, frames), a pixel for each, low frequencies at the bottom."""
    from matplotlib.image import imsave

    data = io.BytesIO()
    imsave(data, features, format="png", cmap="magma", origin="lower")
    return data.getvalue()


def data_url(kind: str, data: bytes) -> str:
    """The address of data that stand in the page themselves."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
