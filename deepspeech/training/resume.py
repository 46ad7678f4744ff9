"""Where training starts: from scratch, from a checkpoint, or from the weights of another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from deepspeech import distributed, log
from deepspeech.audio.config import FeatureConfig
from deepspeech.checkpoint.format import Checkpoint, load_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.cli import Arguments
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.config import ModelConfig
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.options import shown
from deepspeech.training.config import TrainingConfig
from deepspeech.training.state import ResumeState
from deepspeech.training.transfer import layers, transfer


@dataclass(frozen=True)
class Start:
    """A network and, for a resumed run, the state to restore."""

    model: DeepSpeech
    state: ResumeState | None = None
    new_layers: Sequence[str] = ()  # of a fine-tuned network


def starting_point(arguments: Arguments, folder: SaveFolder) -> Start:
    """Build the network that the flags ask for.

    A checkpoint found by --load-auto-checkpoint takes precedence over --continue-from, so that the same
    command resumes after an interruption, also with --finetune. After a restart by torchrun, checkpoints of
    the same run are found without the flag.

    Raises:
        InputError: Flags contradict each other or the checkpoint, or a file cannot be used.
    """
    training, path = arguments.make(TrainingConfig), arguments.values.get("labels_path")
    checkpoint, finetune = _latest(training, folder), False
    if not checkpoint and training.continue_from:
        checkpoint, finetune = load_checkpoint(training.continue_from), training.finetune
    if not checkpoint:
        labels, features = Labels.load(path), arguments.make(FeatureConfig)
        return Start(DeepSpeech(arguments.make(ModelConfig, labels=labels.characters, features=features)))
    _check_flags(arguments, checkpoint)
    model = checkpoint.build_model()
    labels = Labels.load(path) if path else model.labels
    if finetune:
        return _finetune(model, labels, training.drop_layers, checkpoint.source)
    if labels != model.labels:
        raise InputError(
            f"--labels-path {path}: {checkpoint.source} has other labels; leave the flag out, "
            "or pass --finetune to train its weights for these labels"
        )
    state = ResumeState.of(checkpoint)
    found = "resuming from this checkpoint" if state else "no training state; using only its weights"
    log.info(f"{checkpoint.source}: {found}")
    return Start(model, state)


def _latest(training: TrainingConfig, folder: SaveFolder) -> Checkpoint | None:
    """The latest checkpoint in the save folder, if this run resumes from there."""
    if not training.load_auto_checkpoint and not distributed.restarted():
        return None
    path = folder.latest_checkpoint()
    checkpoint = load_checkpoint(path) if path else None
    if checkpoint and not training.load_auto_checkpoint:
        run = (checkpoint.training or {}).get("run")
        checkpoint = checkpoint if run == distributed.run_id() else None
    if distributed.restarted():
        found = f"resuming from {checkpoint.source}" if checkpoint else "no checkpoint yet"
        log.info(f"restarted by torchrun: {found}")
    return checkpoint


def _finetune(source: DeepSpeech, labels: Labels, drop_layers: int, name: str) -> Start:
    model, new = transfer(source, labels, drop_layers)
    kept = [name for name in layers(model.config) if name not in new]
    log.info(f"kept from {name}: {', '.join(kept)}" + (f"; new: {', '.join(new)}" if new else ""))
    if labels != source.labels:
        known = 0 if drop_layers else len(set(labels) & set(source.labels))
        log.info(
            f"output layer: {len(labels)} labels, {known} of them among the model's {len(source.labels)}"
        )
    return Start(model, new_layers=new)


def _check_flags(arguments: Arguments, checkpoint: Checkpoint) -> None:
    """Flags that the checkpoint contradicts are an error, never silently ignored."""
    config = checkpoint.config
    for group, stored in ((ModelConfig, config), (FeatureConfig, config.features)):
        for entry in fields(group):
            value: Any = arguments.values.get(entry.name, getattr(stored, entry.name))
            if value != getattr(stored, entry.name):
                raise InputError(
                    f"{shown(entry, value)}: {checkpoint.source} has {getattr(stored, entry.name)}; "
                    "leave the flag out or train a new model"
                )
