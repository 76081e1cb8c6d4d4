"""The digits of each client, and the network that they train."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from fedprivacy.torch import unit_gradients

__all__ = ["HELD_OUT", "accuracy_of", "moves", "network"]

HELD_OUT = 397
_ORDER = 1  # seed of the order in which the digits are dealt: the same on every machine


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 pictures of 8 by 8 pixels in [0, 1], `(n, 64)`, and what they show."""
    data = load_digits()
    order = torch.randperm(len(data.data), generator=torch.Generator().manual_seed(_ORDER))
    pictures = torch.from_numpy(data.data).float() / 16  # 16: the brightest pixel
    return pictures[order], torch.from_numpy(data.target)[order]


def network() -> nn.Module:
    """64 pixels, 32 hidden units, ten digits; what it starts from is the same for everyone."""
    torch.manual_seed(_ORDER)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def moves(model: nn.Module, number: int, nodes: int) -> np.ndarray:
    """The negative gradient of each of a node's digits, `(digits, parameters)`."""
    pictures, labels = (part[HELD_OUT:][number::nodes] for part in digits())
    loss = partial(nn.functional.cross_entropy, reduction="none")
    each = np.arange(len(labels))  # every digit is a unit of its own
    return -unit_gradients(model, loss, pictures, labels, unit_key=each).rows


def accuracy_of(model: nn.Module) -> float:
    """The share of right answers on digits of no client."""
    pictures, labels = (part[:HELD_OUT] for part in digits())
    with torch.no_grad():
        return float((model(pictures).argmax(dim=1) == labels).float().mean())
