#!/usr/bin/env python3
"""Measure training beside other busy processes: how much of its throughput on an idle machine is left.

A network of 2 x 256 units trains in float32 for some seconds at a time, in processes of their own: with the
package's defaults for OpenMP, and with others to compare. Beside it spin no, one and two processes. The
variants take turns, and the fastest run of each counts.

    python benchmarks/contention.py [--threads 2] [--seconds 8] [--repeats 2] [--check]

Columns: steps a second beside no, one and two busy processes, and the shares that are left beside one and
two. `--check` exits with 1 where a bar is missed: at least 60 and 55 %, and at most 3 % lost on an idle
machine against torch's own waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLAIN, PACKAGE = "torch's own", "the package's"
VARIANTS: dict[str, dict[str, str]] = {  # environment
    PLAIN: {},
    PACKAGE: {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
}
CELLS = ("lstm", "gru")
LEFT = {1: 0.60, 2: 0.55}  # share of the idle throughput, at least, beside so many busy processes
LOST = 0.03  # on an idle machine, at most
SPIN = "while True: pass"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is missed")
    parser.add_argument("--train", choices=CELLS, help=argparse.SUPPRESS)
    parser.add_argument("--defaults", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.train:
        print(train(arguments.train, arguments.seconds, arguments.defaults))
        return 0
    print(f"{'':<20} {'idle':>8} {'beside 1':>9} {'beside 2':>9} {'left':>6} {'left':>6}")
    rates: dict[tuple[str, str, int], float] = {}
    for _, cell, busy in itertools.product(range(arguments.repeats), CELLS, (0, *LEFT)):
        with spinning(busy):
            for name in VARIANTS:
                key = name, cell, busy
                rates[key] = max(rates.get(key, 0.0), measure(name, cell, arguments))
    passed = [show(name, cell, rates) for cell, name in itertools.product(CELLS, VARIANTS)]
    return int(arguments.check and not all(passed))


def show(name: str, cell: str, rates: Mapping[tuple[str, str, int], float]) -> bool:
    """Print the row of a variant; returns whether it meets its bars, which only the package's has."""
    idle = rates[name, cell, 0]
    left = {busy: rates[name, cell, busy] / idle for busy in LEFT}
    row = f"{cell.upper()}, {name:<14} {idle:8.2f}"
    row += "".join(f" {rates[name, cell, busy]:9.2f}" for busy in LEFT)
    row += "".join(f" {share:6.0%}" for share in left.values())
    if name != PACKAGE:
        print(row, flush=True)
        return True
    kept = all(share >= LEFT[busy] for busy, share in left.items())
    passed = kept and idle >= (1 - LOST) * rates[PLAIN, cell, 0]
    print(f"{row}  {'passed' if passed else 'MISSED'}", flush=True)
    return passed


def measure(name: str, cell: str, arguments: argparse.Namespace) -> float:
    """Steps a second of a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(arguments.threads)}
    for setting in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(setting, None)
    command = [sys.executable, __file__, "--train", cell, "--seconds", str(arguments.seconds)]
    command += ["--defaults"] * (name == PACKAGE)
    done = subprocess.run(
        command, env=environment | VARIANTS[name], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def train(cell: str, seconds: float, defaults: bool) -> float:
    """Steps a second."""
    if defaults:
        import deepspeech.cli  # noqa: F401  # sets them, before torch is imported
    import torch
    import train_step

    case = train_step.Case(cell, 2, 256, 20, 2, "fp32")
    train_step.keep_freed_memory()
    step = train_step.make_step(case, packed=False, dtype=torch.float32)
    step()
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or steps < 2:
        step()
        steps += 1
    return steps / passed


@contextlib.contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many busy processes beside."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
