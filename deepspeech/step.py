"""One step of training: forward and backward passes over batches, then an update of the weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from deepspeech.config import TrainingConfig
from deepspeech.data import Batch
from deepspeech.device import number_format
from deepspeech.loss import ctc_losses
from deepspeech.model import DeepSpeech
from deepspeech.optimizer import make_optimizer


class TrainingStep:
    """The network with its optimiser.

    Args:
        model: On the device where it shall be trained.
        config: All training options.
    """

    def __init__(self, model: DeepSpeech, config: TrainingConfig) -> None:
        self.model, self.config = model, config
        self.device = next(model.parameters()).device
        self.dtype = number_format(config.precision, self.device)
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def backward(self, batch: Batch) -> Tensor:
        """Forward and backward pass; gradients add up until `update`.

        Returns:
            The CTC loss summed over the utterances, a scalar.
        """
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            log_probs, lengths = self.model(batch.features, batch.lengths)
        loss = ctc_losses(log_probs, lengths, batch, self.model.labels.blank).sum()
        self.scaler.scale(loss / (len(batch) * self.config.grad_accumulation)).backward()
        return loss.detach()

    def update(self, learning_rate: float) -> bool:
        """Clip the gradients and update the weights.

        Returns:
            Whether the gradients were finite; else the weights are as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.scaler.unscale_(self.optimizer)
        norm = clip_grad_norm_(self.model.parameters(), self.config.max_norm)
        finite = bool(torch.isfinite(norm))
        if self.scaler.is_enabled() or finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return finite
