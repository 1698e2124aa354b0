"""Settings worth looking at, which the page offers."""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """Settings worth looking at.

    Attributes:
        text: what they are, in words.
        network: its name.
        settings: what is not that network's default, as the page's address has it.
        watch: what to look at.
    """

    text: str
    network: str
    settings: dict[str, str]
    watch: str


PRESETS = (
    Preset(
        "network: gradient descent", "network", {},
        "What the book begins with. Draw a digit, train an epoch, and see what is learned.",
    ),
    Preset(
        "network1: momentum", "network1", {},
        "Small first weights, and momentum. After an epoch its images show strokes and loops.",
    ),
    Preset(
        "network2: Nesterov, η steps down", "network2", {},
        "As network1, but it looks ahead; every ten epochs η becomes smaller, and the curves smoother.",
    ),
    Preset("network3: weight decay", "network3", {}, "Each step makes the weights a little smaller, by λ."),
    Preset(
        "momentum, 1: η 0.1 without it", "network1", {"eta": "0.1", "mu": "0.0"},
        "Train an epoch, and choose 2: this run's curves stay, faint, behind the new ones.",
    ),
    Preset(
        "momentum, 2: η 0.1 with μ 0.9", "network1", {"eta": "0.1", "mu": "0.9"},
        "As 1, but for μ: where gradients agree, steps add up to 1 / (1 − μ) = 10 of them.",
    ),
    Preset(
        "momentum that saturates", "network1", {"mu": "0.9"},
        "Steps add up to η / (1 − μ) = 30. Watch the saturated outputs, and the gradients.",
    ),
    Preset(
        "the digit that seed 17 loses", "network", {"seed": "17"},
        "Its first steps throw the output for 8 far down the sigmoid, where it is flat: it stays there.",
    ),
    Preset(
        "five layers, where gradients vanish", "network", {"hidden": "30 30 30 30", "init": "scaled"},
        "Take one step, and compare the sizes of the gradient, from the last layer to the first. Later they even out.",
    ),
)  # fmt: skip
