"""Train a Deep Speech 2 model from manifests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepspeech import cli, distributed, log
from deepspeech.audio.augment import Augmentation, AugmentConfig
from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.commands import deprecated_flags
from deepspeech.data.corpus import load_corpus
from deepspeech.data.dataset import SpectrogramDataset
from deepspeech.data.loader import AudioDataLoader, DataConfig
from deepspeech.data.sampler import BucketingSampler
from deepspeech.device import format_name, keep_freed_memory, process_device
from deepspeech.errors import InputError
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.options import NOT_NEGATIVE, POSITIVE, Options, option
from deepspeech.tools import preset
from deepspeech.tools.find_batch import suggest_batch
from deepspeech.tools.preset import PresetConfig
from deepspeech.tools.profiling import profile
from deepspeech.training.config import TrainingConfig
from deepspeech.training.history import FIGURE
from deepspeech.training.resume import starting_point
from deepspeech.training.signals import Interrupted
from deepspeech.training.trainer import LAST, Trainer

EXAMPLES = """
  train.py --preset small --train-manifest train.csv --val-manifest dev.csv
  train.py --train-manifest train.csv --val-manifest dev.csv --save-folder models/first --checkpoint
  train.py ... --continue-from models/first/deepspeech_final.pth --finetune --lr 1e-4
  torchrun --nproc_per_node 2 train.py ...
"""


def main(argv: Sequence[str] | None = None) -> int:
    distributed.init()
    groups = (
        PresetConfig,
        DataConfig,
        AugmentConfig,
        FeatureConfig,
        ModelConfig,
        TrainingConfig,
        MeasureConfig,
    )
    arguments = cli.parse(argv, __doc__, *groups, extend=deprecated_flags.add_flags, examples=EXAMPLES)
    name, manifests = arguments.make(PresetConfig).preset, arguments.make(DataConfig).train_manifest
    values = distributed.on_rank_zero(lambda: preset.apply(name, arguments.values, *manifests))
    arguments = cli.Arguments(values)
    data, training = arguments.make(DataConfig), arguments.make(TrainingConfig)
    measure = arguments.make(MeasureConfig)
    if distributed.world_size() > 1 and (measure.find_batch or measure.profile):
        raise InputError("--find-batch and --profile measure one process: run them without torchrun")
    folder = SaveFolder(training.save_folder)
    device = process_device(training.cuda and torch.cuda.is_available())
    torch.manual_seed(training.seed)
    keep_freed_memory()

    start = distributed.on_rank_zero(lambda: starting_point(arguments, folder))
    model = start.model
    rate, plain = model.config.features.sample_rate, training.plain_epochs
    augment = Augmentation(arguments.make(AugmentConfig), rate, training.seed, plain)
    train_loader = make_loader(data.train_manifest, model, data, device, augment)
    val_loader = make_loader(data.val_manifest, model, data, device)
    if measure.find_batch:
        print(suggest_batch(train_loader, model.config, training, measure.memory_limit))
        return 0
    trainer = Trainer(model.to(device), train_loader, val_loader, training, folder, start.new_layers)
    if start.state:
        trainer.restore(start.state)
    size = sum(weights.numel() for weights in model.parameters())
    processes = f"{distributed.world_size()} processes, " if distributed.world_size() > 1 else ""
    log.info(f"{size:,} weights on {processes}{device}, {format_name(trainer.step.dtype, device)}")
    if measure.profile:
        print(profile(trainer, measure.profile))
        return 0
    try:
        history = trainer.fit()
    except Interrupted as stop:
        log.warning(str(stop))
        return 128 + stop.signal_number
    if distributed.is_rank_zero():
        print(summary(trainer))
    return int(len(val_loader.dataset) > 0 and bool(history) and math.isnan(history[-1].wer))


def summary(trainer: Trainer) -> str:
    """The best model of a finished run, and where to find it."""
    best, folder = trainer.selection, trainer.folder
    files = f"curves {folder.describe(FIGURE)}, last model {folder.describe(LAST)}"
    if math.isinf(best.wer):
        return f"No best model, for there are no references to compare with; {files}"
    path, epoch = folder.describe(trainer.config.best_val_model_name), best.epoch or "before this run"
    cer = f", CER {100 * best.cer:.2f} %" if best.epoch else ""  # not in the files of deepspeech.pytorch
    return f"Best: epoch {epoch}, WER {100 * best.wer:.2f} %{cer}, model {path}, {files}"


def make_loader(
    manifests: str | Sequence[str],
    model: DeepSpeech,
    data: DataConfig,
    device: torch.device,
    augment: Augmentation | None = None,
    keep_text: bool = False,
) -> AudioDataLoader:
    """Check manifests and build their loader: for training with an augmentation, else for validation."""
    shuffle = augment is not None
    corpus = distributed.on_rank_zero(
        lambda: load_corpus(
            manifests, model.labels, data.unknown_characters, not shuffle, data.skip_faulty, keep_text
        )
    )
    on_device = device.type == "cuda" if data.features_on_device is None else data.features_on_device
    dataset = SpectrogramDataset(corpus, model.labels, model.config.features, augment)
    sampler = BucketingSampler(
        corpus.durations,
        data.batch_size,
        shuffle,
        sorta_grad=data.sorta_grad,
        seed=augment.seed if augment else 0,
        num_replicas=distributed.world_size(),
        rank=distributed.rank(),
        batch_seconds=data.batch_seconds,
        parts=corpus.parts,
    )
    return AudioDataLoader(dataset, sampler, data.num_workers, data.skip_faulty, device, on_device)


@dataclass(frozen=True)
class MeasureConfig(Options):
    """Measurements instead of training"""

    find_batch: bool = option(False, "print the largest --batch-seconds that fits into memory, and exit")
    memory_limit: float | None = option(
        None,
        "memory in GiB (default: nine tenths of what is free)",
        POSITIVE,
        needs="find_batch",
        metavar="GIB",
    )
    profile: int = option(
        0, "write a trace of N training steps and a summary, and exit", NOT_NEGATIVE, metavar="N"
    )
