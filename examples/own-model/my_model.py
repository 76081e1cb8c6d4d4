"""A model and data as `fedprivacy attack run` takes them: two functions that it is told by name."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def net() -> nn.Module:
    """Scores of 10 digits from 1 x 8 x 8 pixels, with fresh weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.Sigmoid()),
        *(nn.Flatten(), nn.Linear(512, 10)),
    )


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """All pictures, each pixel in [0, 1], and what they show."""
    digits = load_digits()
    return torch.tensor(digits.images[:, None] / 16).float(), torch.tensor(digits.target)
