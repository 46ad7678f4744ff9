#!/usr/bin/env python3
"""Time a training step of this project's network against the same network on packed sequences.

Both networks have the same weights and run the same step: forward pass, CTC loss, backward pass,
clipping, SGD. They differ in the recurrent layers only: ours are dense, the reference's pass torch
a packed sequence, as deepspeech.pytorch does. Their steps alternate, and the fastest of each counts.

    python benchmarks/train_step.py [--threads 2] [--repeats 4] [--check]
    python benchmarks/train_step.py --device cuda [--variants] [--check]   (see device_step.py)

Columns: seconds of a step with packed sequences in float32 and in the precision of the row;
seconds of ours; the speed-up over each; and the arithmetic rate of our step as a share of the
fastest product of two 2048 x 2048 matrices in the format of the row (mixed: bf16). Convolutions count as
direct ones; those by the FFT do with less, so the share may exceed 100 %.
`--check` exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import device_step
import torch
from packed import PackedLayer

from deepspeech.data.batch import Batch
from deepspeech.device import computes_bf16, keep_freed_memory, number_format
from deepspeech.model.config import ModelConfig
from deepspeech.model.ctc import ctc_losses
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.model.rnn import RecurrentLayer

CAPABILITY = torch.backends.cpu.get_cpu_capability()  # AVX2, AVX512, ...


@dataclass(frozen=True)
class Case:
    """A network, a batch, and their bars."""

    rnn_type: str
    hidden_layers: int
    hidden_size: int
    batch: int
    seconds: int
    precision: str  # "fp32", or "mixed": the default of train.py
    faster: float = 0.0  # at least this many times faster than packed sequences in float32
    peak: float = 0.0  # at least this share of the matrix-product peak
    peak_avx2: float = 0.0  # without AVX-512

    @property
    def share(self) -> float:
        """The bar on the share of the peak on this processor."""
        return self.peak if "512" in CAPABILITY else self.peak_avx2

    def __str__(self) -> str:
        network = f"{self.hidden_layers} x {self.hidden_size} {self.rnn_type.upper()}"
        return f"{network}, {self.batch} x {self.seconds} s, {self.precision}"


CASES = (
    Case("lstm", 5, 800, 8, 4, "fp32", faster=2.6, peak=0.8, peak_avx2=0.85),
    Case("lstm", 5, 800, 8, 4, "mixed"),
    Case("gru", 5, 800, 8, 4, "fp32", peak_avx2=0.75),
    Case("gru", 5, 800, 8, 4, "mixed", faster=2.8),
    Case("lstm", 2, 256, 20, 2, "fp32", peak_avx2=0.75),
    Case("lstm", 2, 256, 20, 2, "mixed", faster=1.6),
    Case("gru", 2, 256, 20, 2, "fp32", peak_avx2=0.75),
)


def make_model(case: Case, packed: bool) -> DeepSpeech:
    torch.manual_seed(0)
    config = ModelConfig(
        rnn_type=case.rnn_type,
        hidden_layers=case.hidden_layers,
        hidden_size=case.hidden_size,
        labels=device_step.LABELS,
    )
    model = DeepSpeech(config).train()
    for layer in model.rnns:
        layer.__class__ = PackedLayer if packed else RecurrentLayer
    return model


def make_batch(case: Case) -> Batch:
    """Utterances of similar length, as in the bucketing sampler's batches: within 15 %."""
    frames = 100 * case.seconds + 1
    lengths = torch.linspace(0.85 * frames, frames, case.batch).long()
    characters = 12 * case.seconds
    return Batch(
        indices=list(range(case.batch)),
        features=torch.randn(case.batch, 161, frames),
        lengths=lengths,
        targets=torch.randint(1, len(device_step.LABELS), (case.batch * characters,)),
        target_lengths=torch.full((case.batch,), characters),
        duration=float(lengths.sum()) / 100,
    )


def make_step(case: Case, packed: bool, dtype: torch.dtype) -> Callable[[], None]:
    model, batch = make_model(case, packed), make_batch(case)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True, fused=True)

    def step() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            log_probs, lengths = model(batch.features, batch.lengths)
        losses = ctc_losses(log_probs, lengths, batch.targets, batch.target_lengths, blank=0)
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 400)
        optimizer.step()
        optimizer.zero_grad()

    return step


def arithmetic(case: Case) -> float:
    """Floating-point operations of a step's matrix products, forward and backward."""
    model, frames = make_model(case, packed=False), 50 * case.seconds + 1
    convolutions = [model.conv.seq_module[0], model.conv.seq_module[3]]
    first, second = (
        2 * case.batch * frames * bins * convolution.weight.numel()
        for bins, convolution in zip((81, 41), convolutions, strict=True)
    )
    matrices = [*(p for layer in model.rnns for p in layer.rnn.parameters() if p.dim() == 2)]
    products = 2 * case.batch * frames * sum(p.numel() for p in matrices)
    return 2 * first + 3 * second + 3 * products  # nothing needs the gradient of the features


def seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak(dtype: torch.dtype) -> float:
    """Operations per second of the fastest of several matrix products."""
    matrix = torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / min(seconds(lambda: matrix @ matrix) for _ in range(8))


def measure(case: Case, repeats: int) -> tuple[str, bool]:
    """The row of a case, and whether it meets its bars."""
    dtype = number_format("auto" if case.precision == "mixed" else "fp32", torch.device("cpu"))
    variants = {"packed fp32": (True, torch.float32), "packed": (True, dtype), "ours": (False, dtype)}
    if dtype == torch.float32:
        del variants["packed"]
    steps = {name: make_step(case, *variant) for name, variant in variants.items()}
    best, fastest = dict.fromkeys(steps, float("inf")), 0.0
    for step in steps.values():
        step()
    for _ in range(repeats):
        fastest = max(fastest, peak(dtype))
        for name, step in steps.items():
            best[name] = min(best[name], seconds(step))
    best.setdefault("packed", best["packed fp32"])
    gain, gain_same = best["packed fp32"] / best["ours"], best["packed"] / best["ours"]
    share = arithmetic(case) / best["ours"] / fastest
    passes = gain >= case.faster and share >= case.share
    bars = [f">= {case.faster} times"] * bool(case.faster) + [f">= {case.share:.0%} of peak"] * bool(
        case.share
    )
    verdict = f"{', '.join(bars)}: {'passed' if passes else 'MISSED'}" if bars else ""
    row = (
        f"{case!s:<32} {best['packed fp32']:8.2f} {best['packed']:8.2f} {best['ours']:8.2f} "
        f"{gain:8.2f} {gain_same:8.2f} {share:6.0%}  {verdict}"
    )
    return row, passes


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--device", help="cuda: whole steps on a GPU, part by part (cpu to try the script)")
    parser.add_argument("--tiny", action="store_true", help="with --device: small networks, one step")
    parser.add_argument("--variants", action="store_true", help="with --device: variants of one network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    if arguments.device:
        return device_step.main(arguments)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {platform.machine()}, {CAPABILITY}")
    print(f"{'':<32} {'packed':>8} {'packed':>8} {'ours':>8} {'times':>8} {'times':>8} {'share':>6}")
    print(f"{'':<32} {'fp32, s':>8} {'same, s':>8} {'s':>8} {'fp32':>8} {'same':>8} {'peak':>6}")
    passed = True
    for case in CASES:
        if case.precision == "mixed" and not computes_bf16(torch.device("cpu")):
            continue  # it would be float32 again
        if arguments.only in str(case):
            row, passes = measure(case, arguments.repeats)
            passed &= passes
            print(row, flush=True)
    return int(arguments.check and not passed)


if __name__ == "__main__":
    raise SystemExit(main())
