"""CTC beam search: log-probabilities -> the best texts, with a language model or without."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from torch import Tensor

from deepspeech.config import DecoderConfig
from deepspeech.decoder import Hypothesis
from deepspeech.errors import InputError
from deepspeech.hot_words import HotWords
from deepspeech.labels import Labels
from deepspeech.language_model import LN10, LanguageModel, engine
from deepspeech.prefix_search import PrefixSearch

NONE = float("-inf")
NEVER = -1e4  # a log-probability so small that it decides only where there is no other way
UNLIMITED = 1e9  # threshold of the engine that cuts nothing


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
            self._search: Search = PrefixSearch(labels, config, language_model, hot_words)
        elif language_model and language_model.unit == "word":
            self._search = LexiconSearch(labels, config, language_model)
        else:
            self._search = FreeSearch(labels, config, language_model)
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
        if not len(log_probs):
            return [Hypothesis("", [], 0.0)]
        config = self.config
        kept = cut_off(log_probs, self.labels.blank, config.cutoff_prob, config.cutoff_top_n)
        return self._search(kept)[: config.top_paths]


Search = Callable[[np.ndarray], list[Hypothesis]]
_decoder: BeamCTCDecoder  # of a worker process


def _start_worker(decoder: BeamCTCDecoder) -> None:
    global _decoder  # noqa: PLW0603 (what a worker was forked with)
    _decoder = decoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends its workers


def _read_in_worker(log_probs: np.ndarray) -> list[Hypothesis]:
    return _decoder.read(log_probs)


def cut_off(log_probs: np.ndarray, blank: int, probability: float, count: int) -> np.ndarray:
    """Rule out the improbable labels of every frame; the blank always stays.

    Args:
        log_probs: (frames, labels).
        blank: Index of the blank.
        probability: The most probable labels stay, until they sum up to this; 1 for all.
        count: At most so many stay.

    Returns:
        (frames, labels) with -inf for what is ruled out.
    """
    if probability >= 1 and count >= log_probs.shape[1]:
        return log_probs
    order = np.argsort(-log_probs, axis=1, kind="stable")
    ranked = np.exp(np.take_along_axis(log_probs, order, axis=1).astype(np.float64))
    out = np.arange(log_probs.shape[1]) >= count
    if probability < 1:
        out = out | (ranked.cumsum(axis=1) - ranked >= probability)
    mask = np.zeros(log_probs.shape, dtype=bool)
    np.put_along_axis(mask, order, np.broadcast_to(out, order.shape), axis=1)
    mask[:, blank] = False
    return np.where(mask, NONE, log_probs)


class LexiconSearch:
    """Words of a language model, by flashlight-text's lexicon decoder.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        language_model: Its words are the lexicon.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, language_model: LanguageModel) -> None:
        self.labels, self.config = labels, config
        self.space = labels.index(" ")
        flashlight = engine()
        options = flashlight.LexiconDecoderOptions(
            beam_size=config.beam_width,
            beam_size_token=min(config.cutoff_top_n + 1, len(labels)),
            beam_threshold=UNLIMITED,
            lm_weight=config.alpha * LN10,
            word_score=config.beta,
            unk_score=NONE,
            sil_score=0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        self.decoder = flashlight.LexiconDecoder(
            options,
            self._trie(flashlight, language_model),
            language_model.model,
            self.space,
            labels.blank,
            language_model.unknown,
            [],
            False,
        )

    def _trie(self, flashlight: Any, language_model: LanguageModel) -> Any:
        """Each word ends with a space, which the engine lets repeat between words."""
        trie = flashlight.Trie(len(self.labels), self.space)
        model, start = language_model.model, language_model.start()
        for word, spelling in language_model.spellings.items():
            index = language_model.ids[word]
            trie.insert([*spelling, self.space], index, model.score(start, index)[1])
        trie.smear(flashlight.SmearingMode.MAX)  # a word's first letters know its probability
        return trie

    def __call__(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Hypotheses of one utterance, best first.

        A frame that is certainly a space is put at the end, so that the last word is complete
        whether or not the network wrote one.
        """
        ending = np.full((1, log_probs.shape[1]), NONE)
        ending[0, self.space], ending[0, self.labels.blank] = 0, NEVER
        emissions = np.ascontiguousarray(np.concatenate([log_probs, ending]), dtype=np.float32)
        results = self.decoder.decode(emissions.ctypes.data, *emissions.shape)
        return [self._hypothesis(result) for result in results[: self.config.top_paths]]

    def _hypothesis(self, result: Any) -> Hypothesis:
        path = np.array(result.tokens[1:-1])  # without the engine's own first and last token
        complete = path[-1] == self.space
        ids, offsets = _collapse(path[:-1], self.labels.blank)
        letters = ids != self.space
        between = np.append(False, letters[:-1]) & (np.cumsum(letters[::-1])[::-1] > 0)
        kept = letters | between  # of the spaces only the first between two words
        ids, offsets = ids[kept], offsets[kept]
        score = result.score if complete else result.score - NEVER
        lm_score = result.lmScore * LN10
        words = sum(word >= 0 for word in result.words)
        acoustic = score - self.config.alpha * lm_score - self.config.beta * words
        return Hypothesis(self.labels.decode(ids), offsets.tolist(), score, acoustic, lm_score)


class FreeSearch:
    """Any text, by flashlight-text's lexicon-free decoder; optionally a character model.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        language_model: A model of characters, or None.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, language_model: LanguageModel | None) -> None:
        self.labels, self.config, self.language_model = labels, config, language_model
        flashlight = engine()
        options = flashlight.LexiconFreeDecoderOptions(
            beam_size=config.beam_width,
            beam_size_token=min(config.cutoff_top_n + 1, len(labels)),
            beam_threshold=UNLIMITED,
            lm_weight=config.alpha * LN10 if language_model else 0,
            sil_score=0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        model = language_model.model if language_model else flashlight.ZeroLM()
        # The engine takes its silence for written already where an utterance begins: that
        # is right of the blank, and would be wrong of the space
        self.decoder = flashlight.LexiconFreeDecoder(options, model, labels.blank, labels.blank, [])

    def __call__(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Hypotheses of one utterance, best first."""
        emissions = np.ascontiguousarray(log_probs, dtype=np.float32)
        results = self.decoder.decode(emissions.ctypes.data, *emissions.shape)
        if not self.language_model:
            return [self._hypothesis(result) for result in results[: self.config.top_paths]]
        # The engine has no bonus for words here, so it is added to all that is left in the beam
        hypotheses = [self._hypothesis(result) for result in results]
        return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)

    def _hypothesis(self, result: Any) -> Hypothesis:
        ids, offsets = _collapse(np.array(result.tokens[1:-1]), self.labels.blank)
        text = self.labels.decode(ids)
        lm_score = result.lmScore * LN10
        acoustic = result.score - self.config.alpha * lm_score
        bonus = self.config.beta * len(text.split()) if self.language_model else 0
        return Hypothesis(text, offsets.tolist(), result.score + bonus, acoustic, lm_score)


def _collapse(path: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels that a path (frames,) writes, and the frames at which they begin."""
    begins = path != blank
    begins[1:] &= path[1:] != path[:-1]
    offsets = begins.nonzero()[0]
    return path[offsets], offsets
