"""Training: epochs, validation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from tqdm import tqdm

from deepspeech.checkpoint import checkpoint_name, checkpoints, save_checkpoint
from deepspeech.config import TrainingConfig
from deepspeech.data import AudioDataLoader, Batch
from deepspeech.decoder import GreedyDecoder
from deepspeech.errors import InputError, UnreadableError
from deepspeech.evaluation import evaluate
from deepspeech.history import EpochRow, History, TensorBoard
from deepspeech.interruption import Interrupted, StopSignals
from deepspeech.loss import too_short
from deepspeech.model import DeepSpeech
from deepspeech.optimizer import learning_rate, load_memory
from deepspeech.progress import Progress
from deepspeech.step import TrainingStep
from deepspeech.transfer import freeze


class Trainer:
    """Trains a network and keeps its best version and its checkpoints in a folder.

    Args:
        model: On the device where it shall be trained.
        train_loader: Training data; its sampler is told the epoch.
        val_loader: Data to validate on after every epoch.
        config: All training options.
        new_layers: Prefixes of the layers that learn alone for the first `freeze_epochs`.
    """

    def __init__(
        self,
        model: DeepSpeech,
        train_loader: AudioDataLoader,
        val_loader: AudioDataLoader,
        config: TrainingConfig,
        new_layers: Sequence[str] = (),
    ) -> None:
        self.model, self.config, self.new_layers = model, config, list(new_layers)
        self.train_loader, self.val_loader = train_loader, val_loader
        self.sampler = train_loader.batch_sampler
        self.step = TrainingStep(model, config)
        self.decoder = GreedyDecoder(model.labels)
        self.progress = Progress()
        self.best_wer = math.inf
        self.folder = Path(config.save_folder)
        self.history = History(self.folder, config.id)
        self.board = TensorBoard(config.log_dir, config.id, config.log_params) if config.tensorboard else None
        self.signals = StopSignals()

    @property
    def best_path(self) -> Path:
        """Where the best model by validation WER goes."""
        return self.folder / self.config.best_val_model_name

    def fit(self) -> History:
        """Train up to the last epoch.

        Raises:
            Interrupted: SIGTERM or Ctrl-C came; a checkpoint was saved.
            InputError: Something cannot be read (a checkpoint was saved) or written.
        """
        with self.signals:
            while self.progress.epoch < self.config.epochs:
                try:
                    self._train_epoch()
                    self._finish_epoch()
                except UnreadableError as error:
                    raise InputError(f"{error}; {self._save_position()}") from None
        return self.history

    def _train_epoch(self) -> None:
        progress, total = self.progress, len(self.sampler)
        self.sampler.set_epoch(progress.epoch, progress.batch)
        self.model.train()
        if self.new_layers:
            freeze(self.model, self.new_layers, progress.epoch < self.config.freeze_epochs)
        description = f"Epoch {progress.epoch + 1}/{self.config.epochs}"
        with tqdm(total=total, initial=progress.batch, desc=description, unit="batch", leave=False) as bar:
            clock = time.perf_counter()
            for batch in self.train_loader:
                waited = time.perf_counter() - clock
                self._train_batch(batch)
                progress.batch += 1
                if self._at_step():
                    self._update()
                now = time.perf_counter()
                progress.wait += waited
                progress.seconds += now - clock
                clock = now
                bar.update()
                bar.set_postfix_str(str(progress))
                if self._at_step():
                    self._save_within_epoch()

    def _train_batch(self, batch: Batch) -> None:
        """Forward and backward pass; gradients add up until `_step`."""
        progress = self.progress
        progress.unreadable += len(batch.faults)
        if not len(batch):
            return
        self._report_too_short(batch)
        value = self.step.backward(batch).item()
        if math.isfinite(value):
            progress.loss += value
            progress.utterances += len(batch)
        progress.audio_seconds += batch.duration

    def _update(self) -> None:
        progress = self.progress
        rate = learning_rate(self.config, progress.epoch, progress.batch / len(self.sampler))
        progress.skipped_steps += not self.step.update(rate)

    def _at_step(self) -> bool:
        done = self.progress.batch
        return done % self.config.grad_accumulation == 0 or done == len(self.sampler)

    def _report_too_short(self, batch: Batch) -> None:
        corpus = self.train_loader.utterances.corpus
        for index in too_short(self.model.output_lengths(batch.lengths), batch):
            self.progress.too_short += 1
            self.progress.utterances -= 1  # it has no loss
            if index not in self.progress.named:
                self.progress.named.append(index)
                place = corpus.utterances[index].place
                tqdm.write(f"{place}: too short for its transcript, it teaches nothing; correct the row")

    def _finish_epoch(self) -> None:
        """Validate, write what is to be seen and kept, and move on to the next epoch."""
        progress, config = self.progress, self.config
        self.val_loader.batch_sampler.set_epoch(0)
        evaluation = evaluate(
            self.model, self.val_loader, self.decoder, stop=lambda: self.signals.received is not None
        )
        self._stop_if_asked()
        row = EpochRow(
            epoch=progress.epoch + 1,
            train_loss=progress.loss / max(progress.utterances, 1),
            val_loss=evaluation.loss,
            wer=evaluation.words.rate,
            cer=evaluation.characters.rate,
            learning_rate=learning_rate(config, progress.epoch, share=1.0),
            seconds=progress.seconds,
            audio_seconds=progress.audio_seconds,
            data_wait=progress.wait / max(progress.seconds, 1e-9),
            skipped_steps=progress.skipped_steps,
            too_short=progress.too_short,
            unreadable=progress.unreadable,
        )
        self.history.add(row)
        if self.board:
            self.board.add(row, self.model)
        self.progress = Progress(epoch=progress.epoch + 1, named=progress.named)
        better = row.wer < self.best_wer
        self.best_wer = min(row.wer, self.best_wer)
        if better:
            self.save(self.best_path)
        if config.checkpoint:
            self._save_recent(self.folder / checkpoint_name(row.epoch))
        tqdm.write(f"{row}{f', best so far: {self.best_path}' if better else ''}")

    def save(self, path: Path) -> None:
        """Write the network and all that training needs to go on exactly.

        Raises:
            InputError: It cannot be written.
        """
        save_checkpoint(path, self.model, self.state_dict())

    def _save_recent(self, path: Path) -> None:
        self.save(path)
        if self.config.save_n_recent_models:
            found = checkpoints(self.folder)  # later ones than this are not of this training
            for old in found[: found.index(path) + 1][: -self.config.save_n_recent_models]:
                old.unlink(missing_ok=True)

    def _save_within_epoch(self) -> None:
        every, progress = self.config.checkpoint_per_iteration, self.progress
        if every and progress.batch % every < self.config.grad_accumulation:
            self._save_recent(self.folder / checkpoint_name(progress.epoch + 1, progress.batch))
        self._stop_if_asked()

    def _asked_to_stop(self) -> bool:
        return self.signals.received is not None

    def _stop_if_asked(self) -> None:
        if self._asked_to_stop():
            number = self.signals.received
            raise Interrupted(f"{Signals(number).name}: {self._save_position()}", number)

    def _save_position(self) -> str:
        """Save a checkpoint of the last step; returns words for the user."""
        if not self._at_step():  # gradients of the batches since then are lost
            self.progress.batch -= self.progress.batch % self.config.grad_accumulation
        path = self.folder / checkpoint_name(self.progress.epoch + 1, self.progress.batch)
        self.save(path)
        return f"saved {path}; go on with --continue-from {path}"

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors from which `load_state_dict` goes on."""
        return {
            "progress": asdict(self.progress),
            "plan": self.sampler.plan(),
            "best_wer": self.best_wer,
            "history": self.history.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "new_layers": self.new_layers,
            "random": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the options of this run hold from here on.

        Raises:
            InputError: The state does not fit the optimiser.
        """
        try:
            load_memory(self.step.optimizer, state["optimizer"])
            self.step.scaler.load_state_dict(state["scaler"])
            self.progress = Progress(**state["progress"])
            self.best_wer = float(state["best_wer"])
            self.history.load_state_dict(state["history"])
            self.new_layers = [str(each) for each in state.get("new_layers", [])]
            torch.set_rng_state(state["random"][0])
            same_batches = state["plan"] == self.sampler.plan()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"the checkpoint's training state does not fit: {' '.join(str(error).split())}; "
                "train with its optimiser, or pass --finetune to take only its weights"
            ) from None
        if len(state["random"]) == 1 + torch.cuda.device_count() > 1:
            torch.cuda.set_rng_state_all(state["random"][1:])
        if self.progress.batch and not same_batches:
            tqdm.write("The batches are not those of the checkpoint: its last epoch starts again")
            self.progress = Progress(epoch=self.progress.epoch, named=self.progress.named)
