"""CTC beam search: log-probabilities -> the best texts, with a language model or without."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.decoding.decoder import Array, Hypothesis, as_numpy
from deepspeech.errors import InputError
from deepspeech.labels import Labels

if TYPE_CHECKING:
    from deepspeech.beam_search.language_model import LanguageModel
    from deepspeech.beam_search.stream import BeamStream


class BeamCTCDecoder:
    """The texts with the highest score, summed over all their paths.

        score = log p(acoustic) + alpha log p(LM) + beta words

    The terms of the language model are there only with one. With a word model only its words
    are written; `lm_open` admits others. Hot words add their boosts to the score. Both
    tidy spaces: none at the ends, one between words.

    Args:
        labels: The network's labels.
        config: Beam width, language model, weights.
        language_model: The model of `config.lm_path` where it is loaded already.

    Raises:
        InputError: The flags contradict each other, or the language model cannot be used.
    """

    def __init__(
        self,
        labels: Labels,
        config: DecoderConfig | None = None,
        language_model: LanguageModel | None = None,
    ) -> None:
        # Imported here, because numba takes half a second that greedy decoding can save
        from deepspeech.beam_search.language_model import HotWords, LanguageModel, make_rules

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
        self.labels, self.config, self._language_model = labels, config, language_model
        self._model = language_model.model if language_model else None
        self._rules = make_rules(labels, config, language_model, hot_words)
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # of the process that started it

    def __reduce__(self) -> tuple[type[BeamCTCDecoder], tuple[Labels, DecoderConfig]]:
        """Pickled as its labels and options: the language model is read again, threads start again."""
        return BeamCTCDecoder, (self.labels, self.config)

    def with_hot_words(self, phrases: Sequence[str], boost: float) -> BeamCTCDecoder:
        """A decoder with the same language model that favours these words and phrases too.

        Those that the labels cannot spell are left out.
        """
        spelled = [
            each for each in phrases if each.strip() and not self.labels.unknown(each) and ":" not in each
        ]
        entries = [self.config.hot_words] if self.config.hot_words else []
        entries += [f"{each}:{boost}" for each in spelled if "," not in each]
        config = replace(self.config, hot_words=",".join(entries) or None)
        return BeamCTCDecoder(self.labels, config, self._language_model)

    def decode(self, log_probs: Array, lengths: Array) -> list[list[Hypothesis]]:
        """The `top_paths` best hypotheses of every utterance; see `Decoder.decode`."""
        rows = zip(as_numpy(log_probs), lengths.tolist(), strict=True)
        utterances = [row[:length] for row, length in rows]
        return self.decode_all(utterances)

    def decode_all(self, utterances: Sequence[np.ndarray]) -> list[list[Hypothesis]]:
        """The best hypotheses of utterances (frames, labels), in `lm_workers` threads."""
        if self.config.lm_workers == 1 or len(utterances) == 1:
            return [self.decode_one(utterance) for utterance in utterances]
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
            self._pool = os.getpid(), ThreadPoolExecutor(self.config.lm_workers)
        return list(self._pool[1].map(self.decode_one, utterances))

    def decode_one(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """The best hypotheses of one utterance (frames, labels)."""
        stream = self.stream()
        stream.advance(log_probs)
        return stream.finish()

    def stream(self) -> BeamStream:
        """Start an utterance."""
        from deepspeech.beam_search.stream import BeamStream

        return BeamStream(self.labels, self.config, self._rules, self._model)
