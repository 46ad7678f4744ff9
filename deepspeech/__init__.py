"""Deep Speech 2 in PyTorch: train speech-to-text models, measure them, transcribe."""

import importlib
from typing import TYPE_CHECKING, Any

from deepspeech.audio.loading import load_audio
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import Word
from deepspeech.errors import InputError
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels

if TYPE_CHECKING:
    from deepspeech.audio.features import Spectrogram
    from deepspeech.checkpoint.format import load_model
    from deepspeech.data.dataset import SpectrogramDataset
    from deepspeech.data.loader import AudioDataLoader
    from deepspeech.evaluation.metrics import char_errors, word_errors
    from deepspeech.model.deepspeech2 import DeepSpeech
    from deepspeech.training.trainer import Trainer

__version__ = "0.1.0"
__all__ = [
    "AudioDataLoader",
    "BeamCTCDecoder",
    "BucketingSampler",
    "DeepSpeech",
    "GreedyDecoder",
    "InputError",
    "Labels",
    "Recognizer",
    "Spectrogram",
    "SpectrogramDataset",
    "Trainer",
    "Word",
    "char_errors",
    "load_audio",
    "load_model",
    "word_errors",
]

# Imported on first use: what transcribes ONNX files needs neither torch nor the packages of training
_LAZY = {
    "AudioDataLoader": "data.loader",
    "DeepSpeech": "model.deepspeech2",
    "Spectrogram": "audio.features",
    "SpectrogramDataset": "data.dataset",
    "Trainer": "training.trainer",
    "char_errors": "evaluation.metrics",
    "load_model": "checkpoint.format",
    "word_errors": "evaluation.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'deepspeech' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"deepspeech.{_LAZY[name]}"), name)
    return value
