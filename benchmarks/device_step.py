"""Time whole training steps on a GPU, and their parts. `train_step.py --device cuda` runs this.

A step takes a batch of waveforms from pinned memory: features on the device, forward pass, CTC,
backward pass, clipping, SGD. It is compared, in the same run, with

- bare: forward and backward of the recurrent layers alone, torch's own, in the row's format, on
  full batches; nobody can be faster than that without another recurrent kernel. Beside its time
  stand the summed times of its kernels and the time of its replay as a CUDA graph: what is left
  when the host launches nothing;
- packed: the same network with recurrent layers on packed sequences, as deepspeech.pytorch has
  them, and features from the host; these lie ready, as if worker processes had made them in time.
  Once as torch computes by default (TF32 in cuDNN only), once in the row's format.

Columns in milliseconds: step; features, conv, recurrent, CTC with the output layer, optimiser, each
with its backward pass; wait, what a step in a row of steps takes beyond its parts without features,
which are computed during the step before; bare, kernels, graph. Then ratios: step / bare, packed /
step by default and in the same format. On a CPU all this runs too, for a look at it. After eight
minutes the remaining rows are left out; the row with bars comes first.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from bare_recurrence import bare_seconds, fastest, synchronize, use_tf32
from packed import PackedLayer
from torch import Tensor, nn

from deepspeech.audio.features import Spectrogram
from deepspeech.data.batch import Batch, WaveformBatch, padded_length
from deepspeech.data.loader import DeviceFeatures, ahead
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig
from deepspeech.training.train_step import TrainStep

LABELS = ("_", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", " ")
RATE = 1e-6  # learning rate
PARTS = "features", "conv", "recurrent", "ctc", "optimiser"
GIB = 2**30
MINUTES = 8  # of the whole table
PASSES = 2  # over the measurements of a row, so that a slow moment of the machine hits none alone


@dataclass(frozen=True)
class Case:
    """A network, a batch, and how they are computed."""

    rnn_type: str
    batch: int
    seconds: int
    precision: str  # one of PRECISIONS
    hidden_layers: int = 5
    hidden_size: int = 1024
    packed: bool = False
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        network = f"{self.hidden_layers} x {self.hidden_size} {self.rnn_type.upper()}"
        extras = {"packed": self.packed, "channels last": self.channels_last, "compiled": self.compiled}
        chosen = [name for name, on in extras.items() if on]
        return ", ".join([network, f"{self.batch} x {self.seconds} s", self.precision, *chosen])

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(
            rnn_type=self.rnn_type,
            hidden_layers=self.hidden_layers,
            hidden_size=self.hidden_size,
            labels=LABELS,
        )

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


CASES = [
    Case(rnn_type, batch, 15, precision)
    for rnn_type, batch, precision in itertools.product(("lstm", "gru"), (32, 64), ("fp32", "tf32", "bf16"))
]
BAR = Case("lstm", 64, 15, "bf16")
MOST_OVER_BARE, LEAST_OVER_PACKED = 1.3, 1.8  # bars of that case, packed in its format
TINY = [
    Case(rnn_type, 4, 1, precision, hidden_layers=2, hidden_size=32)
    for rnn_type, precision in itertools.product(("lstm", "gru"), ("fp32", "bf16"))
]
VARIANTS = [
    BAR,
    replace(BAR, channels_last=True),
    replace(BAR, compiled=True),
    replace(BAR, channels_last=True, compiled=True),
]


class Stopwatch:
    """Seconds between marks, measured on the device without stopping it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[tuple[str, torch.cuda.Event | float]] = []

    def mark(self, name: str) -> None:
        """Count the time since the previous mark as `name`."""
        now: torch.cuda.Event | float = time.perf_counter()
        if self.device.type == "cuda":
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        self.marks.append((name, now))

    def seconds(self) -> dict[str, float]:
        synchronize(self.device)
        totals: dict[str, float] = {}
        for (_, start), (name, end) in itertools.pairwise(self.marks):
            passed = end - start if isinstance(end, float) else start.elapsed_time(end) / 1e3
            totals[name] = totals.get(name, 0.0) + passed
        return totals


def make_step(case: Case, device: torch.device) -> TrainStep:
    torch.manual_seed(0)
    model = DeepSpeech(case.model).train().to(device)
    if case.packed:
        for layer in model.rnns:
            layer.__class__ = PackedLayer
    if case.channels_last:
        model.conv.to(memory_format=torch.channels_last)
    if case.compiled:
        model.conv.forward = torch.compile(model.conv.forward)
    return TrainStep(model, TrainingConfig(precision="bf16" if case.dtype == torch.bfloat16 else "fp32"))


def make_batch(case: Case, device: torch.device) -> WaveformBatch:
    """Waveforms of similar length, as in the bucketing sampler's batches: within 15 %."""
    samples = 16000 * case.seconds
    lengths = torch.linspace(0.85 * samples, samples, case.batch).long()
    waveforms = 0.1 * torch.randn(case.batch, samples)
    characters = 12 * case.seconds
    batch = WaveformBatch(
        indices=list(range(case.batch)),
        waveforms=waveforms * (torch.arange(samples) < lengths[:, None]),
        lengths=lengths,
        targets=torch.randint(1, len(LABELS), (case.batch * characters,)),
        target_lengths=torch.full((case.batch,), characters),
        duration=float(lengths.sum()) / 16000,
    )
    return batch.pin_memory() if device.type == "cuda" else batch


def host_features(batch: WaveformBatch, device: torch.device) -> Batch:
    """The batch as worker processes would have prepared it, one waveform after the other."""
    spectrogram = Spectrogram()
    rows = [
        spectrogram(row[None, :length])[0][0]
        for row, length in zip(batch.waveforms, batch.lengths.tolist(), strict=True)
    ]
    lengths = torch.tensor([row.shape[1] for row in rows])
    size = padded_length(int(lengths.max()))
    features = torch.stack([nn.functional.pad(row, (0, size - row.shape[1])) for row in rows])
    ready = batch.with_features(features, lengths)
    return ready.pin_memory() if device.type == "cuda" else ready


def run_steps(
    step: TrainStep, batch: Batch, prepare: Callable[[Batch], Batch], device: torch.device, steps: int
) -> None:
    """Steps in a row, each batch prepared during the step before."""
    for ready in ahead(itertools.repeat(batch, steps), prepare, device):
        step.backward(ready, len(ready))
        step.update(RATE)


def part_seconds(
    step: TrainStep, batch: Batch, features: DeviceFeatures, device: torch.device, steps: int
) -> dict[str, float]:
    """Seconds of each part of a step, its backward pass included."""
    watch, model = Stopwatch(device), step.model

    def forward_ends(name: str, gradient_belongs_to: str) -> Callable[..., None]:
        def mark(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            watch.mark(name)
            first = output if isinstance(output, Tensor) else output[0]
            first.register_hook(lambda gradient: watch.mark(gradient_belongs_to))

        return mark

    hooks = [
        model.conv.register_forward_hook(forward_ends("conv", "recurrent")),
        model.rnns[-1].register_forward_hook(forward_ends("recurrent", "ctc")),
    ]
    for _ in range(steps):
        watch.mark("rest")
        ready = features(batch)
        watch.mark("features")
        step.backward(ready, len(ready))
        watch.mark("conv")  # the convolutions' gradients come last
        step.update(RATE)
        watch.mark("optimiser")
    for hook in hooks:
        hook.remove()
    return {name: watch.seconds()[name] / steps for name in PARTS}


@functools.cache
def packed_seconds(reference: Case, device: torch.device, repeats: int, steps: int) -> float:
    """Seconds of a step on packed sequences."""
    use_tf32(reference)
    step = make_step(reference, device)
    ready = host_features(make_batch(reference, device), device)

    def run() -> None:
        run_steps(step, ready, lambda each: each.to(device), device, steps)

    return fastest(run, device, repeats) / steps


def measure(case: Case, device: torch.device, repeats: int, steps: int) -> bool:
    """Print the row of a case; returns whether it passes its bars."""
    plain = replace(case, packed=True, channels_last=False, compiled=False)
    packed = [
        packed_seconds(replace(plain, precision=precision), device, repeats, steps)
        for precision in ("default", case.precision)
    ]
    batch = make_batch(case, device)
    use_tf32(case)
    step, features = make_step(case, device), DeviceFeatures(case.model.features).to(device)
    inputs = step.model.rnns[0].rnn.input_size
    bare, kernels_alone, graph = bare_seconds(plain, inputs, device, repeats)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    whole, parts = math.inf, {}
    for _ in range(PASSES):
        run = functools.partial(run_steps, step, batch, features, device, steps)
        whole = min(whole, fastest(run, device, repeats) / steps)
        now = part_seconds(step, batch, features, device, steps)
        parts = {name: min(value, parts.get(name, math.inf)) for name, value in now.items()}
    memory = f"{torch.cuda.max_memory_allocated(device) / GIB:.1f}" if device.type == "cuda" else "-"
    wait = max(whole - sum(parts.values()) + parts["features"], 0.0)
    numbers = [whole, *parts.values(), wait, bare, kernels_alone, graph]
    ratios = [whole / bare, *(each / whole for each in packed)]
    verdict, passed = "", True
    if case == BAR and device.type == "cuda":
        passed = ratios[0] <= MOST_OVER_BARE and ratios[2] >= LEAST_OVER_PACKED
        verdict = f"<= {MOST_OVER_BARE}, >= {LEAST_OVER_PACKED}: {'passed' if passed else 'MISSED'}"
    print(
        f"{case!s:<52} {batch.duration / whole:8.0f} {memory:>6} "
        + " ".join(f"{'-':>9}" if math.isnan(number) else f"{1e3 * number:9.1f}" for number in numbers)
        + "".join(f" {ratio:9.2f}" for ratio in ratios)
        + f"  {verdict}",
        flush=True,
    )
    return passed


def cases(arguments: argparse.Namespace) -> list[Case]:
    """The chosen cases, first the one with bars."""
    chosen = TINY if arguments.tiny else VARIANTS if arguments.variants else CASES
    return sorted((case for case in chosen if arguments.only in str(case)), key=lambda case: case != BAR)


def main(arguments: argparse.Namespace) -> int:
    device = torch.device(arguments.device)
    if device.type == "cuda":
        driver = torch.cuda.get_device_properties(device)
        print(f"{driver.name}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    print(f"torch {torch.__version__}; times in ms, peak memory in GiB")
    names = ["step", *PARTS, "wait", "bare", "kernels", "graph", "/ bare", "default", "same"]
    print(f"{'':<52} {'audio-s/s':>8} {'memory':>6} {' '.join(f'{name:>9}' for name in names)}")
    steps, results, start = 1 if arguments.tiny else 4, [], time.monotonic()
    for case in cases(arguments):
        if time.monotonic() - start > 60 * MINUTES:
            print(f"{case!s:<52} left out after {MINUTES} minutes")
            continue
        try:
            results.append(measure(case, device, arguments.repeats, steps))
        except Exception as error:  # of torch.compile, which raises many kinds
            if not case.compiled:
                raise
            print(f"{case!s:<52} not compiled: {str(error).splitlines()[0]}")
    return int(arguments.check and not all(results))
