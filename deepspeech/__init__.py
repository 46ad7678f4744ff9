"""Deep Speech 2 in PyTorch: train speech-to-text models, measure them, transcribe."""

from deepspeech.audio.features import Spectrogram
from deepspeech.audio.loading import load_audio
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.checkpoint.format import load_model
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.decoding.word_times import Word
from deepspeech.errors import InputError
from deepspeech.evaluation.metrics import char_errors, word_errors
from deepspeech.inference.recognizer import Recognizer
from deepspeech.labels import Labels
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
