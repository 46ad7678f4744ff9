"""A training step: forward and backward passes over batches, then an update of the weights."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.profiler import record_function

from deepspeech import distributed
from deepspeech.data.batch import Batch
from deepspeech.device import number_format
from deepspeech.model.batch_norm import MaskedBatchNorm
from deepspeech.model.ctc import ctc_losses, uniform_losses
from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig
from deepspeech.training.optimizer import make_optimizer


class TrainStep:
    """The network with its optimiser, the same on every rank.

    Args:
        model: On the device where it is trained.
        config: All training options.
    """

    def __init__(self, model: DeepSpeech, config: TrainingConfig) -> None:
        self.model, self.config = model, config
        self.network: nn.Module = model
        self._trainable: list[bool] = []  # the parameters that DDP was built for
        self.device = next(model.parameters()).device
        self.dtype = number_format(config.precision, self.device)
        self.optimizer = make_optimizer(model, config)
        self.asynchronous = self.device.type == "cuda"  # the host never waits for the device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        for module in model.modules():
            if isinstance(module, MaskedBatchNorm):
                module.synchronized = config.sync_batchnorm

    def prepare(self, epoch: int = 0) -> None:
        """Call it before every epoch: dropout from its epoch on, DDP for the parameters that are trained."""
        self.model.drops = epoch >= self.config.plain_epochs
        trainable = [weights.requires_grad for weights in self.model.parameters()]
        if distributed.world_size() > 1 and trainable != self._trainable:
            # Without device_ids lengths stay on the host. Running statistics are broadcast before validation.
            self.network = DistributedDataParallel(
                self.model, broadcast_buffers=False, gradient_as_bucket_view=True
            )
            self._trainable = trainable

    def backward(self, batch: Batch, utterances: int, last: bool = True, flat: bool = False) -> Tensor:
        """Forward and backward pass; gradients accumulate until `update`.

        Args:
            batch: The batch of this rank; it may be empty if not all are.
            utterances: In the batches of all ranks. The gradient is that of their mean loss.
            last: Whether `update` follows: then gradients are averaged across ranks.
            flat: Whether the loss is that of evenly spread labels, not of CTC.

        Returns:
            The loss summed over the utterances of this rank, a scalar.
        """
        batch = batch.to(self.device)
        network, wait = self.network, contextlib.ExitStack()
        if isinstance(network, DistributedDataParallel) and not last:
            wait.enter_context(network.no_sync())
        with wait:
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                log_probs, lengths = network(*self._inputs(batch))
            with record_function("ctc"):  # for --profile
                if len(batch):
                    arguments = log_probs, lengths, batch.targets, batch.target_lengths
                    blank = self.model.labels.blank
                    loss = (uniform_losses(*arguments) if flat else ctc_losses(*arguments, blank)).sum()
                else:
                    loss = 0 * log_probs.sum()
            mean = loss / (max(utterances, 1) * self.config.grad_accumulation)
            with record_function("backward"):
                scaled = self.scaler.scale(mean * distributed.world_size())  # DDP divides by it
                torch.autograd.backward(scaled)
        return loss.detach()

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features and lengths; for an empty batch one utterance of no frames.

        So a rank without utterances takes part in the collectives, and adds nothing.
        """
        if len(batch):
            return batch.features, batch.lengths
        features = torch.zeros(1, self.model.config.features.bins, 1, device=self.device)
        return features, batch.lengths.new_zeros(1)

    @record_function("optimiser")
    def update(self, learning_rate: float) -> Tensor:
        """Clip the gradients and update the weights.

        Returns:
            Whether the gradients are finite, a scalar on the device; if not, the weights stay. A loss that is
            not finite on one rank makes the averaged gradients so, and every rank skips the step.
        """
        if all(weights.grad is None for weights in self.model.parameters()):
            return torch.ones((), device=self.device)  # no batch: nothing to scale, clip or apply
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.config.max_norm)
        finite = torch.isfinite(norm)
        if not self.scaler.is_enabled():
            # Makes the fused kernels skip the step; torch reads the attribute, but does not declare it.
            self.optimizer.found_inf = 1 - finite.float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return finite
