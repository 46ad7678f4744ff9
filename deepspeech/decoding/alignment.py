"""Forced alignment: when the characters of a known transcript are spoken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepspeech.decoding.decoder import Array, Hypothesis, as_numpy
from deepspeech.errors import InputError
from deepspeech.labels import Labels, UnknownCharacters

if TYPE_CHECKING:
    from torch import Tensor


class ForcedAligner:
    """A decoder whose hypothesis is always the given transcript, at its most probable frames.

    `deepspeech.decoding.word_times` gives the times of its words and how well each fits the audio.

    Raises:
        InputError: The transcript is empty or has characters that are not in the labels.
    """

    def __init__(self, labels: Labels, transcript: str) -> None:
        try:
            self.targets = labels.encode(transcript)
        except UnknownCharacters as error:
            raise InputError(f"{error}; write the transcript as the labels do") from None
        if not self.targets:
            raise InputError("empty transcript: there is nothing to align; give its text")
        self.labels = labels

    def decode(self, log_probs: Array, lengths: Array) -> list[list[Hypothesis]]:
        """One hypothesis for every utterance; see `Decoder.decode`.

        Raises:
            InputError: An utterance is too short for the transcript.
        """
        text = self.labels.decode(self.targets)
        result = []
        for row, length in zip(log_probs, lengths.tolist(), strict=True):
            offsets, score = forced_align(row[:length], self.targets, self.labels.blank)
            result.append([Hypothesis(text, offsets, score)])
        return result


def forced_align(log_probs: Array, targets: Sequence[int], blank: int) -> tuple[list[int], float]:
    """The most probable CTC path that spells the targets (Graves et al., 2006; Viterbi).

    Args:
        log_probs: (frames, labels).
        targets: Label indices, without blanks, at least one.
        blank: Index of the blank.

    Returns:
        The frame at which each target starts, and the log-probability of the path.

    Raises:
        InputError: There are too few frames, or torchaudio cannot be used.
    """
    try:
        import torch
        from torchaudio.functional import forced_align as best_path
    except (ImportError, OSError, RuntimeError) as error:  # missing, or built for another torch
        raise InputError(
            f"alignment needs a torchaudio that fits torch: "
            f"{' '.join(str(error).split())[:200]}; pip install 'torch>=2.11,<2.15' 'torchaudio>=2.11'"
        ) from None
    target = torch.tensor([list(targets)], dtype=torch.int32)
    needed = int(minimum_frames(target[0], torch.tensor([len(targets)])))
    if len(log_probs) < needed:
        raise InputError(
            f"the transcript needs {needed} output frames, the audio has {len(log_probs)}; "
            "give the transcript of this recording"
        )
    path, scores = best_path(torch.from_numpy(as_numpy(log_probs))[None], target, blank=blank)
    labels = path[0]
    starts = labels != blank
    starts[1:] &= labels[1:] != labels[:-1]
    return starts.nonzero().flatten().tolist(), scores.sum().item()


def minimum_frames(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """The fewest frames in which CTC can spell each target: (batch,) int64.

    A target needs a frame for every label, and one for a blank between two equal ones.

    Args:
        targets: (sum of target_lengths,) label indices, concatenated.
        target_lengths: (batch,) int64.
    """
    import torch

    utterance = torch.arange(len(target_lengths)).repeat_interleave(target_lengths)
    repeated = (targets[1:] == targets[:-1]) & (utterance[1:] == utterance[:-1])
    return target_lengths + utterance[1:][repeated].bincount(minlength=len(target_lengths))
