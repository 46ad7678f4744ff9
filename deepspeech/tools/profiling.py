"""Where the time of a training step goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, record_function
from tqdm import tqdm

from deepspeech.data.batch import Batch
from deepspeech.training.trainer import Trainer

WARM_UP = 3  # steps before those that count
OPERATORS = 8  # how many the summary shows
WAIT, FEATURES = "data wait", "features"
PARTS = WAIT, FEATURES, "conv", "recurrent", "ctc", "backward", "optimiser"


def profile(trainer: Trainer, steps: int) -> str:
    """Run some training steps and watch them.

    Writes a Chrome trace beside the models.

    Args:
        trainer: Its network learns, but nothing of it is saved.
        steps: How many to watch, after some to warm up.

    Returns:
        A summary of one screen.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks to its authors
    path = trainer.folder.path / "profile.json"
    activities = [ProfilerActivity.CPU]
    if trainer.step.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    hooks = _name_modules(trainer)
    batches, audio = _endless(trainer), 0.0
    bar = tqdm(total=WARM_UP + steps, desc="Profiling", unit="step", leave=False)
    for _ in range(WARM_UP):
        _step(trainer, batches)
        bar.update()
    with torch.profiler.profile(activities=activities) as profiler:
        clock = time.perf_counter()
        for _ in range(steps):
            audio += _step(trainer, batches)
            bar.update()
        if trainer.step.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - clock
    bar.close()
    for hook in hooks:
        hook.remove()
    profiler.export_chrome_trace(str(path))
    return summary(profiler, steps, seconds, audio) + f"\nTrace for https://ui.perfetto.dev: {path}"


def summary(profiler: torch.profiler.profile, steps: int, seconds: float, audio: float) -> str:
    """What took how much of the time.

    On a GPU the parts' times are those of the kernels that they started; it waits, or the host
    does other things, for the rest.
    """
    lines = [f"{steps} steps in {seconds:.2f} s, {audio / seconds:.0f} audio-s/s under the profiler", ""]
    times = part_seconds(profiler)
    times["other"] = max(seconds - sum(times.values()), 0.0)
    for name, value in times.items():
        share = value / seconds
        lines.append(
            f"{name:<12} {value / steps * 1e3:10.1f} ms a step {share:6.1%}  {'#' * round(40 * share)}"
        )
    averages = [each for each in profiler.key_averages() if each.key not in PARTS]
    on_gpu = any(each.self_device_time_total for each in averages)
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"  # microseconds
    lines += ["", f"{'operators by their own time':<42} {'ms a step':>10} {'calls a step':>13}"]
    for each in sorted(averages, key=lambda each: getattr(each, own), reverse=True)[:OPERATORS]:
        lines.append(
            f"{each.key[:42]:<42} {getattr(each, own) / steps / 1e3:10.1f} {each.count / steps:13.1f}"
        )
    return "\n".join(lines)


def part_seconds(profiler: torch.profiler.profile) -> dict[str, float]:
    """Seconds of each part; what runs on a GPU counts for the part during which it was started."""
    events = [each for each in profiler.events() if each.device_type == torch.autograd.DeviceType.CPU]
    spans = [each for each in events if each.name in PARTS]
    totals = dict.fromkeys(PARTS, 0.0)
    kernels = [each for each in events if each.name not in PARTS and each.self_device_time_total]
    for span in spans:
        start, end = span.time_range.start, span.time_range.end
        if kernels and span.name != WAIT:
            started = (each for each in kernels if start <= each.time_range.start < end)
            totals[span.name] += sum(each.self_device_time_total for each in started)
        else:
            totals[span.name] += end - start
    if not kernels:  # features are computed while the next batch is asked for
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
    """Batches as training sees them, shuffled, epoch after epoch."""
    trainer.model.train()
    epoch = 1  # the first one goes from short to long
    while True:
        trainer.sampler.set_epoch(epoch)
        yield from (batch for batch in trainer.train_loader if len(batch))
        epoch += 1


def _name_modules(trainer: Trainer) -> list[Any]:
    """Let the profiler see when features, convolutions and recurrent layers begin and end."""
    modules = [(trainer.train_loader.features, FEATURES), (trainer.model.conv, "conv")]
    modules += [(layer, "recurrent") for layer in trainer.model.rnns]
    return [hook for module, name in modules for hook in _name(module, name)]


def _name(module: nn.Module, name: str) -> tuple[Any, Any]:
    spans: list[record_function] = []

    def begin(*_: object) -> None:
        spans.append(record_function(name))
        spans[-1].__enter__()

    def end(*_: object) -> None:
        spans.pop().__exit__(None, None, None)

    return module.register_forward_pre_hook(begin), module.register_forward_hook(end)
