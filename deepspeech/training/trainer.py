"""Training: epochs, validation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, compress
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from deepspeech import distributed, log
from deepspeech.checkpoint.format import checkpoint_name, in_order, save_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.data.batch import Batch
from deepspeech.data.loader import AudioDataLoader
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.errors import DivergedError, InputError, UnreadableError
from deepspeech.evaluation.evaluate import Evaluation, evaluate
from deepspeech.model.ctc import too_short
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig
from deepspeech.training.history import FIGURE, TABLE, EpochRow, History, TensorBoard
from deepspeech.training.optimizer import learning_rate, load_memory
from deepspeech.training.outcomes import BatchOutcome, Outcomes
from deepspeech.training.progress import Progress
from deepspeech.training.signals import Interrupted, StopSignals
from deepspeech.training.train_step import TrainingStep
from deepspeech.training.transfer import freeze

READ_EVERY = 20  # steps between looks at what came of them, where each look makes the host wait
FILES_NAMED = 20  # of the batches that stop training


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
        self.folder = SaveFolder(config.save_folder)
        distributed.on_rank_zero(self.folder.open)
        self.history = History(self.folder.path, config.id)
        self.board = None
        if config.tensorboard and distributed.is_rank_zero():
            self.board = TensorBoard(config.log_dir, config.id, config.log_params)
        self.signals = StopSignals()
        self.outcomes = Outcomes()  # not yet in `progress`
        self.bad_steps = 0  # in a row until now

    @property
    def best_path(self) -> Path:
        """Where the best model by validation WER is written."""
        return self.folder.path / self.config.best_val_model_name

    def fit(self) -> History:
        """Train up to the last epoch.

        Raises:
            Interrupted: SIGTERM or Ctrl-C came; a checkpoint was saved.
            InputError: Something cannot be read or gives no finite loss (a checkpoint was saved),
                or cannot be written.
        """
        with self.signals:
            while self.progress.epoch < self.config.epochs:
                try:
                    self._train_epoch()
                    self._finish_epoch()
                except (UnreadableError, DivergedError) as error:
                    raise InputError(f"{error}; {self._save_position()}") from None
            distributed.on_rank_zero(self.folder.finish)
        return self.history

    def _train_epoch(self) -> None:
        progress, total = self.progress, len(self.sampler)
        self.sampler.set_epoch(progress.epoch, progress.batch)
        self.model.train()
        if self.new_layers:
            freeze(self.model, self.new_layers, progress.epoch < self.config.freeze_epochs)
        self.step.prepare()
        description = f"Epoch {progress.epoch + 1}/{self.config.epochs}"
        hidden = not distributed.is_rank_zero()
        with tqdm(
            total=total, initial=progress.batch, desc=description, unit="batch", leave=False, disable=hidden
        ) as bar:
            clock = time.perf_counter()
            for batch in distributed.in_lockstep(self.train_loader):
                waited = time.perf_counter() - clock
                progress.batch += 1
                self._train_batch(batch)
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
        """Forward and backward pass; gradients add up until `_update`."""
        lengths = self.model.output_lengths(batch.lengths)
        cut = too_short(lengths, batch.targets, batch.target_lengths).tolist()
        short = list(compress(batch.indices, cut))
        everyone = distributed.gather((len(batch), len(batch.faults), batch.duration, short))
        utterances, unreadable, seconds, shorts = zip(*everyone, strict=True)
        self.progress.unreadable += sum(unreadable)
        self.progress.audio_seconds += sum(seconds)
        self._report_too_short(list(chain(*shorts)))
        if not (sum(utterances) or self.outcomes.batches):  # gradients of earlier batches want averaging
            return
        loss = self.step.backward(batch, sum(utterances), last=self._at_step())
        self.outcomes.add_batch(loss, len(batch) - len(short), batch.indices)

    def _update(self) -> None:
        """Update the weights, unless a loss or gradient is not finite: in all processes or in none."""
        progress = self.progress
        rate = learning_rate(self.config, progress.epoch, progress.batch / len(self.sampler))
        self.outcomes.add_step(self.step.update(rate))
        if len(self.outcomes.steps) == (READ_EVERY if self.step.asynchronous else 1):
            self._take_stock()

    def _take_stock(self) -> None:
        """Learn what came of the steps since the last time, in all processes together.

        Raises:
            DivergedError: Too many in a row had no finite loss or gradient.
        """
        for own in zip(*distributed.gather(self.outcomes.read()), strict=True):
            batches = list(chain(*(step.batches for step in own)))
            for batch in batches:
                if math.isfinite(batch.loss):
                    self.progress.loss += batch.loss
                    self.progress.utterances += batch.utterances
            self.progress.skipped_steps += not own[0].finite
            self.bad_steps = 0 if own[0].finite else self.bad_steps + 1
            if self.bad_steps >= self.config.max_bad_steps:
                raise DivergedError(
                    f"no finite loss or gradient in {self.bad_steps} steps in a row, last with "
                    f"{self._suspects(batches)}; listen to these files, or lower --learning-rate"
                )

    def _suspects(self, batches: Sequence[BatchOutcome]) -> str:
        """The files of a step's batches: of those whose loss is not finite, if there are any."""
        bad = [batch for batch in batches if not math.isfinite(batch.loss)] or batches
        corpus = self.train_loader.dataset.corpus
        files = [corpus[index].audio_path for batch in bad for index in batch.indices]
        more = f" and {len(files) - FILES_NAMED} more" if len(files) > FILES_NAMED else ""
        return ", ".join(files[:FILES_NAMED]) + more

    def _at_step(self) -> bool:
        done = self.progress.batch
        return done % self.config.grad_accumulation == 0 or done == len(self.sampler)

    def _report_too_short(self, indices: Sequence[int]) -> None:
        corpus = self.train_loader.dataset.corpus
        self.progress.too_short += len(indices)
        for index in indices:
            if index not in self.progress.named:
                self.progress.named.append(index)
                place = corpus[index].place
                log.info(f"{place}: too short for its transcript, it teaches nothing; correct the row")

    def _finish_epoch(self) -> None:
        """Validate, write what is to be seen and kept, and move on to the next epoch."""
        self.val_loader.batch_sampler.set_epoch(0)
        self._take_stock()
        distributed.broadcast(self.model.buffers())
        evaluation = evaluate(self.model, self.val_loader, self.decoder, stop=self._asked_to_stop)
        self._stop_if_asked()
        row = self._row(evaluation)
        self.history.rows.append(row)
        self.progress = Progress(epoch=row.epoch, named=self.progress.named)
        better = row.wer < self.best_wer
        self.best_wer = min(row.wer, self.best_wer)
        distributed.on_rank_zero(lambda: self._write(row, better))
        best = self.folder.describe(self.config.best_val_model_name)
        log.info(f"{row}{f', best so far: {best}' if better else ''}")

    def _row(self, evaluation: Evaluation) -> EpochRow:
        progress = self.progress
        return EpochRow(
            epoch=progress.epoch + 1,
            train_loss=progress.loss / max(progress.utterances, 1),
            val_loss=evaluation.loss,
            wer=evaluation.words.rate,
            cer=evaluation.characters.rate,
            learning_rate=learning_rate(self.config, progress.epoch, share=1.0),
            seconds=progress.seconds,
            audio_seconds=progress.audio_seconds,
            data_wait=progress.wait / max(progress.seconds, 1e-9),
            skipped_steps=progress.skipped_steps,
            too_short=progress.too_short,
            unreadable=progress.unreadable,
        )

    def _write(self, row: EpochRow, better: bool) -> None:
        self.history.write()
        self.folder.publish(TABLE, FIGURE)
        if self.board:
            self.board.add(row, self.model)
        if better:
            self.save(self.config.best_val_model_name)
        if self.config.checkpoint:
            self._save_recent(checkpoint_name(row.epoch))

    def save(self, name: str) -> None:
        """Write the network and all that training needs to go on exactly.

        Args:
            name: File name in the save folder.

        Raises:
            InputError: It cannot be written.
        """
        save_checkpoint(self.folder.path / name, self.model, self.state_dict())
        self.folder.publish(name)

    def _save_recent(self, name: str) -> None:
        self.save(name)
        if self.config.save_n_recent_models:
            found = in_order(self.folder.names())  # later ones than this are not of this training
            for old in found[: found.index(name) + 1][: -self.config.save_n_recent_models]:
                self.folder.remove(old)

    def _save_within_epoch(self) -> None:
        every, progress = self.config.checkpoint_per_iteration, self.progress
        if every and progress.batch % every < self.config.grad_accumulation:
            self._take_stock()
            name = checkpoint_name(progress.epoch + 1, progress.batch)
            distributed.on_rank_zero(lambda: self._save_recent(name))
        self._stop_if_asked()

    def _asked_to_stop(self) -> int:
        """The signal that one of the processes got, or 0; to be asked by all at the same time."""
        return max(distributed.gather(self.signals.received))

    def _stop_if_asked(self) -> None:
        if number := self._asked_to_stop():
            raise Interrupted(f"{Signals(number).name}: {self._save_position()}", number)

    def _save_position(self) -> str:
        """Save a checkpoint of the last step, the last of this run; returns words for the user."""
        self._take_stock()
        if not self._at_step():  # gradients of the batches since then are lost
            self.progress.batch -= self.progress.batch % self.config.grad_accumulation
        name = checkpoint_name(self.progress.epoch + 1, self.progress.batch)

        def save() -> None:
            self.save(name)
            self.folder.finish()

        distributed.on_rank_zero(save)
        return f"saved {self.folder.describe(name)}; go on with --continue-from {self.folder.describe(name)}"

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
            "random": self._random(),
            "run": distributed.run_id(),
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
        if self.step.device.type == "cuda" and len(state["random"]) > 1:
            torch.cuda.set_rng_state(state["random"][1], self.step.device)
        if self.progress.batch and not same_batches:
            log.info("The batches are not those of the checkpoint: its last epoch starts again")
            self.progress = Progress(epoch=self.progress.epoch, named=self.progress.named)

    def _random(self) -> list[Tensor]:
        """State of the random numbers of the CPU and of the GPU, if it computes."""
        cuda = self.step.device.type == "cuda"
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.step.device)] if cuda else [])]
