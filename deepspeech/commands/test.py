"""Measure the word and character error rate of a model on a manifest."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

from deepspeech import cli, distributed, log
from deepspeech.atomic_file import check_writable
from deepspeech.beam_search.config import DecoderConfig
from deepspeech.commands.train import make_loader
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import DataConfig
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation, compare, evaluate
from deepspeech.evaluation.log_probs import SavedOutput
from deepspeech.evaluation.normalizer import NAMES, load_normalizer, normalised
from deepspeech.inference.factory import InferenceConfig, load_recognizer, tuned
from deepspeech.inference.onnx_network import OnnxNetwork, is_onnx
from deepspeech.inference.recognizer import Recognizer
from deepspeech.inference.stream import Stream
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, one_of, option
from deepspeech.tools.report import write_report
from deepspeech.transcription.pipe import BLOCK

EXAMPLES = """\
test.py --model-path models/deepspeech_final.pth --test-manifest test.csv --report errors.html
test.py --model-path model.pth --test-manifest test.csv --decoder beam --lm-path lm.arpa"""


def main(argv: Sequence[str] | None = None) -> int:
    distributed.init()
    groups = EvaluationConfig, InferenceConfig, DecoderConfig
    arguments = cli.parse(argv, __doc__, *groups, examples=EXAMPLES)
    data, inference = arguments.make(EvaluationConfig), arguments.make(InferenceConfig)
    if distributed.world_size() > 1 and (data.stream or is_onnx(inference.model_path)):
        reason = "--stream" if data.stream else inference.model_path
        raise InputError(f"{reason}: runs in one process; start test.py without torchrun")
    for name in ("output", "report", "save_output"):
        if path := getattr(data, name):
            folder, flag = os.path.dirname(path) or ".", f"--{name.replace('_', '-')}"
            distributed.on_rank_zero(partial(check_writable, folder, flag))
    recognizer = load_recognizer(inference, tuned(arguments.make(DecoderConfig), inference.model_path))
    onnx = isinstance(recognizer.model, OnnxNetwork)
    if onnx and (data.report or data.save_output):
        flag = "--report" if data.report else "--save-output"
        raise InputError(f"{flag}: needs the model in torch; give the file that the ONNX file was made from")
    model, loading = recognizer.model, arguments.make(DataConfig, features_on_device=False)
    normalize = load_normalizer(data.normalizer) if data.normalizer else None
    device = torch.device("cpu") if onnx else recognizer.device
    loader = make_loader(data.test_manifest, model, loading, device, keep_text=bool(normalize))
    if data.stream or onnx:
        recognize = in_chunks(recognizer.stream()) if data.stream else whole(recognizer)
        evaluation = evaluate_singly(recognize, loader.dataset, data.skip_faulty)
    else:
        evaluation = evaluate(
            model,
            loader,
            recognizer.decoder,
            recognizer.dtype,
            with_confidences=bool(data.report),
            with_log_probs=bool(data.save_output),
        )
    if normalize:
        evaluation = normalised(evaluation, normalize)

    def write() -> None:
        if data.save_output:
            log_probs = [each.log_probs for each in evaluation.results if each.log_probs is not None]
            references = [each.reference for each in evaluation.results]
            SavedOutput(model.labels, log_probs, references).write(data.save_output)
        show(evaluation, data)
        if data.output:
            evaluation.write_csv(data.output)
        if data.report:
            title = f"{inference.model_path} on {data.test_manifest}"
            rate, corpus = model.config.features.sample_rate, loader.dataset.corpus
            write_report(
                data.report, title, evaluation, recognizer, lambda index: corpus.load_audio(index, rate)
            )

    distributed.on_rank_zero(write)
    if evaluation.words.length:
        return 0
    place = f"{os.path.basename(sys.argv[0])}: error: {data.test_manifest}"
    log.error(f"{place}: no words in the references, so there is no rate; give transcripts")
    return 1


def show(evaluation: Evaluation, data: EvaluationConfig) -> None:
    """Print the error rates and, with --verbose, every utterance."""
    if data.verbose:
        for result in evaluation.results:
            print(f"{result.audio_path}\n  reference:  {result.reference}\n  hypothesis: {result.hypothesis}")
    words = f", normalised by {data.normalizer}" if data.normalizer else ""
    print(f"{len(evaluation.results)} utterances of {data.test_manifest}{words}")
    print(f"WER {evaluation.words}")
    print(f"CER {evaluation.characters}")
    print(f"CER with spaces {evaluation.characters_and_spaces}")
    for fault in evaluation.faults:
        log.warning(f"left out: {fault}")
    if evaluation.faults:
        print(f"{len(evaluation.faults)} utterances could not be read")


@dataclass(frozen=True)
class EvaluationConfig(Options):
    """Test data"""

    test_manifest: str = option(
        "data/test_manifest.csv", "CSV of audio,transcript[,seconds], or JSON lines", metavar="FILE"
    )
    # Names and defaults of the next four are those of DataConfig, which is made from the same flags
    batch_size: int = option(20, "utterances in a batch", POSITIVE)
    num_workers: int = option(4, "processes that load data; 0 loads in the main one", NOT_NEGATIVE)
    unknown_characters: str = option(
        "error", "what to do with characters outside the labels: error or drop", one_of("error", "drop")
    )
    skip_faulty: bool = option(False, "skip faulty rows of the manifest instead of stopping")
    verbose: bool = option(False, "print every reference with its hypothesis")
    save_output: str | None = option(None, "save log-probabilities, for tune-lm", metavar="FILE")
    output: str | None = option(None, "write references, hypotheses and error counts as CSV", metavar="FILE")
    report: str | None = option(None, "write an HTML page about the errors", metavar="FILE")
    stream: bool = option(False, "transcribe as if live, a tenth of a second at a time")

    normalizer: str | None = option(
        None,
        "normalise references and hypotheses before errors are counted, as public leaderboards do: whisper "
        "for English, whisper-basic for other languages",
        one_of(*NAMES),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalizer and (self.report or self.save_output):
            flag = "--report" if self.report else "--save-output"
            raise InputError(f"{flag}: needs the words of the network; leave out --normalizer")
        if self.stream and (self.report or self.save_output):
            flag = "--report" if self.report else "--save-output"
            raise InputError(f"{flag}: needs whole utterances; leave out --stream")


def whole(recognizer: Recognizer) -> Callable[[np.ndarray], str]:
    """Transcribes utterances at once."""
    return lambda waveform: recognizer.transcribe(waveform).text


def in_chunks(stream: Stream) -> Callable[[np.ndarray], str]:
    """Transcribes utterances as streams of short chunks."""
    size = int(BLOCK * stream.sample_rate)

    def recognize(waveform: np.ndarray) -> str:
        for start in range(0, len(waveform), size):
            stream.feed(waveform[start : start + size])
        return stream.finish().text

    return recognize


def evaluate_singly(
    recognize: Callable[[np.ndarray], str], dataset: SpectrogramDataset, skip_faulty: bool
) -> Evaluation:
    """Transcribe every utterance of a dataset by itself; there is no loss.

    Args:
        recognize: A waveform (samples,) to its text.
        dataset: The utterances.
        skip_faulty: Leave out utterances that cannot be read.

    Raises:
        InputError: An utterance cannot be read and `skip_faulty` is off.
    """
    results, faults = [], []
    rate = dataset.spectrogram.config.sample_rate
    for index in tqdm(range(len(dataset)), "Evaluating", unit="utterance", leave=False):
        try:
            waveform = dataset.corpus.load_audio(index, rate)
        except InputError as error:
            if not skip_faulty:
                raise
            faults.append(str(error))
            continue
        path = dataset.corpus[index].audio_path
        results.append(compare(path, dataset.reference(index), recognize(waveform)))
    return Evaluation(results, math.nan, tuple(faults))
