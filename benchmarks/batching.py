#!/usr/bin/env python3
"""Batches of equal size against batches of equal cost: padding, and how far step times spread.

Utterances of 1 to 16 seconds, most of them long, as in read speech; a small network goes forward
and backward over one shuffled epoch of each. Both ways make about the same number of batches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm

from deepspeech.data.sampler import BucketingSampler
from deepspeech.device import keep_freed_memory, number_format
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech

FRAMES = 100  # a second
ROW = "{:<22} {:>8} {:>9} {:>16} {:>11} {:>12} {:>15}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="runs, of which a batch's fastest counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    model = DeepSpeech(ModelConfig(hidden_size=128, hidden_layers=2, rnn_type="gru", labels=("_", "A", " ")))
    durations = 1 + 15 * np.random.default_rng(0).beta(4, 2, arguments.utterances)
    seconds = round(durations.mean() * arguments.batch_size)
    heads = ("batches", "padding", "longest batch, s", "step, ms", "spread", "slowest / mean")
    print(ROW.format(f"{arguments.threads} threads", *heads))
    for name, limit in (("batch-size", None), ("batch-seconds", seconds)):
        sampler = BucketingSampler(durations, arguments.batch_size, batch_seconds=limit)
        sampler.set_epoch(1)
        batches = list(sampler)
        costs = np.array([len(batch) * durations[batch].max() for batch in batches])
        runs = [step_times(model, [durations[batch] for batch in batches]) for _ in range(arguments.repeats)]
        steps = np.min(runs, axis=0)
        print(
            ROW.format(
                f"--{name} {limit or arguments.batch_size}",
                len(batches),
                f"{1 - durations.sum() / costs.sum():.1%}",
                f"{costs.max():.0f}",
                f"{1000 * steps.mean():.0f}",
                f"{steps.std() / steps.mean():.0%}",
                f"{steps.max() / steps.mean():.2f}",
            )
        )
    return 0


def step_times(model: DeepSpeech, batches: list[np.ndarray]) -> list[float]:
    """Seconds that each batch takes forward and backward; the first two are also a warm-up."""
    times, dtype = [], number_format("auto", torch.device("cpu"))
    for durations in tqdm([*batches[:2], *batches], unit="batch", leave=False):
        lengths = torch.tensor(durations * FRAMES).long()
        features = torch.randn(len(lengths), model.config.features.bins, int(lengths.max()))
        start = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            log_probs, _ = model(features, lengths)
        log_probs.mean().backward()
        times.append(time.perf_counter() - start)
        model.zero_grad()
    return times[2:]


if __name__ == "__main__":
    raise SystemExit(main())
