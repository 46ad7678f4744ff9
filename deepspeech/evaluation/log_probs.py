"""Log-probabilities of a corpus in a file, to decode again without the network."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepspeech.atomic_file import write_atomic
from deepspeech.errors import InputError
from deepspeech.labels import Labels


@dataclass(frozen=True)
class SavedOutput:
    """Log-probabilities and references of utterances.

    The file is a compressed `.npz` of float16 log-probabilities, concatenated without padding.
    """

    labels: Labels
    log_probs: list[np.ndarray]  # (frames, labels) float16 of each utterance
    references: list[str]

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            InputError: The file cannot be written.
        """
        empty = np.zeros((0, len(self.labels)), np.float16)
        texts = {"labels": list(self.labels), "references": self.references}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            log_probs=np.concatenate([empty, *self.log_probs]),
            lengths=np.array([len(each) for each in self.log_probs], dtype=np.int64),
            texts=np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8),
        )
        write_atomic(path, buffer.getvalue())

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
            references = list(texts["references"])
            if log_probs.shape != (lengths.sum(), len(labels)) or len(lengths) != len(references):
                raise ValueError("sizes differ")
            return cls(labels, np.split(log_probs, lengths.cumsum())[:-1], references)
        except OSError as error:
            raise InputError(f"{path}: cannot read: {error.strerror or error}; correct the path") from None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, InputError):
            raise InputError(
                f"{path}: not a file of log-probabilities; write one with test.py --save-output"
            ) from None
