"""The optimiser, its learning rate, and what it remembers of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from deepspeech.model.deepspeech2 import DeepSpeech
from deepspeech.training.config import TrainingConfig

MEMORY = {SGD: {"momentum_buffer"}, AdamW: {"step", "exp_avg", "exp_avg_sq"}}


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


def make_optimizer(model: DeepSpeech, config: TrainingConfig) -> Optimizer:
    """SGD with Nesterov momentum, or AdamW."""
    if config.adam:
        return AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
    optimizer = SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )
    _fill_memory(optimizer)
    return optimizer


def _fill_memory(optimizer: Optimizer) -> None:
    """Zeros for missing momentum: the first step is the same, and fused SGD wants all or none.

    Layers that were frozen have none when they begin to learn.
    """
    for group in optimizer.param_groups if isinstance(optimizer, SGD) else ():
        for weights in group["params"] if group["momentum"] else ():
            if optimizer.state[weights].get("momentum_buffer") is None:
                optimizer.state[weights]["momentum_buffer"] = torch.zeros_like(weights)


def load_memory(optimizer: Optimizer, saved: Mapping[str, Any], complete: bool = False) -> None:
    """Take over what an optimiser remembered of every weight; the options of this one hold.

    Args:
        optimizer: One of `make_optimizer`.
        saved: A state dict; its keys are the positions of the weights in the network.
        complete: Whether each weight must have its memory (frozen ones have none).

    Raises:
        ValueError: It was another kind of optimiser, or other weights, or not complete.
    """
    own = optimizer.state_dict()
    weights = [each for group in optimizer.param_groups for each in group["params"]]
    names = MEMORY[type(optimizer)]
    remembered = set()
    for position, entry in saved["state"].items():
        if not isinstance(position, int) or not 0 <= position < len(weights):
            raise ValueError(f"it remembers weights {position!r}, which are not there")
        if not isinstance(entry, dict):
            raise ValueError(f"what it remembers of weights {position} is no dictionary")
        values = {name: value for name, value in entry.items() if value is not None}
        if values and values.keys() != names:
            there, here = (", ".join(sorted(map(str, each))) for each in (values, names))
            raise ValueError(f"it remembers {there}, this one {here}")
        remembered |= {position} if values else set()
        for name, value in values.items():
            if name == "step" and isinstance(value, int):  # of older versions of torch
                continue
            shape = () if name == "step" else weights[position].shape
            if not isinstance(value, Tensor) or value.shape != shape or not torch.isfinite(value).all():
                raise ValueError(f"its {name} of weights {position} does not fit them")
    if complete and len(remembered) < len(weights):
        raise ValueError(f"it remembers {len(remembered)} of {len(weights)} weights")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own["param_groups"]})
    _fill_memory(optimizer)
