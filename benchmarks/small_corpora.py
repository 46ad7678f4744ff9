#!/usr/bin/env python3
"""Train on small corpora with several seeds, within a budget of minutes, and test what is left behind.

Each run trains, tunes a 3-gram of the training transcripts on the development set, and tests on the test set,
greedily and with the 3-gram. Nothing is chosen by the test set. Finished runs are kept in FOLDER and not
repeated, so that a table can be continued.

    python benchmarks/small_corpora.py FOLDER --corpus barista train.csv half1.csv half2.csv --seeds 3
    python benchmarks/small_corpora.py FOLDER --corpus an4 train.csv dev.csv dev.csv --flags "--preset small"
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURES = "greedy", "last", "3-gram"


def run(*words: object) -> str:
    """Run a command of the package; returns what it prints. Its messages pass through."""
    command = [sys.executable, "-m", "deepspeech", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def word_error_rate(model: Path, manifest: Path, *flags: str) -> float:
    """In percent."""
    shown = run("test", "--model-path", model, "--test-manifest", manifest, *flags)
    match = re.search(r"^WER ([\d.]+) %", shown, re.MULTILINE)
    if not match:
        raise SystemExit(f"{manifest}: no WER in the output of test.py: {shown}")
    return float(match[1])


def measure(corpus: list[str], flags: list[str], seed: int, minutes: float, folder: Path) -> dict[str, Any]:
    """Train, tune and test once."""
    name, train_manifest, dev_manifest, test_manifest = corpus
    train: list[object] = ["train", *flags, "--seed", seed, "--train-manifest", train_manifest]
    train += ["--val-manifest", dev_manifest]
    started = time.monotonic()
    run(*train, *(["--minutes", minutes] if minutes else []), "--save-folder", folder)
    taken = (time.monotonic() - started) / 60
    model, test = folder / "deepspeech_final.pth", Path(test_manifest)
    run("tune-lm", "--model-path", model, "--train-manifest", train_manifest, "--val-manifest", dev_manifest)
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        "corpus": name,
        "flags": shlex.join(flags),
        "seed": seed,
        "minutes": taken,
        "epochs": len(rows),
        "greedy": word_error_rate(model, test),
        "last": word_error_rate(folder / "deepspeech_last.pth", test),
        "3-gram": word_error_rate(model, test, "--decoder", "beam"),
    }


def show(results: list[dict[str, Any]]) -> None:
    """Print a table: WER as mean (best to worst) over the seeds."""
    print(f"| corpus | flags | seeds | epochs | minutes | {' | '.join(MEASURES)} |")
    print("|" + "---|" * (5 + len(MEASURES)))
    for corpus, flags in dict.fromkeys((each["corpus"], each["flags"]) for each in results):
        rows = [each for each in results if (each["corpus"], each["flags"]) == (corpus, flags)]
        columns = [corpus, f"`{flags}`", str(len(rows))]
        columns += [f"{statistics.mean(row[name] for row in rows):.0f}" for name in ("epochs", "minutes")]
        for name in MEASURES:
            rates = [row[name] for row in rows]
            columns.append(f"{statistics.mean(rates):.1f} % ({min(rates):.1f} to {max(rates):.1f})")
        print(f"| {' | '.join(columns)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where models and results are kept")
    parser.add_argument(
        "--corpus", nargs=4, action="append", required=True, metavar=("NAME", "TRAIN", "DEV", "TEST")
    )
    parser.add_argument("--flags", action="append", help="flags of train.py; several times to compare")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--minutes", type=float, default=0, help="train no longer; 0: as long as the flags say"
    )
    arguments = parser.parse_args()
    results = []
    for corpus in arguments.corpus:
        corpus[1:] = [str(Path(each).resolve()) for each in corpus[1:]]
        for text in arguments.flags or ["--preset small"]:
            for seed in range(1, arguments.seeds + 1):
                label = re.sub(r"\W+", "-", text).strip("-")
                folder = (arguments.folder / f"{corpus[0]}-{label}-{seed}").resolve()
                record = folder / "result.json"
                if not record.exists():
                    result = measure(corpus, shlex.split(text), seed, arguments.minutes, folder)
                    record.write_text(json.dumps(result), encoding="utf-8")
                results.append(json.loads(record.read_text(encoding="utf-8")))
    show(results)


if __name__ == "__main__":
    main()
