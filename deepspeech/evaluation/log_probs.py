"""Log-probabilities of a corpus in a file, to decode again without the network."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepspeech import distributed
from deepspeech.atomic_file import write_atomic
from deepspeech.data.batch import Batch
from deepspeech.decoding.decoder import Hypothesis
from deepspeech.errors import InputError
from deepspeech.labels import Labels


@dataclass
class SavedOutput:
    """Log-probabilities and references of utterances; an observer of `evaluate`.

    The file is a compressed `.npz` of float16 log-probabilities, concatenated without padding.
    """

    labels: Labels
    utterances: dict[int, tuple[np.ndarray, str]] = field(default_factory=dict)  # (frames, labels); reference

    def __len__(self) -> int:
        return len(self.utterances)

    def observe(
        self, batch: Batch, log_probs: Tensor, lengths: Tensor, hypotheses: list[list[Hypothesis]]
    ) -> None:
        """See `deepspeech.evaluation.evaluate.Observer`."""
        targets = torch.split(batch.targets.cpu(), batch.target_lengths.tolist())
        rows = log_probs.half().cpu().numpy()
        for index, target, row, length in zip(batch.indices, targets, rows, lengths.tolist(), strict=True):
            self.utterances[index] = row[:length].copy(), self.labels.decode(target.tolist())

    def gather(self) -> None:
        """See `deepspeech.evaluation.evaluate.Observer`."""
        for utterances in distributed.gather(self.utterances):
            self.utterances |= utterances

    def write(self, path: str | Path) -> None:
        """Write the utterances in the order of their indices.

        Raises:
            InputError: The file cannot be written.
        """
        ordered = [self.utterances[index] for index in sorted(self.utterances)]
        empty = np.zeros((0, len(self.labels)), np.float16)
        texts = {"labels": list(self.labels), "references": [reference for _, reference in ordered]}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            log_probs=np.concatenate([empty, *(log_probs for log_probs, _ in ordered)]),
            lengths=np.array([len(log_probs) for log_probs, _ in ordered], dtype=np.int64),
            texts=np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8),
        )
        write_atomic(path, buffer.getbuffer())

    @classmethod
    def read(cls, path: str | Path) -> SavedOutput:
        """Read a file that `write` wrote.

        Raises:
            InputError: It is missing or not a file of `test.py --save-output`.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                log_probs, lengths = content["log_probs"], content["lengths"]
                texts = json.loads(content["texts"].tobytes())
            labels = Labels(texts["labels"])
            if log_probs.shape != (lengths.sum(), len(labels)):
                raise ValueError("sizes differ")
            pieces = np.split(log_probs, lengths.cumsum())[:-1]
            return cls(labels, dict(enumerate(zip(pieces, texts["references"], strict=True))))
        except OSError as error:
            raise InputError(f"{path}: cannot read: {error.strerror or error}; correct the path") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, InputError):
            raise InputError(
                f"{path}: not a file of log-probabilities; write one with test.py --save-output"
            ) from None

    def utterance(self, index: int) -> tuple[Tensor, str]:
        """Log-probabilities (frames, labels) float32 and the reference."""
        log_probs, reference = self.utterances[index]
        return torch.from_numpy(log_probs.astype(np.float32)), reference
