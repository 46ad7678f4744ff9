"""Deep Speech 2 in PyTorch: train speech-to-text models, measure them, transcribe."""

import warnings

from deepspeech.audio import load_audio
from deepspeech.beam import BeamCTCDecoder
from deepspeech.checkpoint import load_model
from deepspeech.data import AudioDataLoader, BucketingSampler, SpectrogramDataset
from deepspeech.decoder import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.features import Spectrogram
from deepspeech.labels import Labels
from deepspeech.metrics import char_errors, word_errors
from deepspeech.model import DeepSpeech
from deepspeech.recognizer import Recognizer
from deepspeech.training import Trainer
from deepspeech.words import Word

# `python -m deepspeech.checkpoint` runs a module that this package imports: that is meant so
warnings.filterwarnings("ignore", "'deepspeech.checkpoint' found in sys.modules", RuntimeWarning)

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
