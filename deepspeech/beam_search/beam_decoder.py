"""CTC beam search: log-probabilities -> the best texts, with a language model or without."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from torch import Tensor

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.flashlight import FreeSearch, LexiconSearch
from deepspeech.beam_search.hot_words import HotWords
from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.beam_search.prefix_search import PrefixSearch
from deepspeech.beam_search.prefix_stream import PrefixStream
from deepspeech.beam_search.stream import BeamStream
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.errors import InputError
from deepspeech.labels import Labels


class BeamCTCDecoder:
    """The texts with the highest score, summed over all their paths.

        score = log p(acoustic) + alpha log p(LM) + beta words

    The terms of the language model are there only with one. With a word model only its words
    are written, with spaces tidied; with `lm_open` others may come, too. Hot words add their
    boosts to the score.

    Args:
        labels: What the network writes.
        config: Beam width, language model, weights.
        language_model: The model of `config.lm_path` where it is loaded already.

    Raises:
        InputError: The flags contradict each other, the language model cannot be used, or the
            engine is not installed.
    """

    def __init__(
        self,
        labels: Labels,
        config: DecoderConfig | None = None,
        language_model: LanguageModel | None = None,
    ) -> None:
        config = config or DecoderConfig(decoder="beam")
        if config.top_paths > config.beam_width:
            raise InputError(
                f"--top-paths {config.top_paths}: more than --beam-width {config.beam_width}; widen the beam"
            )
        if config.lm_open and not config.lm_path:
            raise InputError("--lm-open: there is no language model; pass --lm-path")
        if config.lm_path and language_model is None:
            language_model = LanguageModel(config.lm_path, labels, config.lm_unit)
        hot_words = HotWords(config.hot_words, labels) if config.hot_words else None
        self.labels, self.config = labels, config
        if hot_words or config.lm_open:
            search = PrefixSearch(labels, config, language_model, hot_words)
            self._start: Callable[[], BeamStream] = partial(PrefixStream, search)
        elif language_model and language_model.unit == "word":
            self._start = LexiconSearch(labels, config, language_model).stream
        else:
            self._start = FreeSearch(labels, config, language_model).stream
        self._pool: ProcessPoolExecutor | None = None

    def decode(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """The `top_paths` best hypotheses of every utterance; see `Decoder.decode`."""
        rows = log_probs.detach().float().cpu().numpy()
        utterances = [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
        if self.config.lm_workers == 1 or len(utterances) == 1:
            return [self.read(utterance) for utterance in utterances]
        if self._pool is None:  # forked, so that the processes share the language model's memory
            self._pool = ProcessPoolExecutor(
                self.config.lm_workers, get_context("fork"), _start_worker, (self,)
            )
        return list(self._pool.map(_read_in_worker, utterances))

    def read(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """The best hypotheses of one utterance (frames, labels), in this process."""
        stream = self.stream()
        stream.advance(log_probs)
        return stream.finish()

    def stream(self) -> BeamStream:
        """Begin to decode an utterance as it comes."""
        return self._start()


_decoder: BeamCTCDecoder  # of a worker process


def _start_worker(decoder: BeamCTCDecoder) -> None:
    global _decoder  # noqa: PLW0603 (what a worker was forked with)
    _decoder = decoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends its workers


def _read_in_worker(log_probs: np.ndarray) -> list[Hypothesis]:
    return _decoder.read(log_probs)
