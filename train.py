#!/usr/bin/env python3
"""Train a Deep Speech 2 model from manifest CSVs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from deepspeech import cli
from deepspeech.checkpoint import build_model, check_writable, checkpoints, load_checkpoint
from deepspeech.config import DataConfig, FeatureConfig, ModelConfig, TrainingConfig, flag_names
from deepspeech.data import AudioDataLoader, BucketingSampler, SpectrogramDataset
from deepspeech.device import keep_freed_memory, training_device
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.manifest import load_corpus
from deepspeech.model import DeepSpeech
from deepspeech.training import Interrupted, Trainer


def main(argv: Sequence[str] | None = None) -> int:
    arguments = cli.parse(argv, __doc__, DataConfig, FeatureConfig, ModelConfig, TrainingConfig)
    data, training = arguments.make(DataConfig), arguments.make(TrainingConfig)
    check_writable(training.save_folder, "--save-folder")
    device = training_device(training.cuda)
    torch.manual_seed(training.seed)
    keep_freed_memory()

    source = latest(training) if training.load_auto_checkpoint else None
    source = source or training.continue_from
    content = load_checkpoint(source) if source else None
    if content:
        refuse_contradictions(arguments, data, content["config"], source)
        model = build_model(content, source)
    else:
        labels = Labels.load(data.labels_path)
        features = arguments.make(FeatureConfig)
        model = DeepSpeech(arguments.make(ModelConfig, labels=labels.characters, features=features))

    loaders = [
        make_loader(path, model, data, training, shuffle, device)
        for path, shuffle in ((data.train_manifest, True), (data.val_manifest, False))
    ]
    trainer = Trainer(model.to(device), *loaders, training)
    if content and content["training"] and not training.finetune:
        trainer.load_state_dict(content["training"])
    print(f"{sum(weights.numel() for weights in model.parameters()):,} weights on {device}, {trainer.dtype}")
    try:
        history = trainer.fit()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signal_number
    if history.rows:
        best = min(history.rows, key=lambda row: row.wer)
        print(
            f"Best: epoch {best.epoch}, WER {100 * best.wer:.2f} %, CER {100 * best.cer:.2f} %, "
            f"model {trainer.best_path}, curves {trainer.folder / 'curves.png'}"
        )
    return 0


def latest(training: TrainingConfig) -> str | None:
    """The newest checkpoint in the save folder."""
    found = checkpoints(training.save_folder)
    return str(found[-1]) if found else None


def refuse_contradictions(
    arguments: cli.Arguments, data: DataConfig, config: ModelConfig, source: str
) -> None:
    """Flags that the checkpoint contradicts are an error, never silently ignored."""
    if "labels_path" in arguments.values and Labels.load(data.labels_path) != Labels(config.labels):
        raise InputError(f"--labels-path {data.labels_path}: {source} has other labels; leave the flag out")
    for group, there in ((ModelConfig, config), (FeatureConfig, config.features)):
        for name, entry in group.__dataclass_fields__.items():
            given: Any = arguments.values.get(name, getattr(there, name))
            if given != getattr(there, name):
                raise InputError(
                    f"{flag_names(entry)[0]} {given}: {source} has {getattr(there, name)}; "
                    "leave the flag out or train a new model"
                )


def make_loader(
    path: str,
    model: DeepSpeech,
    data: DataConfig,
    training: TrainingConfig,
    shuffle: bool,
    device: torch.device,
) -> AudioDataLoader:
    """Check a manifest and serve it."""
    corpus = load_corpus(
        path, model.labels, data.unknown_characters, allow_empty=not shuffle, skip_faulty=data.skip_faulty
    )
    dataset = SpectrogramDataset(corpus, model.labels, model.config.features)
    sampler = BucketingSampler(
        corpus.durations, data.batch_size, shuffle, sorta_grad=data.sorta_grad, seed=training.seed
    )
    return AudioDataLoader(
        dataset, sampler, data.num_workers, data.skip_faulty, pin_memory=device.type == "cuda"
    )


if __name__ == "__main__":
    cli.run(main)
