"""Where the time of a training step goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import torch
from torch.profiler import record_function
from tqdm import tqdm

from deepspeech.data.batch import Batch
from deepspeech.training.trainer import Trainer

WARM_UP = 3  # steps before those that count
OPERATORS = 8  # rows of the table
WAIT, FEATURES = "data wait", "features"
STAGES = WAIT, FEATURES, "conv", "recurrent", "ctc", "backward", "optimiser"


def profile(trainer: Trainer, steps: int) -> str:
    """Profile some training steps and write a Chrome trace into the save folder.

    Args:
        trainer: Its network is trained and annotated, but nothing of it is saved.
        steps: How many to profile, after some to warm up.

    Returns:
        A summary of one screen.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no messages from the profiler itself
    path = trainer.folder.path / "profile.json"
    batches, audio = _endless(trainer), 0.0
    _annotate(trainer)
    with tqdm(total=WARM_UP + steps, desc="Profiling", unit="step", leave=False) as bar:
        for _ in range(WARM_UP):
            _step(trainer, batches)
            bar.update()
        with torch.profiler.profile() as profiler:
            clock = time.perf_counter()
            for _ in range(steps):
                audio += _step(trainer, batches)
                bar.update()
            if trainer.step.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - clock
    profiler.export_chrome_trace(str(path))
    return summary(profiler, steps, seconds, audio) + f"\nTrace for https://ui.perfetto.dev: {path}"


def summary(profiler: torch.profiler.profile, steps: int, seconds: float, audio: float) -> str:
    """The share of each stage, and a table of the operators.

    On a GPU a stage's time is that of the kernels that it launched; for the rest ("other") the GPU idles.
    """
    times = stage_seconds(profiler)
    times["other"] = max(seconds - sum(times.values()), 0.0)
    averages = profiler.key_averages()
    order = "self_device" if any(each.self_device_time_total for each in averages) else "self_cpu"
    table = averages.table(f"{order}_time_total", row_limit=OPERATORS, max_name_column_width=40)
    lines = [f"{steps} steps in {seconds:.2f} s, {audio / seconds:.0f} audio-s/s under the profiler"]
    for name, value in times.items():
        lines.append(f"{name:<12} {1e3 * value / steps:10.1f} ms a step {value / seconds:6.1%}")
    return "\n".join([*lines, table.strip()])


def stage_seconds(profiler: torch.profiler.profile) -> dict[str, float]:
    """Seconds of each stage; a kernel on a GPU counts for the stage that launched it."""
    everything = profiler.events()  # type: ignore[no-untyped-call]  # torch has no annotation
    events = [each for each in everything if each.device_type.name == "CPU"]
    kernels = [each for each in events if each.name not in STAGES and each.self_device_time_total]
    totals = dict.fromkeys(STAGES, 0.0)  # microseconds
    for stage in (each for each in events if each.name in STAGES):
        start, end = stage.time_range.start, stage.time_range.end
        launched = [each.self_device_time_total for each in kernels if start <= each.time_range.start < end]
        totals[stage.name] += sum(launched) if kernels and stage.name != WAIT else end - start
    if not kernels:  # features are computed within the wait for the next batch
        totals[WAIT] -= totals[FEATURES]
    return {name: value / 1e6 for name, value in totals.items()}


def _step(trainer: Trainer, batches: Iterator[Batch]) -> float:
    """One step; returns its seconds of audio."""
    with record_function(WAIT):
        batch = next(batches)
    trainer.step.backward(batch, len(batch))
    trainer.step.update(trainer.config.learning_rate)
    return batch.duration


def _endless(trainer: Trainer) -> Iterator[Batch]:
    """Batches as training gets them, shuffled, epoch after epoch."""
    trainer.model.train()
    epoch = 1  # the first one is sorted by duration
    while True:
        trainer.sampler.set_epoch(epoch)
        yield from (batch for batch in trainer.train_loader if len(batch))
        epoch += 1


def _annotate(trainer: Trainer) -> None:
    """Name the forward passes of features, convolutions and recurrent layers in the profile."""
    modules = [(trainer.train_loader.features, FEATURES), (trainer.model.conv, "conv")]
    modules += [(layer, "recurrent") for layer in trainer.model.rnns]
    for module, name in modules:
        module.forward = record_function(name)(module.forward)
