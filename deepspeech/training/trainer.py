"""The training loop: epochs, validation, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import compress
from signal import Signals

from tqdm import tqdm

from deepspeech import distributed, log
from deepspeech.checkpoint.format import checkpoint_name, save_checkpoint
from deepspeech.checkpoint.save_folder import SaveFolder
from deepspeech.data.batch import Batch
from deepspeech.data.loader import AudioDataLoader
from deepspeech.decoding.greedy import GreedyDecoder
from deepspeech.device import random_state
from deepspeech.errors import InputError
from deepspeech.evaluation.evaluate import Evaluation, evaluate
from deepspeech.model.ctc import too_short
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig
from deepspeech.training.history import FIGURE, TABLE, EpochRow, TensorBoard, samples, write_history
from deepspeech.training.optimizer import learning_rate
from deepspeech.training.selection import Selection, stalled
from deepspeech.training.signals import Interrupted, StopSignals, at_errors
from deepspeech.training.state import PendingLosses, Progress, ResumeState, Share
from deepspeech.training.train_step import TrainStep
from deepspeech.training.transfer import check_new_layers, freeze

LAST = "deepspeech_last.pth"  # file name of the model after the last epoch
TOO_SHORT = "fewer output frames than CTC needs; fix or remove the row"
FLUSH_EVERY = 20  # steps between reads of the losses on a GPU, where each read is a sync


class Trainer:
    """Trains a network; keeps the best model and checkpoints in a folder.

    Args:
        model: On the device where it is trained.
        train_loader: Training data; the trainer sets its sampler's epoch.
        val_loader: Validation data, evaluated after every epoch.
        config: All training options.
        folder: Where models, checkpoints and the history are saved.
        new_layers: Prefixes of the layers that alone are trained for the first `freeze_epochs`.
    """

    def __init__(
        self,
        model: DeepSpeech,
        train_loader: AudioDataLoader,
        val_loader: AudioDataLoader,
        config: TrainingConfig,
        folder: SaveFolder,
        new_layers: Sequence[str] = (),
    ) -> None:
        self.model, self.config, self.folder, self.new_layers = model, config, folder, list(new_layers)
        self.train_loader, self.val_loader = train_loader, val_loader
        self.sampler, self.corpus = train_loader.batch_sampler, train_loader.dataset.corpus
        self.step = TrainStep(model, config)
        self.progress, self.selection = Progress(), Selection()
        self.losses = PendingLosses(self.corpus, config.max_bad_steps)
        self.history: list[EpochRow] = []
        self.board = None
        if config.tensorboard and distributed.is_rank_zero():
            self.board = TensorBoard(config.log_dir, config.id, config.log_params)
            self.board.add_spectrogram(val_loader.dataset)
        self.signals, self.warned = StopSignals(), set[str]()
        self.last_step = 0  # finished batches of the epoch when the weights were last updated

    def fit(self) -> list[EpochRow]:
        """Train until the last epoch; returns the history, one row per epoch.

        Raises:
            Interrupted: SIGTERM or Ctrl-C; a checkpoint is saved.
            InputError: An utterance cannot be read, a process that loads data was killed, the loss diverges,
                memory is used up, or a file cannot be written; a checkpoint is saved if that is possible.
        """
        check_new_layers(self.config.freeze_epochs, self.new_layers)
        with self.signals, at_errors(self._save_position, self.step.device):
            while self.progress.epoch < self.config.epochs and not stalled(
                self.history, self.config.patience
            ):
                self._train_epoch()
                self._finish_epoch(self._validate())
            distributed.on_rank_zero(lambda: self._save_last(LAST))
        return self.history

    def _train_epoch(self) -> None:
        progress, total = self.progress, len(self.sampler)
        self.sampler.set_epoch(progress.epoch, progress.batch)
        self.model.train()
        if self.new_layers:
            freeze(self.model, self.new_layers, progress.epoch < self.config.freeze_epochs)
        self.step.prepare(progress.epoch)
        self.last_step = progress.batch
        description = f"Epoch {progress.epoch + 1}/{self.config.epochs}"
        hidden = not distributed.is_rank_zero()
        with tqdm(
            total=total, initial=progress.batch, desc=description, unit="batch", leave=False, disable=hidden
        ) as bar:
            clock = time.perf_counter()
            for batch, shares in distributed.in_lockstep(self.train_loader, self._share):
                if self._at_step():
                    self._stop_if_requested(share.signal for share in shares)
                waited = time.perf_counter() - clock
                progress.batch += 1
                self._train_batch(batch, shares)
                if self._at_step():
                    self._update()
                now = time.perf_counter()
                progress.wait += waited
                progress.seconds += now - clock
                clock = now
                bar.set_postfix_str(str(progress), refresh=False)
                bar.update()
                if self._at_step():
                    self._save_within_epoch()

    def _share(self, batch: Batch) -> Share:
        cut = too_short(self.model.output_lengths(batch.lengths), batch.targets, batch.target_lengths)
        short, faults = list(compress(batch.indices, cut.tolist())), [str(each) for each in batch.faults]
        return Share(len(batch), faults, batch.duration, short, self.signals.received)

    def _train_batch(self, batch: Batch, shares: Sequence[Share]) -> None:
        """Forward and backward pass; gradients accumulate until `_update`."""
        utterances = sum(share.utterances for share in shares)
        faults = [fault for share in shares for fault in share.unreadable]
        self.progress.unreadable += len(faults)
        self._warn(f"left out: {fault}" for fault in faults)
        self.progress.audio_seconds += sum(share.seconds for share in shares)
        self._report_too_short([index for share in shares for index in share.too_short])
        if not (utterances or self.losses.batches):  # else earlier gradients are still to be averaged
            return
        flat = self.progress.epoch + self.progress.batch / len(self.sampler) <= self.config.flat_start
        loss = self.step.backward(batch, utterances, last=self._at_step(), flat=flat)
        own = shares[distributed.rank()]
        self.losses.add_batch(loss, own.utterances - len(own.too_short), batch.indices)

    def _warn(self, messages: Iterable[str]) -> None:
        """Warn of each utterance once, not in every epoch."""
        for message in messages:
            if message not in self.warned:
                self.warned.add(message)
                log.warning(message)

    def _report_too_short(self, indices: Sequence[int]) -> None:
        self.progress.too_short += len(indices)
        new = [index for index in indices if index not in self.progress.named]
        self.progress.named += new
        self._warn(f"{self.corpus[index].place}: skipped: {TOO_SHORT}" for index in new)

    def _update(self) -> None:
        """Update the weights on all ranks, or on none if a loss or gradient is not finite."""
        progress = self.progress
        rate = learning_rate(self.config, progress.epoch, progress.batch / len(self.sampler))
        self.losses.add_step(self.step.update(rate))
        self.last_step = progress.batch
        if len(self.losses.steps) == (FLUSH_EVERY if self.step.asynchronous else 1):
            self.losses.flush(self.progress)

    def _at_step(self) -> bool:
        """Whether the optimiser steps after the current batch."""
        done = self.progress.batch
        return done % self.config.grad_accumulation == 0 or done == len(self.sampler)

    def _validate(self) -> Evaluation:
        self.val_loader.batch_sampler.set_epoch(0)
        self.losses.flush(self.progress)
        distributed.broadcast(self.model.buffers())
        decoder = GreedyDecoder(self.model.labels)
        evaluation = evaluate(self.model, self.val_loader, decoder, stop=lambda: self.signals.received)
        self._stop_if_requested(distributed.gather(self.signals.received))
        self._warn(f"left out of the validation: {fault}" for fault in evaluation.faults)
        self._warn(f"{place}: not in the validation loss: {TOO_SHORT}" for place in evaluation.too_short)
        return evaluation

    def _finish_epoch(self, evaluation: Evaluation) -> None:
        """Write the results and checkpoints, and move on to the next epoch."""
        if self.progress.too_short and not self.progress.utterances:
            raise InputError(
                "no utterance has as many output frames as its transcript needs; fix the manifest"
            )
        rate = learning_rate(self.config, self.progress.epoch, share=1.0)
        row = self.progress.row(evaluation, rate)
        self.history.append(row)
        self.config = self.config.fitted(self.history)
        self.progress = Progress(epoch=row.epoch, named=self.progress.named)
        reason = self.selection.choose(evaluation, row.epoch, self.config.best_by == "noise")
        distributed.on_rank_zero(lambda: self._write(row, evaluation, bool(reason)))
        best = self.folder.describe(self.config.best_val_model_name)
        log.info(f"{row}{f', {reason}: {best}' if reason else ''}")
        for each in samples(evaluation.results):
            log.info(f"  reference:  {each.reference}\n  hypothesis: {each.hypothesis}")

    def _write(self, row: EpochRow, evaluation: Evaluation, better: bool) -> None:
        write_history(self.folder.path, self.config.id, self.history)
        self.folder.publish(TABLE, FIGURE)
        if self.board:
            self.board.add(row, self.model, evaluation.results)
        if better:
            self.save(self.config.best_val_model_name)
        if self.config.checkpoint:
            self._save_recent(checkpoint_name(row.epoch))

    def save(self, name: str) -> None:
        """Save the model and the state that training resumes from.

        Args:
            name: File name in the save folder.

        Raises:
            InputError: The file cannot be written.
        """
        save_checkpoint(self.folder.path / name, self.model, self.state().to_dict())
        self.folder.publish(name)

    def _save_recent(self, name: str) -> None:
        self.save(name)
        if self.config.save_n_recent_models:
            self.folder.remove_older(name, keep=self.config.save_n_recent_models)

    def _save_within_epoch(self) -> None:
        every, progress = self.config.checkpoint_per_iteration, self.progress
        if every and progress.batch % every < self.config.grad_accumulation:
            self.losses.flush(progress)
            name = checkpoint_name(progress.epoch + 1, progress.batch)
            distributed.on_rank_zero(lambda: self._save_recent(name))

    def _stop_if_requested(self, signals: Iterable[int]) -> None:
        """Stop if any rank has received a signal."""
        if number := max(signals):
            raise Interrupted(f"{Signals(number).name}: {self._save_position()}", number)

    def _save_position(self, together: bool = True) -> str:
        """Save a checkpoint of the last step and end the run; returns words for the user.

        Args:
            together: All ranks are here. One alone cannot ask the others for their losses; only rank 0 saves.
        """
        self.progress.batch = min(self.progress.batch, self.last_step)  # later gradients are lost
        name = checkpoint_name(self.progress.epoch + 1, self.progress.batch)
        path = self.folder.describe(name)
        try:
            if together:
                self.losses.flush(self.progress)
                distributed.on_rank_zero(lambda: self._save_last(name))
            elif distributed.is_rank_zero():
                self._save_last(name)
            else:
                return "resume with --load-auto-checkpoint"
        except InputError as error:
            return f"the position is not saved: {error}"
        return f"saved {path}; resume with --continue-from {path}"

    def _save_last(self, name: str) -> None:
        self.save(name)
        self.folder.finish()

    def state(self) -> ResumeState:
        """What `restore` resumes from, beside the weights."""
        return ResumeState(
            progress=self.progress,
            selection=self.selection,
            optimizer=self.step.optimizer.state_dict(),
            plan=self.sampler.plan(),
            history=self.history,
            scaler=self.step.scaler.state_dict(),
            new_layers=self.new_layers,
            random=random_state(self.step.device),
            run=distributed.run_id(),
        )

    def restore(self, state: ResumeState) -> None:
        """Resume from a checkpoint's state; the options of this run apply from here on.

        Raises:
            InputError: The state does not fit the optimiser.
        """
        note, epoch = state.load_into(self.step), state.progress.epoch
        if state.imported:
            log.info(f"{state.source}: resuming after epoch {epoch} of deepspeech.pytorch, {note}")
        self.progress, self.history, self.new_layers = state.progress, state.history, state.new_layers
        self.config, best = self.config.fitted(self.history), self.config.best_val_model_name
        if distributed.on_rank_zero(lambda: best in self.folder.names()):
            self.selection = state.selection  # else any model is better than none
        if self.progress.batch and list(state.plan) != self.sampler.plan():
            log.info(f"{state.source}: the batches are not those of the checkpoint; repeating its last epoch")
            self.progress = Progress(epoch=epoch, named=self.progress.named)
        if epoch >= self.config.epochs:
            log.info(
                f"{state.source}: all {epoch} epochs are done; raise --epochs to resume, "
                "or pass --finetune to start from its weights"
            )
