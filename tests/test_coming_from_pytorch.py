"""The page for PyTorch's users: every name of ours on it is there."""

import re

import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import functional, gradcheck, losses, mnist, nn, optim, train, visualize

from .helpers import ROOT

ROOMS = {"tg": tg, "nn": nn, "optim": optim, "losses": losses, "functional": functional, "gradcheck": gradcheck,
         "train": train, "mnist": mnist, "visualize": visualize, "Tensor": tg.Tensor, "Buffer": nn.Buffer}  # fmt: skip


def missing_names(page: str) -> list[str]:
    """Names in the middle column of the page's table of names that are nowhere."""
    rows = [row.split("|") for row in page.splitlines() if row.startswith("| ")]
    cells = [row[2] for row in rows if len(row) > 4]  # habits have two columns
    found = []
    for name in re.findall(r"`([\w.]+)[^`]*`", " ".join(cells)):
        room, *parts = name.split(".")
        place = ROOMS[room]
        for part in parts:
            place = getattr(place, part, None)
        if place is None:
            found.append(name)
    return found


def test_every_name_of_ours_is_there():
    page = (ROOT / "tinygrad_mnist" / "COMING_FROM_PYTORCH.md").read_text(encoding="utf-8")
    assert missing_names(page) == []
    assert page.count("\n| ") > 30
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "tinygrad_mnist/COMING_FROM_PYTORCH.md" in readme


def unmentioned(room: str, page: str) -> list[str]:
    """Classes of a package of which the page does not tell."""
    classes = [name for name, value in vars(ROOMS[room]).items() if isinstance(value, type) and name[0] != "_"]
    return [f"{room}.{name}" for name in classes if not re.search(rf"`{room}\.{name}\b", page)]


def test_every_optimizer_schedule_and_layer_is_on_the_page():
    page = (ROOT / "tinygrad_mnist" / "COMING_FROM_PYTORCH.md").read_text(encoding="utf-8")
    assert unmentioned("optim", page) == ["optim.State"]  # what it keeps, which PyTorch has no class for
    assert unmentioned("nn", page) == ["nn.Summary"]  # what tg.summary returns
    assert "optim.Adam" in unmentioned("optim", page.replace("`optim.Adam`", ""))


@pytest.mark.parametrize("name", ["nn.Lineal", "Tensor.nump", "losses.l1_loss"])
def test_a_name_that_is_not_there_is_found(name):
    assert missing_names(f"| `torch.x` | `nn.Linear`, `{name}(x)` | |") == [name]
