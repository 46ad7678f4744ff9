#!/usr/bin/env python3
"""Check whether long recordings lose words at the cuts, and how much memory they take.

Joins utterances of a manifest with pauses of 0.2 to 1 s of faint noise to one recording, and
compares its transcript with those of the utterances. Then transcribes recordings of one
minute and of an hour with transcribe.py, each in a fresh process.

    python benchmarks/long_recordings.py --model-path models/digits.pth --manifest train.csv [--check]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from deepspeech.audio.loading import load_audio
from deepspeech.data.manifest import read_manifest
from deepspeech.evaluation.metrics import ErrorCounts, word_errors
from deepspeech.inference.long_form import concatenate, transcribe_long
from deepspeech.inference.recognizer import Recognizer

SAME, MEMORY = 0.98, 300  # share of the words, MiB
NOISE = 1e-3  # of the pauses, as in the connected-digits corpus


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--manifest", required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--chunk-seconds", type=float, nargs="+", default=[20, 10, 5])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recognizer = Recognizer.load(arguments.model_path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "joined.wav")
        text = write_joined(path, recognizer, arguments)
        shares = [same_words(recognizer, path, text, seconds) for seconds in arguments.chunk_seconds]
        minute, hour = (peak_memory(path, arguments.model_path, minutes) for minutes in (1, 60))
    print(f"peak memory: 1 minute {minute:.0f} MiB, 60 minutes {hour:.0f} MiB, {hour - minute:+.0f}")
    return int(arguments.check and (shares[0] < SAME or hour - minute > MEMORY))


def write_joined(path: Path, recognizer: Recognizer, arguments: argparse.Namespace) -> str:
    """Write the recording; returns the transcripts of its utterances one by one."""
    random = np.random.default_rng(arguments.seed)
    rate = recognizer.model.config.features.sample_rate
    utterances, _ = read_manifest(arguments.manifest)
    texts, written = [], 0
    with (
        soundfile.SoundFile(path, "w", rate, 1) as file,
        tqdm(total=round(60 * arguments.minutes), unit="s", leave=False) as bar,
    ):
        for index in random.permutation(len(utterances)):
            waveform = load_audio(utterances[index].audio_path, rate)
            pause = NOISE * random.standard_normal(round(random.uniform(0.2, 1) * rate))
            texts.append(recognizer.transcribe(waveform).text)
            file.write(np.concatenate([waveform, pause]))
            bar.update((written + len(waveform) + len(pause)) // rate - written // rate)
            written += len(waveform) + len(pause)
            if written > 60 * arguments.minutes * rate:
                break
    print(f"{len(texts)} utterances, {written / rate / 60:.1f} minutes")
    return " ".join(" ".join(texts).split())


def same_words(recognizer: Recognizer, path: Path, text: str, chunk_seconds: float) -> float:
    """The share of the words of a text that the joined transcript has, too."""
    parts = list(transcribe_long(recognizer, path, chunk_seconds, progress=True))
    counts: ErrorCounts = word_errors(text, concatenate(parts).hypothesis.text)
    print(f"--chunk-seconds {chunk_seconds:g}: {100 * (1 - counts.rate):.2f} % the same words; {counts}")
    return 1 - counts.rate


def peak_memory(path: Path, model_path: str, minutes: float) -> float:
    """MiB that transcribe.py takes for the recording repeated to some minutes."""
    waveform, rate = soundfile.read(path, dtype="int16")
    longer = path.with_name(f"{minutes}.wav")
    soundfile.write(longer, np.resize(waveform, round(60 * minutes * rate)), rate)
    script = Path(__file__).parents[1] / "transcribe.py"
    command = [sys.executable, script, "--model-path", model_path, "--words", longer]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"transcribe.py failed with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
