"""display.py and visualize/watching.py: what notebooks show."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from tinygrad_mnist import Tensor, compile, visualize
from tinygrad_mnist.checkpoint import Epoch
from tinygrad_mnist.display import Text, pixels_of, show_error
from tinygrad_mnist.visualize.watching import History


def shown(value):
    """What a notebook is given to show, by kind."""
    return DisplayFormatter().format(value)[0]


def test_texts_are_shown_in_lines_and_are_still_str():
    w = Tensor(2.0, requires_grad=True, name="w")
    text = visualize.explain(w * w)
    assert isinstance(text, str)
    assert shown(text) == {"text/plain": str(text)}
    assert shown([text])["text/plain"].startswith("[forward")

    @compile
    def step(x):
        return x * 2

    assert shown(step.source)["text/plain"].startswith("# step: no program yet")
    step(np.ones(3))
    assert shown(step.source)["text/plain"] == str(step.source)
    assert "\ndef step(x):\n" in str(step.source)
    assert shown(visualize.digit([0, 1], (1, 2), style="ascii"))["text/plain"] == " ="


@pytest.mark.parametrize(
    ("shape", "n"), [((28, 28), 1), ((784,), 1), ((5, 784), 5), ((12, 28, 28), 12), ((120, 1, 28, 28), 120)]
)
def test_data_with_the_shape_of_images_is_shown_as_images(shape, n):
    rng = np.random.default_rng(0)
    t = Tensor(rng.random(shape, np.float32))
    png = shown(t)["image/png"]
    image = Image.open(io.BytesIO(png))
    columns, rows = min(n, 10), -(-min(n, 100) // 10)
    scale = 6 if n == 1 else 3
    assert image.size == (30 * scale * columns, 30 * scale * rows)
    first = np.asarray(image)[scale : 29 * scale : scale, scale : 29 * scale : scale]
    np.testing.assert_array_equal(first, np.rint(255 * (1 - t.numpy().reshape(-1, 28, 28)[0])))
    assert "Tensor" in shown(t)["text/plain"]


def test_whole_numbers_to_255_are_images_too():
    t = Tensor(np.full((784,), 51, np.uint8))
    pixels = pixels_of(t)
    assert pixels is not None
    assert float(pixels[0, 0, 0]) == 0.2


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((28, 27)), np.zeros((784, 30)), np.zeros((2, 3, 28, 28)), np.zeros((1, 1, 1, 28, 28)), np.zeros(()),
        np.zeros((0, 784)), np.full(784, -0.1), np.full((28, 28), 1.5), np.full(784, np.nan), np.full(784, 1j),
        np.zeros((2, 2, 784)), np.ones((28, 28), bool),
    ],
)  # fmt: skip
def test_everything_else_is_text(array):
    assert [*shown(Tensor(array))] == ["text/plain"]


def test_a_parameter_is_no_image():
    assert [*shown(Tensor(np.zeros((28, 28)), requires_grad=True))] == ["text/plain"]


@pytest.fixture
def shell():
    class Shell(InteractiveShell):
        def _showtraceback(self, etype, evalue, stb):
            self.told = stb

    try:
        yield Shell()
    finally:
        InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("cell", "first"),
    [
        ("def f():\n    return Tensor([1.0]) @ Tensor(2.0)\nf()", r"\w+Error: matmul"),
        ("visualize.explain(3)", "TypeError: explain: expected a Tensor"),
    ],
)
def test_our_errors_begin_with_their_line_and_end_in_the_users_code(cell, first, shell):
    shell.set_custom_exc((Exception,), show_error)
    shell.push({"Tensor": Tensor, "visualize": visualize})
    shell.run_cell(cell)
    assert re.match(first, shell.told[0])
    text = re.sub("\x1b[^m]*m", "", "\n".join(shell.told))
    assert cell.splitlines()[-1] in text
    assert "tinygrad_mnist/" not in text


def test_errors_of_others_are_shown_as_ever(shell):
    shell.set_custom_exc((Exception,), show_error)
    shell.run_cell("1 / 0")
    assert not shell.told[0].startswith("ZeroDivisionError:")


EPOCHS = [Epoch(1, 0.51239999, 0.75, 0.5, None, 3.0, None, 0.1234), Epoch(2, 0.25, 0.8, 0.75, None, 3.0, None, 0.5)]


def test_epochs_have_digits_that_say_something():
    assert repr(EPOCHS[0]) == (
        "Epoch(epoch=1, cost=0.5124, training=0.75, validation=0.5, test=None, lr=3, saturated=None, seconds=0.1234)"
    )


def test_a_training_is_shown_as_it_goes(capsys):
    going = visualize.live(iter(EPOCHS))
    assert next(going) is EPOCHS[0]
    assert capsys.readouterr().out == "epoch 1  cost 0.5124  training 75.00 %  validation 50.00 %\n"
    assert list(going) == EPOCHS[1:]


def test_a_history_is_a_table_with_curves():
    html = shown(History(EPOCHS))["text/html"]
    assert "<td>0.5124</td><td>75.00 %</td><td>50.00 %</td><td></td>" in html
    assert html.count("<tr>") == 3
    assert "<svg" in html


def test_ipython_is_not_imported_for_that():
    code = "import sys; from tinygrad_mnist import visualize; print({'IPython', 'PIL', 'matplotlib'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_text_is_equal_to_its_str():
    assert Text("a\nb") == "a\nb"
    assert repr(Text("a\nb")) == "'a\\nb'"
