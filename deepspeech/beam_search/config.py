"""Options of the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from deepspeech.options import COUNT, PROBABILITY, WEIGHT, Options, one_of, option


@dataclass(frozen=True)
class DecoderConfig(Options):
    """Decoder"""

    decoder: str = option("greedy", "greedy or beam", one_of("greedy", "beam"))
    beam_width: int = option(10, "hypotheses that beam search keeps", COUNT)
    top_paths: int = option(1, "hypotheses that beam search returns", COUNT)
    lm_path: str | None = option(
        None,
        "language model of beam search: ARPA file or KenLM binary (default: that which tune-lm has left "
        "beside the model; the word none: no language model)",
        metavar="FILE",
    )
    lm_unit: str = option("word", "its tokens: word or character", one_of("word", "character"))
    lm_open: bool = option(False, "admit words that the language model does not know")
    lm_unknown: float = option(-10.0, "log-probability of such a word, in place of the model's own", WEIGHT)
    alpha: float = option(0.8, "weight of the language model's log-probability", WEIGHT)
    beta: float = option(1.0, "bonus for every word, with a language model", WEIGHT)
    hot_words: str | None = option(
        None,
        "words and phrases, each with its boost, a natural logarithm (5 is strong)",
        metavar="WORD:BOOST,PHRASE OF WORDS:BOOST",
    )
    cutoff_top_n: int = option(40, "most labels of a frame that beam search considers", COUNT)
    cutoff_prob: float = option(1.0, "most probable labels up to this total probability", PROBABILITY)
    lm_workers: int = option(1, "threads of beam search", COUNT)
