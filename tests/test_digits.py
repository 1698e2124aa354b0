"""digits.py: a digit as text, in every style, with what a network says of it."""

import numpy as np
import pytest

from tinygrad_mnist import Tensor, visualize
from tinygrad_mnist.digits import digit

IMAGE = [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.5, 0.0, 0.3]]


def test_a_digit_in_every_style():
    assert digit(IMAGE, (3, 3), style="ascii") == " @=\n: ."
    assert digit(IMAGE, (3, 3), style="blocks") == " █▄\n░ ░"
    top = digit(IMAGE, (3, 3), style="ansi").splitlines()[0]
    assert top == ("\x1b[38;5;232;48;5;232m▀\x1b[38;5;255;48;5;255m▀\x1b[38;5;232;48;5;255m▀\x1b[0m")
    assert digit(IMAGE, (3, 3), style="ascii").isascii()


def test_pixels_from_0_to_255_flat_and_as_tensors_are_the_same_digit():
    expected = digit(IMAGE, (3, 3), style="ascii")
    for pixels in (
        np.ravel(IMAGE),
        Tensor(np.ravel(IMAGE)[None]),
        np.rint(np.multiply(IMAGE, 255)).astype(np.uint8),
    ):
        assert digit(pixels, (3, 3), style="ascii") == expected


def test_bars_say_what_the_network_says_and_what_it_is():
    text = digit(IMAGE, (3, 3), style="blocks", activations=[0.0, 0.5, 1.5, np.nan], label=2).splitlines()
    assert len(text) == 4
    assert text[1].endswith("1 ██████████           0.50")
    assert "2 ████████████████████ 1.50" in text[2]
    wrong = digit(IMAGE, (3, 3), style="ascii", activations=[0.0, 0.5, 0.9], label=1)
    assert "0.50 < is" in wrong
    assert "0.90 < says" in wrong
    right = digit(IMAGE, (3, 3), style="ascii", activations=Tensor([0.0, 0.5, 0.9]), label=2)
    assert "0.90 < says and is" in right


def test_the_style_follows_what_the_output_can_show(monkeypatch):
    class Output:
        def __init__(self, encoding, terminal):
            self.encoding, self.isatty = encoding, lambda: terminal

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for output, style in ((("utf-8", True), "ansi"), (("utf-8", False), "blocks"), (("latin-1", True), "ascii")):
        monkeypatch.setattr("sys.stdout", Output(*output))
        assert digit(IMAGE, (3, 3)) == digit(IMAGE, (3, 3), style=style)
    monkeypatch.setattr("sys.stdout", Output("utf-8", True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert digit(IMAGE, (3, 3)) == digit(IMAGE, (3, 3), style="blocks")
    monkeypatch.setattr("sys.stdout", Output(None, False))
    assert digit(IMAGE, (3, 3)).isascii()


def test_wrong_sizes_and_styles_are_refused():
    with pytest.raises(ValueError, match=r"^digit: 9 pixels do not make an image of shape \(28, 28\); pass shape="):
        digit(IMAGE)
    with pytest.raises(ValueError, match="expected style 'auto', 'ansi', 'blocks' or 'ascii', got 'color'"):
        digit(IMAGE, (3, 3), style="color")


def test_a_digit_without_activations_to_show_is_refused():
    with pytest.raises(ValueError, match="digit: got no activations; pass one for each class, or None"):
        digit(np.zeros(784), activations=[])


def test_visualize_has_it_too():
    assert visualize.digit is digit
