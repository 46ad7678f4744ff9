"""Error rates of normalised text, as public leaderboards count them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation, compare

NAMES = ("whisper", "whisper-basic")


def load_normalizer(name: str) -> Callable[[str], str]:
    """A text normaliser of Whisper (Radford et al., 2022, https://arxiv.org/abs/2212.04356, appendix C).

    Args:
        name: "whisper" for English: numbers become digits, spellings American, contractions words, and
            hesitations go; "whisper-basic" for any language: lower case without punctuation.

    Raises:
        InputError: whisper-normalizer is not installed.
    """
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise InputError("--normalizer needs whisper-normalizer; pip install whisper-normalizer") from None
    normalizer: Callable[[str], str] = EnglishTextNormalizer() if name == "whisper" else BasicTextNormalizer()
    return normalizer


def normalised(evaluation: Evaluation, normalize: Callable[[str], str]) -> Evaluation:
    """The evaluation with references and hypotheses normalised, and their errors counted again."""
    results = [
        compare(each.audio_path, " ".join(normalize(each.reference).split()), normalize(each.hypothesis))
        for each in evaluation.results
    ]
    return replace(evaluation, results=results)
