"""Beam search by the decoders of flashlight-text, in C++."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import LN10, LanguageModel, engine
from deepspeech.beam_search.stream import NONE, BeamStream
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.labels import Labels

NEVER = -1e4  # a log-probability so small that it decides only where there is no other way
UNLIMITED = 1e9  # threshold of the engine that cuts nothing


class LexiconSearch:
    """Words of a language model.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        language_model: Its words are the lexicon.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, language_model: LanguageModel) -> None:
        self.labels, self.config, self.language_model = labels, config, language_model
        self.space = labels.index(" ")
        flashlight = engine()
        self.options = flashlight.LexiconDecoderOptions(
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
        self.trie = self._trie(flashlight)

    def _trie(self, flashlight: Any) -> Any:
        """Each word ends with a space, which the engine lets repeat between words."""
        trie = flashlight.Trie(len(self.labels), self.space)
        model, start = self.language_model.model, self.language_model.start()
        for word, spelling in self.language_model.spellings.items():
            index = self.language_model.ids[word]
            trie.insert([*spelling, self.space], index, model.score(start, index)[1])
        trie.smear(flashlight.SmearingMode.MAX)  # a word's first letters know its probability
        return trie

    def engine(self) -> Any:
        """A decoder for one utterance."""
        model = self.language_model
        return engine().LexiconDecoder(
            self.options, self.trie, model.model, self.space, self.labels.blank, model.unknown, [], False
        )

    def stream(self) -> LexiconStream:
        """Begin to decode an utterance."""
        return LexiconStream(self.labels, self.config, self.engine(), tidy=True)


class FreeSearch:
    """Any text; optionally with a character model.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        language_model: A model of characters, or None.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, language_model: LanguageModel | None) -> None:
        self.labels, self.config, self.language_model = labels, config, language_model
        flashlight = engine()
        self.options = flashlight.LexiconFreeDecoderOptions(
            beam_size=config.beam_width,
            beam_size_token=min(config.cutoff_top_n + 1, len(labels)),
            beam_threshold=UNLIMITED,
            lm_weight=config.alpha * LN10 if language_model else 0,
            sil_score=0,
            log_add=True,
            criterion_type=flashlight.CriterionType.CTC,
        )
        self.model = language_model.model if language_model else flashlight.ZeroLM()

    def engine(self) -> Any:
        """A decoder for one utterance."""
        # The engine takes its silence for written already where an utterance begins: that
        # is right of the blank, and would be wrong of the space
        blank = self.labels.blank
        return engine().LexiconFreeDecoder(self.options, self.model, blank, blank, [])

    def stream(self) -> FreeStream:
        """Begin to decode an utterance."""
        stream = FreeStream(self.labels, self.config, self.engine(), tidy=False)
        stream.bonus = self.config.beta if self.language_model else 0.0
        return stream


class EngineStream(BeamStream, ABC):
    """One utterance in a decoder of the engine, which keeps the paths since the last commitment.

    Args:
        labels: What the network writes.
        config: Beam width and weights.
        decoder: An unused decoder of the engine.
        tidy: Whether spaces are tidied.
    """

    def __init__(self, labels: Labels, config: DecoderConfig, decoder: Any, tidy: bool) -> None:
        super().__init__(labels, config, tidy)
        self.decoder = decoder
        self.decoder.decode_begin()
        self.score = 0.0  # that the engine has taken off all scores
        self.words = 0  # in the committed text

    def search(self, log_probs: np.ndarray) -> None:
        """See `BeamStream.search`."""
        emissions = np.ascontiguousarray(log_probs, dtype=np.float32)
        self.decoder.decode_step(emissions.ctypes.data, *emissions.shape)

    def best(self) -> Sequence[int]:
        """See `BeamStream.best`."""
        results = self.decoder.get_all_final_hypothesis()
        if not results:  # no frame since the last commitment
            return []
        path = np.array(max(results, key=lambda result: result.score).tokens)
        return path[1:][begins(path, self.labels.blank)].tolist()

    def commit(self, forced: bool) -> None:
        """See `BeamStream.commit`. The engine forgets what lies before a frame of the best path."""
        results = self.decoder.get_all_final_hypothesis()
        if not results:
            return
        results.sort(key=lambda result: -result.score)
        paths = np.array([result.tokens for result in results])  # (beam, 1 + frames)
        written = begins(paths, self.labels.blank)  # (beam, frames)
        frames = written.shape[1]
        ends = np.flatnonzero(agreement(paths[:, 1:], written) & self.complete(results[0])) + 1
        if not len(ends) and not forced:
            return
        self.decoder.prune(frames - int(ends[-1]) if len(ends) else frames // 2)
        left = self.decoder.get_all_final_hypothesis()
        end = frames - (len(left[0].tokens) - 1 if left else 0)  # it may go back to the end of a word
        self.score += results[0].score
        self.words += sum(word >= 0 for word in results[0].words[1 : end + 1])
        offsets = np.flatnonzero(written[0, :end])
        self.append(paths[0, 1:][offsets].tolist(), offsets + self.begin)
        self.begin += end

    @abstractmethod
    def complete(self, result: Any) -> np.ndarray:
        """Behind which frames of a path the engine can forget the past: bool (frames,)."""

    def results(self, count: int | None = None) -> list[tuple[Any, np.ndarray]]:
        """End the search: so many of the beam, best first, with their paths (1 + frames,)."""
        self.decoder.decode_end()
        results = self.decoder.get_all_final_hypothesis()[:count]
        return [(result, np.array(result.tokens[:-1])) for result in results]  # the last is the engine's own

    def spelled(self, path: np.ndarray) -> tuple[str, list[int]]:
        """The whole text and its offsets."""
        offsets = np.flatnonzero(begins(path, self.labels.blank))
        return self.whole(path[1:][offsets].tolist(), offsets + self.begin)


class LexiconStream(EngineStream):
    """One utterance in words of the lexicon."""

    def complete(self, result: Any) -> np.ndarray:
        """At the ends of words."""
        return np.array(result.words[:-1]) >= 0

    def hypotheses(self) -> list[Hypothesis]:
        """See `BeamStream.hypotheses`.

        A frame that is certainly a space is put at the end, so that the last word is complete
        whether or not the network wrote one.
        """
        ending = np.full((1, len(self.labels)), NONE)
        ending[0, self.space], ending[0, self.labels.blank] = 0, NEVER
        self.search(ending)
        return [self._hypothesis(*each) for each in self.results(self.config.top_paths)]

    def _hypothesis(self, result: Any, path: np.ndarray) -> Hypothesis:
        score = self.score + result.score - (0 if path[-1] == self.space else NEVER)
        lm_score = result.lmScore * LN10
        words = self.words + sum(word >= 0 for word in result.words[1:])
        acoustic = score - self.config.alpha * lm_score - self.config.beta * words
        return Hypothesis(*self.spelled(path[:-1]), score, acoustic, lm_score)


class FreeStream(EngineStream):
    """One utterance in any text."""

    bonus = 0.0  # for a word

    def complete(self, result: Any) -> np.ndarray:
        """Anywhere."""
        return np.ones(len(result.words) - 1, dtype=bool)

    def hypotheses(self) -> list[Hypothesis]:
        """See `BeamStream.hypotheses`.

        The engine has no bonus for words here, so it is added to all that is left in the beam.
        """
        hypotheses = [self._hypothesis(*each) for each in self.results()]
        return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)

    def _hypothesis(self, result: Any, path: np.ndarray) -> Hypothesis:
        text, offsets = self.spelled(path)
        score, lm_score = self.score + result.score, result.lmScore * LN10
        acoustic = score - self.config.alpha * lm_score
        return Hypothesis(text, offsets, score + self.bonus * len(text.split()), acoustic, lm_score)


def begins(paths: np.ndarray, blank: int) -> np.ndarray:
    """Where paths (..., 1 + frames) write a label: bool (..., frames); the first frame came before."""
    return (paths[..., 1:] != paths[..., :-1]) & (paths[..., 1:] != blank)


def agreement(paths: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Behind which frames paths (beam, frames) that write labels where `written` have one text."""
    counts = written.cumsum(axis=1)
    texts = [path[where] for path, where in zip(paths, written, strict=True)]
    shortest = min(map(len, texts))
    same = (np.array([text[:shortest] for text in texts]) == texts[0][:shortest]).all(axis=0)
    shared = shortest if same.all() else int(same.argmin())  # labels
    return (counts == counts[0]).all(axis=0) & (counts[0] <= shared)
