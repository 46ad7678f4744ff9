"""Measure the word and character error rate of a model on a manifest CSV."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from deepspeech import cli, distributed
from deepspeech.atomic_file import check_writable
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.checkpoint.format import load_model
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader
from deepspeech.data.sampler import BucketingSampler
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation, compare, evaluate
from deepspeech.evaluation.log_probs import SavedOutput
from deepspeech.inference.factory import InferenceConfig, device_and_format, make_decoder
from deepspeech.inference.quantization import quantize
from deepspeech.inference.recognizer import Recognizer
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, one_of, option
from deepspeech.tools.report import Reliability, write_report


def main(argv: Sequence[str] | None = None) -> int:
    distributed.init()
    arguments = cli.parse(argv, __doc__, EvaluationConfig, InferenceConfig, DecoderConfig)
    data, inference = arguments.make(EvaluationConfig), arguments.make(InferenceConfig)
    if data.stream and distributed.world_size() > 1:
        raise InputError("--stream: runs in one process; start test.py without torchrun")
    for name in ("output", "report", "save_output"):
        if path := getattr(data, name):
            folder, flag = os.path.dirname(path) or ".", f"--{name.replace('_', '-')}"
            distributed.on_rank_zero(partial(check_writable, folder, flag))
    device, dtype = device_and_format(inference)
    model = distributed.on_rank_zero(lambda: load_model(inference.model_path)).to(device)
    if inference.int8:
        quantize(model)
    decoder = make_decoder(arguments.make(DecoderConfig), model.labels)
    corpus = distributed.on_rank_zero(
        lambda: load_corpus(
            data.test_manifest,
            model.labels,
            data.unknown_characters,
            allow_empty=True,
            skip_faulty=data.skip_faulty,
        )
    )
    dataset = SpectrogramDataset(corpus, model.labels, model.config.features)
    sampler = BucketingSampler(
        corpus.durations,
        data.batch_size,
        shuffle=False,
        num_replicas=distributed.world_size(),
        rank=distributed.rank(),
    )
    loader = AudioDataLoader(dataset, sampler, data.num_workers, data.skip_faulty, device)
    reliability, saved = Reliability(dataset), SavedOutput(model.labels)
    observing = ([reliability] if data.report else []) + ([saved] if data.save_output else [])
    if data.stream:
        evaluation = evaluate_streams(Recognizer(model, decoder, dtype), dataset, data.skip_faulty)
    else:
        observers = [each.observe for each in observing]
        with torch.inference_mode():
            evaluation = evaluate(model, loader, decoder, dtype, observers=observers)
    for each in observing:
        each.gather()

    def write() -> None:
        if data.save_output:
            saved.write(data.save_output)
        show(evaluation, data)
        if data.output:
            evaluation.write_csv(data.output)
        if data.report:
            title = f"{inference.model_path} on {data.test_manifest}"
            write_report(data.report, title, evaluation, reliability, Recognizer(model, decoder, dtype))

    distributed.on_rank_zero(write)
    return 0


def show(evaluation: Evaluation, data: EvaluationConfig) -> None:
    """Print the error rates and, if asked for, every utterance."""
    if data.verbose:
        for result in evaluation.results:
            print(f"{result.audio_path}\n  reference:  {result.reference}\n  hypothesis: {result.hypothesis}")
    print(f"{len(evaluation.results)} utterances of {data.test_manifest}")
    print(f"WER {evaluation.words}")
    print(f"CER {evaluation.characters}")
    print(f"CER with spaces {evaluation.characters_and_spaces}")
    if evaluation.unreadable:
        print(f"{evaluation.unreadable} utterances could not be read")


@dataclass(frozen=True)
class EvaluationConfig(Options):
    """Test data"""

    test_manifest: str = option("data/test_manifest.csv", "CSV of audio,transcript[,seconds]")
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    num_workers: int = option(4, "processes that load data; 0 loads in the main one", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels: error or drop", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "go on without faulty rows of the manifest instead of stopping")
    verbose: bool = option(False, "print every reference with its hypothesis")
    save_output: str | None = option(None, "file for the network's output, to tune beam search with")
    output: str | None = option(None, "CSV of references, hypotheses and error counts to write")
    report: str | None = option(None, "HTML page on the errors to write")
    stream: bool = option(False, "transcribe as it will be live, a tenth of a second at a time")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stream and (self.report or self.save_output):
            flag = "--report" if self.report else "--save-output"
            raise InputError(f"{flag}: is of whole utterances; leave out --stream")


def evaluate_streams(
    recognizer: Recognizer, dataset: SpectrogramDataset, skip_faulty: bool = False, seconds: float = 0.1
) -> Evaluation:
    """Transcribe every utterance of a dataset as a stream and compare; without a loss.

    Args:
        recognizer: Its model must be able to stream.
        dataset: Without augmentation.
        skip_faulty: Count utterances that cannot be read instead of raising.
        seconds: How much of an utterance comes at a time.

    Raises:
        InputError: The model cannot stream, or an utterance cannot be read.
    """
    stream, results, unreadable = recognizer.stream(), [], 0
    size = int(seconds * stream.sample_rate)
    for index in tqdm(range(len(dataset)), "Streaming", unit="utterance", leave=False):
        try:
            waveform = dataset.corpus.load_audio(index, stream.sample_rate)
        except InputError:
            if not skip_faulty:
                raise
            unreadable += 1
            continue
        for start in range(0, len(waveform), size):
            stream.feed(waveform[start : start + size])
        path = dataset.corpus[index].audio_path
        results.append(compare(path, dataset.reference(index), " ".join(stream.finish().text.split())))
    return Evaluation(results, math.nan, unreadable)
