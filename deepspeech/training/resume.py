"""Where a training starts: from nothing, from a checkpoint, or from the weights of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepspeech import distributed, log
from deepspeech.audio.features import FeatureConfig
from deepspeech.checkpoint.format import build_model, in_order, load_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.cli import Arguments
from deepspeech.errors import InputError
from deepspeech.labels import Labels
from deepspeech.model.deepspeech2 import DeepSpeech, ModelConfig
from deepspeech.options import shown
from deepspeech.training.config import TrainingConfig
from deepspeech.training.optimizer import load_memory
from deepspeech.training.progress import Progress
from deepspeech.training.trainer import Trainer
from deepspeech.training.transfer import layers, transfer


@dataclass(frozen=True)
class Start:
    """A network and, if a training goes on, the state of that training."""

    model: DeepSpeech
    new_layers: Sequence[str] = ()  # of a network that began with the weights of another one
    source: str = ""  # the file that it came from
    state: dict[str, Any] | None = None
    imported: bool = False  # whether the state is one of deepspeech.pytorch

    def restore(self, trainer: Trainer) -> None:
        """Let a trainer go on where the file's training stopped.

        Raises:
            InputError: The state does not fit the trainer.
        """
        try:
            if self.imported and self.state is not None:
                _restore_imported(trainer, self.state)
            elif self.state is not None:
                trainer.load_state_dict(self.state)
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from None
        best = trainer.config.best_val_model_name
        if not distributed.on_rank_zero(lambda: trainer.folder.has(best)):
            trainer.best_wer = math.inf  # in another folder, or deleted: the next one is the best
        done, config = trainer.progress.epoch, trainer.config
        if done >= config.epochs:
            log.info(
                f"{self.source}: all of its {done} epochs are done; raise --epochs to go on, "
                "or pass --finetune to start anew from its weights"
            )
        if config.freeze_epochs and not trainer.new_layers:
            raise InputError(
                f"--freeze-epochs {config.freeze_epochs}: no layer is new; "
                "pass --finetune with other --labels-path or with --drop-layers"
            )


def starting_point(arguments: Arguments) -> Start:
    """Make the network that the flags ask for.

    A checkpoint that --load-auto-checkpoint finds comes before --continue-from, so that the same
    command line can be given again after an interruption, --finetune included. The same holds
    when torchrun starts the processes again, for checkpoints of this run.

    Raises:
        InputError: Flags contradict each other or the file, or a file cannot be used.
    """
    training = arguments.make(TrainingConfig)
    if latest := _latest(training):
        return _go_on(arguments, latest)
    if training.finetune:
        return _finetune(arguments, training)
    if training.drop_layers:
        raise InputError(f"--drop-layers {training.drop_layers}: only with --continue-from and --finetune")
    if training.continue_from:
        return _go_on(arguments, training.continue_from)
    labels = Labels.load(arguments.values.get("labels_path"))
    features = arguments.make(FeatureConfig)
    return Start(DeepSpeech(arguments.make(ModelConfig, labels=labels.characters, features=features)))


def _latest(training: TrainingConfig) -> str | None:
    """The last checkpoint in the save folder, if this training shall go on from there."""
    if not training.load_auto_checkpoint and not distributed.restarted():
        return None
    folder = SaveFolder(training.save_folder)
    folder.open()
    found = in_order(folder.names())
    latest = folder.locate(found[-1]) if found else None
    if latest and not training.load_auto_checkpoint:
        run = (load_checkpoint(latest)["training"] or {}).get("run")
        latest = latest if run == distributed.run_id() else None
    if distributed.restarted():
        log.info(f"Started again by torchrun: {f'going on from {latest}' if latest else 'no checkpoint yet'}")
    return latest


def _go_on(arguments: Arguments, source: str) -> Start:
    content = load_checkpoint(source)
    _refuse_contradictions(arguments, content["config"], source)
    path = arguments.values.get("labels_path")
    if path and Labels.load(path) != Labels(content["config"].labels):
        raise InputError(
            f"--labels-path {path}: {source} has other labels; leave the flag out, "
            "or pass --finetune to train its weights for these labels"
        )
    state = content["training"]
    if state is None:
        log.info(f"{source} has no state of a training: only its weights are taken, training starts anew")
    return Start(build_model(content, source), (), source, state, content["imported"])


def _restore_imported(trainer: Trainer, state: dict[str, Any]) -> None:
    """Go on after the epochs that deepspeech.pytorch trained."""
    trainer.progress = Progress(epoch=state["epochs"])
    trainer.best_wer = state["best_wer"]
    log.info(f"Going on after epoch {state['epochs']} of deepspeech.pytorch")
    try:
        load_memory(trainer.step.optimizer, state["optimizer"], complete=True)
        log.info("with the optimiser's state in the file")
    except ValueError as error:
        log.info(f"without the optimiser's state in the file: {error}; it starts anew")


def _finetune(arguments: Arguments, training: TrainingConfig) -> Start:
    source = training.continue_from
    if not source:
        raise InputError("--finetune: nothing to start from; name a model with --continue-from")
    content = load_checkpoint(source)
    _refuse_contradictions(arguments, content["config"], source)
    old = build_model(content, source)
    path = arguments.values.get("labels_path")
    labels = Labels.load(path) if path else old.labels
    model, new = transfer(old, labels, training.drop_layers)
    kept = [name for name in layers(model.config) if name not in new]
    log.info(f"Kept from {source}: {', '.join(kept)}" + (f"; new: {', '.join(new)}" if new else ""))
    if labels != old.labels:
        known = 0 if training.drop_layers else len(set(labels) & set(old.labels))
        log.info(
            f"The output layer writes {len(labels)} labels; {known} of them it knew among {len(old.labels)}"
        )
    return Start(model, new, source)


def _refuse_contradictions(arguments: Arguments, config: ModelConfig, source: str) -> None:
    """Flags that the file contradicts are an error, never silently ignored."""
    for group, there in ((ModelConfig, config), (FeatureConfig, config.features)):
        for name, entry in group.__dataclass_fields__.items():
            given: Any = arguments.values.get(name, getattr(there, name))
            if given != getattr(there, name):
                raise InputError(
                    f"{shown(entry, given)}: {source} has {getattr(there, name)}; "
                    "leave the flag out or train a new model"
                )
