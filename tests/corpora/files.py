"""Audio files with transcripts."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def write(folder: Path, name: str, seconds: float = 1.0, text: str | None = "HELLO", seed: int = 0) -> Path:
    """An audio file `folder/name` and its transcript."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, len(name), *name.encode()]).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, noise, RATE)
    if text is not None:
        path.with_suffix(".txt").write_text(text + "\n")
    return path
