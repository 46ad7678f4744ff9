#!/usr/bin/env python3
"""Measure the word and character error rate of a model on a manifest CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import torch

from deepspeech import cli, distributed
from deepspeech.beam_search.config import DecoderConfig, EvaluationConfig, InferenceConfig
from deepspeech.checkpoint.format import check_writable, load_model
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import AudioDataLoader, BucketingSampler, SpectrogramDataset
from deepspeech.decoding.decoder import make_decoder
from deepspeech.device import inference_device, inference_format
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation, evaluate, evaluate_streams
from deepspeech.evaluation.log_probs import SavedOutput
from deepspeech.inference.quantization import quantize
from deepspeech.inference.recognizer import Recognizer
from deepspeech.tools.report import Reliability, write_report


def main(argv: Sequence[str] | None = None) -> int:
    distributed.join()
    arguments = cli.parse(argv, __doc__, EvaluationConfig, InferenceConfig, DecoderConfig)
    data, inference = arguments.make(EvaluationConfig), arguments.make(InferenceConfig)
    if data.stream and distributed.size() > 1:
        raise InputError("--stream: runs in one process; start test.py without torchrun")
    for name in ("output", "report", "save_output"):
        if path := getattr(data, name):
            folder, flag = os.path.dirname(path) or ".", f"--{name.replace('_', '-')}"
            distributed.on_first(partial(check_writable, folder, flag))
    device = inference_device(inference.cuda)
    dtype = inference_format(inference, device)
    model = distributed.on_first(lambda: load_model(inference.model_path)).to(device)
    if inference.int8:
        quantize(model)
    decoder = make_decoder(arguments.make(DecoderConfig), model.labels)
    corpus = distributed.on_first(
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
        num_replicas=distributed.size(),
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

    distributed.on_first(write)
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


if __name__ == "__main__":
    cli.run(main)
