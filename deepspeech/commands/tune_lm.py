"""Find the weights of a language model on validation data.

With `--model-path` the network runs first, and what is found stands beside the model, where
`--decoder beam` finds it; without `--lm-path` a 3-gram of the training transcripts is built there too. An
OUTPUT of `test.py --save-output` takes the place of the network. Every trial decodes all utterances with one
alpha and beta, in `--lm-workers` threads. With `--study` the trials are kept in an SQLite file, and a later
run resumes from there.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from deepspeech import cli, log
from deepspeech.atomic_file import write_atomic
from deepspeech.beam_search.beam_decoder import BeamCTCDecoder
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.beam_search.language_model import LanguageModel
from deepspeech.checkpoint.format import load_model
from deepspeech.commands.build_lm import estimate, read_sentences
from deepspeech.commands.train import make_loader
from deepspeech.data.loader import DataConfig
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import InputError
from deepspeech.evaluation import figures
from deepspeech.evaluation.evaluate import Evaluation, compare
from deepspeech.evaluation.evaluate import evaluate as evaluate_corpus
from deepspeech.evaluation.log_probs import SavedOutput
from deepspeech.inference.factory import tuned_path
from deepspeech.labels import Labels
from deepspeech.options import NOT_NEGATIVE, POSITIVE, WEIGHT, Options, option

EXAMPLES = """
  deepspeech tune-lm --model-path models/final.pth --train-manifest train.csv --val-manifest dev.csv
  deepspeech tune-lm output.npz --lm-path lm.arpa --plot tuning.png
"""


@dataclass(frozen=True)
class TuningConfig(Options):
    """Tuning"""

    output: str | None = option(
        None, "a file of test.py --save-output", positional=True, nargs="?", metavar="OUTPUT"
    )
    model_path: str | None = option(None, "the model whose beam search to tune", metavar="FILE")
    val_manifest: str | None = option(
        None, "manifest of the utterances to tune on", needs="model_path", metavar="FILE"
    )
    train_manifest: str | None = option(
        None, "manifest of the transcripts to build a 3-gram of", needs="model_path", metavar="FILE"
    )
    trials: int = option(60, "pairs of alpha and beta to try", POSITIVE)
    alpha_range: tuple[float, float] = option(
        (0.0, 3.0), "where to look for alpha", WEIGHT, nargs=2, metavar="A"
    )
    beta_range: tuple[float, float] = option(
        (-2.0, 5.0), "where to look for beta", WEIGHT, nargs=2, metavar="B"
    )
    study: str | None = option(
        None, "SQLite file that keeps the trials; an existing study is resumed", metavar="FILE"
    )
    plot: str | None = option(None, "draw the WER over alpha and beta: .png, .svg or .pdf", metavar="FILE")
    seed: int = option(123456, "seed of the search", NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha_range", "beta_range"):
            low, high = getattr(self, name)
            if not low < high:
                raise InputError(f"--{name.replace('_', '-')} {low} {high}: give a lower and a higher number")
        if bool(self.output) == bool(self.val_manifest):
            raise InputError("give a model with --model-path and --val-manifest, or its saved OUTPUT")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = cli.parse(argv, __doc__, TuningConfig, DecoderConfig, examples=EXAMPLES)
    tuning, decoder = arguments.make(TuningConfig), arguments.make(DecoderConfig)
    decoder = replace(decoder, decoder="beam", top_paths=1)
    if tuning.plot:
        figures.check_path(tuning.plot, "--plot")
    if not decoder.lm_path and not tuning.train_manifest:
        raise InputError(
            "there are no weights to tune without a language model; pass --lm-path, or --train-manifest to "
            "build one of its transcripts"
        )
    output = SavedOutput.read(tuning.output) if tuning.output else run_network(tuning)
    if not sum(map(len, output.references)):
        raise InputError("no reference transcripts to tune on; give a manifest with text")
    if not decoder.lm_path:
        decoder = replace(decoder, lm_path=build_trigrams(tuning, output.labels))
    language_model = LanguageModel(str(decoder.lm_path), output.labels, decoder.lm_unit)
    study = _study(tuning)
    for _ in (bar := tqdm(range(tuning.trials), desc="Tuning", unit="trial")):
        trial = study.ask()
        alpha = trial.suggest_float("alpha", *tuning.alpha_range)
        beta = trial.suggest_float("beta", *tuning.beta_range)
        config = replace(decoder, alpha=alpha, beta=beta)
        evaluation = evaluate(output, BeamCTCDecoder(output.labels, config, language_model))
        trial.set_user_attr("cer", evaluation.characters.rate)
        study.tell(trial, evaluation.words.rate)
        bar.set_postfix_str(f"best WER {100 * best_trial(study).value:.2f} %")
    best = best_trial(study)
    print(f"{len(_done(study))} trials on {len(output.references)} utterances")
    print(f"best: WER {100 * best.value:.2f} %, CER {100 * best.user_attrs['cer']:.2f} %")
    flags = f"--decoder beam --lm-path {decoder.lm_path} --beam-width {decoder.beam_width}"
    flags += f" --alpha {best.params['alpha']:.3f} --beta {best.params['beta']:.3f}"
    flags += " --lm-unit character" if decoder.lm_unit == "character" else ""
    print(flags + (" --lm-open" if decoder.lm_open else ""))
    if tuning.model_path:
        save_options(tuning.model_path, replace(decoder, **best.params))
    if tuning.plot:
        draw(study, best, tuning.plot)
    return 0


def save_options(model_path: str, decoder: DecoderConfig) -> None:
    """Write the options of the beam search beside the model, where `inference.factory.tuned` finds them.

    Raises:
        InputError: The file cannot be written.
    """
    path = tuned_path(model_path)
    names = ("beam_width", "lm_unit", "lm_open", "lm_unknown")
    found: dict[str, Any] = {"lm_path": os.path.relpath(str(decoder.lm_path), path.parent)}
    found |= {name: getattr(decoder, name) for name in names}
    found |= {"alpha": round(decoder.alpha, 3), "beta": round(decoder.beta, 3)}
    write_atomic(path, json.dumps(found, indent=1).encode())
    log.info(f"{path}: written; test.py and transcribe.py --decoder beam use it")


def run_network(tuning: TuningConfig) -> SavedOutput:
    """The log-probabilities of the validation utterances.

    Raises:
        InputError: The model or the manifest cannot be read.
    """
    model = load_model(str(tuning.model_path))
    data = DataConfig(num_workers=0, val_manifest=str(tuning.val_manifest))
    loader = make_loader(data.val_manifest, model, data, torch.device("cpu"))
    results = evaluate_corpus(model, loader, GreedyDecoder(model.labels), with_log_probs=True).results
    log_probs = [each.log_probs for each in results if each.log_probs is not None]
    return SavedOutput(model.labels, log_probs, [each.reference for each in results])


def build_trigrams(tuning: TuningConfig, labels: Labels) -> str:
    """Build a 3-gram of the training transcripts beside the model; returns its path.

    Raises:
        InputError: The manifest cannot be read, or the file cannot be written.
    """
    sentences = read_sentences([str(tuning.train_manifest)], labels)
    path = Path(str(tuning.model_path)).with_suffix(".arpa")
    write_atomic(path, estimate(sentences, 3))
    log.info(f"{path}: 3-grams of {len(sentences)} sentences of {tuning.train_manifest}")
    return str(path)


def evaluate(output: SavedOutput, decoder: BeamCTCDecoder) -> Evaluation:
    """Decode the saved output of a network and count the errors."""
    results = decoder.decode_all([each.astype(np.float32) for each in output.log_probs])
    pairs = zip(output.references, results, strict=True)
    return Evaluation([compare("", reference, best.text) for reference, (best, *_) in pairs], math.nan)


def best_trial(study: Any) -> Any:
    """The lowest WER, then the lowest CER; among equals the one in the middle, which is the safest."""

    def rates(trial: Any) -> tuple[float, float]:
        return trial.value, trial.user_attrs["cer"]

    lowest = min(map(rates, _done(study)))
    equals = [trial for trial in _done(study) if rates(trial) == lowest]
    weights = np.array([[trial.params["alpha"], trial.params["beta"]] for trial in equals])
    distances = np.abs(weights - weights.mean(axis=0)) / (np.ptp(weights, axis=0) + 1e-9)
    return equals[int(distances.sum(axis=1).argmin())]


def _done(study: Any) -> list[Any]:
    return [trial for trial in study.trials if "cer" in trial.user_attrs and trial.value is not None]


def draw(study: Any, best: Any, path: str) -> None:
    """A heat map of the WER over alpha and beta.

    Raises:
        InputError: The file cannot be written.
    """
    done = _done(study)
    alphas, betas = ([trial.params[name] for trial in done] for name in ("alpha", "beta"))
    rates = [100 * trial.value for trial in done]
    with figures.new_figure(7, 5) as figure:
        axes = figure.subplots()
        if len(done) > 3:
            axes.tricontourf(alphas, betas, rates, levels=20, cmap="viridis_r", alpha=0.6)
        points = axes.scatter(alphas, betas, c=rates, cmap="viridis_r", edgecolors="black", linewidths=0.5)
        axes.plot(
            best.params["alpha"], best.params["beta"], "*", color="C1", markersize=16,
            label=f"best: {min(rates):.2f} %",
        )  # fmt: skip
        axes.set(xlabel="alpha (language model)", ylabel="beta (words)", title="WER")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12))
        figure.colorbar(points, label="WER, %")
        figures.save(figure, path)


def _study(tuning: TuningConfig) -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("the package optuna is missing; pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = f"sqlite:///{tuning.study}" if tuning.study else None
    try:
        study = optuna.create_study(study_name="alpha and beta", storage=storage, load_if_exists=True)
    except Exception as error:  # of SQLAlchemy, which only Optuna needs
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InputError(f"--study {tuning.study}: {reason}; give another file") from None
    # The same seed again would propose the first trials of an earlier run once more
    seed = tuning.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    return study
