"""The tutorial runs from top to bottom, and each of its cells shows what it is there for."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parent.parent / "graphs" / "tutorial.ipynb"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*TCP.*"),
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells of code by their source, each with the kinds and texts of its outputs."""
    notebook = nbformat.read(NOTEBOOK, 4)
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cells, part):
    """What the last output of the cell with this part shows, by kind."""
    (cell,) = (cell for cell in cells if part in cell.source)
    return cell.outputs[-1].get("data", cell.outputs[-1])


def test_the_tutorial_shows_what_it_is_there_for(cells):
    assert shown(cells, "x.grad")["text/plain"] == "Tensor([2., 4., 6.], dtype=float32)"
    assert shown(cells, "explain((x**2)")["text/plain"].startswith("forward\nx ")
    neuron = shown(cells, "backward=True")["image/svg+xml"]
    assert "∂C/∂w" in neuron
    assert re.search("<title>[^<]*cell:\\d+: a = sigmoid", neuron)
    assert "image/png" in shown(cells, "data.train.images[:20]")
    epochs = shown(cells, "visualize.live")
    assert epochs["text/html"].count("<tr>") == 6
    assert "<svg" in epochs["text/html"]
    assert float(re.findall(r"test (\S+) %", epochs["text/plain"])[-1]) > 85
    assert "7" in shown(cells, "visualize.digit")["text/plain"]
    assert "‖∂‖" in shown(cells, "gradients=True")["image/svg+xml"]
    assert "def step(images, targets, lr):" in shown(cells, "step.source")["text"]
    assert "softsign(z)" in shown(cells, "explain(softsign")["text/plain"]


def test_errors_begin_with_their_line_and_show_the_users_code_only(cells):
    error = shown(cells, "783")
    assert error["traceback"][0].startswith("ValueError: linear: ")
    assert "tinygrad_mnist/" not in "".join(error["traceback"])


def test_it_is_kept_without_outputs(cells):
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
