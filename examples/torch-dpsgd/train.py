"""One client trains a small convolutional network on its digits; its update hides each of them."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from fedprivacy.randomness import SystemRng
from fedprivacy.torch import DpSgd, parameters_of, train_privately

EXPECTED_BATCH = 128  # public: about a tenth of what a client of this size holds


def network() -> nn.Module:
    """10 digits from 8 x 8 pixels; GroupNorm, since BatchNorm would mix the examples of a batch."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 10)),
    )


def main() -> None:
    """Train, print the statement, and say how well the updated model does."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=200)
    options.add_argument("--noise-multiplier", type=float, default=1.5)
    options.add_argument("--out", type=Path, help="where the client keeps the statement, as JSON")
    chosen = options.parse_args()

    digits = load_digits()
    pictures = torch.from_numpy(digits.images).float().unsqueeze(1) / 16  # 16: the brightest pixel
    names = torch.from_numpy(digits.target)
    held_out, own = slice(0, 400), slice(400, None)

    model = network()  # in a federation: what the server broadcast
    settings = DpSgd(
        clip=1.0,
        noise_multiplier=chosen.noise_multiplier,
        sample_rate=0.1,
        steps=chosen.steps,
        expected_batch=EXPECTED_BATCH,
        delta=1e-4,
    )
    trained = train_privately(
        model,
        partial(nn.functional.cross_entropy, reduction="none"),
        pictures[own],
        names[own],
        settings=settings,
        optimizer=partial(torch.optim.SGD, lr=1.0, momentum=0.5),
        rng=SystemRng(),
        batch=256,
    )
    after = {
        n: torch.from_numpy(p + trained.difference[n]) for n, p in parameters_of(model).items()
    }
    model.load_state_dict(after)
    right = (model(pictures[held_out]).argmax(dim=1) == names[held_out]).float().mean()

    print(trained.statement)
    print(f"noise: {trained.statement.noise}")
    print(f"{right:.1%} of 400 digits that the client did not train on are named rightly")
    if chosen.out:
        chosen.out.write_text(trained.statement.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
