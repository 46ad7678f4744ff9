"""Training: CTC loss, optimiser, schedule, validation, checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from deepspeech.checkpoint import checkpoint_name, checkpoints, save_checkpoint
from deepspeech.config import TrainingConfig
from deepspeech.data import AudioDataLoader, Batch
from deepspeech.decoder import GreedyDecoder
from deepspeech.device import number_format
from deepspeech.errors import InputError, UnreadableError
from deepspeech.evaluation import evaluate
from deepspeech.history import EpochRow, History, TensorBoard
from deepspeech.loss import ctc_losses, too_short
from deepspeech.model import DeepSpeech
from deepspeech.optimizer import load_memory, make_optimizer
from deepspeech.transfer import freeze


class Interrupted(Exception):
    """Training was asked to stop and saved its state."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@dataclass
class Progress:
    """Where training stands, and the sums of the epoch so far."""

    epoch: int = 0  # from 0
    batch: int = 0  # batches of the epoch that are done
    loss: float = 0.0  # summed over utterances
    utterances: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    wait: float = 0.0  # seconds
    skipped_steps: int = 0
    too_short: int = 0
    unreadable: int = 0
    named: list[int] = field(default_factory=list)  # utterances already reported as too short

    def __post_init__(self) -> None:
        """Saved values may be damaged."""
        numbers = [value for name, value in vars(self).items() if name != "named"]
        if {int} != {type(each) for each in (self.epoch, self.batch, *self.named)}:
            raise TypeError("progress has values of a wrong type")
        if not all(isinstance(each, int | float) for each in numbers) or min(self.epoch, self.batch) < 0:
            raise ValueError("progress has values that are no counts")


def learning_rate(config: TrainingConfig, epoch: int, share: float) -> float:
    """The rate at `share` (0 to 1) of an epoch (from 0): a function of the position only.

    `anneal` divides the rate by `learning_anneal` after every epoch; `cosine` falls to zero
    at the end (Loshchilov and Hutter, 2017). Both may rise linearly over `warmup_epochs`.
    """
    position = epoch + share
    rate = config.learning_rate
    if config.schedule == "anneal":
        rate /= config.learning_anneal**epoch
    elif position > config.warmup_epochs:
        done = (position - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
        rate *= (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return rate * min(1.0, position / config.warmup_epochs) if config.warmup_epochs else rate


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
        self.device = next(model.parameters()).device
        self.decoder = GreedyDecoder(model.labels)
        self.dtype = number_format(config.precision, self.device)
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.progress = Progress()
        self.best_wer = math.inf
        self.folder = Path(config.save_folder)
        self.history = History(self.folder, config.id)
        self.board = TensorBoard(config.log_dir, config.id, config.log_params) if config.tensorboard else None
        self.signal: int | None = None

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
        with self._signals():
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
                    self._step()
                now = time.perf_counter()
                progress.wait += waited
                progress.seconds += now - clock
                clock = now
                bar.update()
                bar.set_postfix_str(self._postfix())
                if self._at_step():
                    self._save_within_epoch()

    def _train_batch(self, batch: Batch) -> None:
        """Forward and backward pass; gradients add up until `_step`."""
        progress = self.progress
        progress.unreadable += len(batch.faults)
        if not len(batch):
            return
        self._report_too_short(batch)
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            log_probs, lengths = self.model(batch.features, batch.lengths)
        loss = ctc_losses(log_probs, lengths, batch, self.model.labels.blank).sum()
        self.scaler.scale(loss / (len(batch) * self.config.grad_accumulation)).backward()
        value = loss.item()
        if math.isfinite(value):
            progress.loss += value
            progress.utterances += len(batch)
        progress.audio_seconds += batch.duration

    def _step(self) -> None:
        """Clip the gradients and update the weights; a gradient that is not finite is skipped."""
        progress = self.progress
        rate = learning_rate(self.config, progress.epoch, progress.batch / len(self.sampler))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.config.max_norm)
        if self.scaler.is_enabled() or torch.isfinite(norm):
            self.scaler.step(self.optimizer)
        progress.skipped_steps += not torch.isfinite(norm)
        self.scaler.update()
        self.optimizer.zero_grad()

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
        evaluation = evaluate(self.model, self.val_loader, self.decoder, stop=lambda: self.signal is not None)
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

    def _stop_if_asked(self) -> None:
        if self.signal is not None:
            raise Interrupted(f"{signal.Signals(self.signal).name}: {self._save_position()}", self.signal)

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
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "new_layers": self.new_layers,
            "random": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; the options of this run hold from here on.

        Raises:
            InputError: The state does not fit the optimiser.
        """
        try:
            load_memory(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
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

    def _postfix(self) -> str:
        progress = self.progress
        loss = progress.loss / max(progress.utterances, 1)
        return f"loss {loss:.2f}, {progress.audio_seconds / max(progress.seconds, 1e-9):.0f} audio-s/s"

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C end training after the batch at hand."""

        def remember(number: int, frame: object) -> None:
            self.signal = number
            signal.signal(signal.SIGINT, signal.default_int_handler)

        old = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
        main_process = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == main_process:
                for number, handler in old.items():
                    signal.signal(number, handler)
