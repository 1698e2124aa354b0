"""`page`: one training step as a page for a browser."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.nn import Module
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Tensor

from .arrays import DETAILS
from .document import HERE, Page, document
from .events import Events

MOST_BYTES = 300_000
"""How large a page may be: arrays are shown in less detail until it is not larger, as far as that goes."""

STYLES, SCRIPTS = ("base.css", "step.css"), ("arrays.js", "graph.js", "listing.js", "step.js")


def page(
    output: Tensor,
    *,
    model: Module | None = None,
    optimizer: Optimizer | None = None,
    collapse: int | Collection[str] | None = None,
    limit: int = 300,
    code: Sequence[Callable[..., Any]] = (),
) -> Page:
    """One training step as a page for a browser, to walk through: a file without network, which notebooks show too.

    Forward, `zero_grad`, backward and the update, step by step, in linked views: your lines of code (of what was
    computed under `trace()`), the graph, the rule as a formula, the numbers, and the statements that `compile` makes of
    it. Nothing is changed: no `.grad`, parameter or state; the graph is kept.

    Args:
        output: the Tensor to begin at, such as a loss. Of one that is not one number that requires gradients, only the
            forward pass is shown.
        model: names its parameters, as in `hidden.weight`; after `trace()` not needed.
        optimizer: whose step is shown; by default a plain one, w - 0.1 ∂w.
        collapse, limit: as for `graph`.
        code: functions that are shown before those that were traced, such as the one that made the model.

    Raises:
        ValueError: more nodes than the limit.
        RuntimeError: the graph has been freed, or a parameter has changed since.

    >>> w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> made = page((w * w).sum())
    >>> made.html.startswith("<!DOCTYPE html>"), made.size < 100_000
    (True, True)
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"page: expected a Tensor, as in page(loss), got {in_one_line(output)}")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"page: model: expected a Module, got {in_one_line(model)}")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"page: optimizer: expected an Optimizer such as SGD, got {in_one_line(optimizer)}")
    with np.errstate(all="ignore"):  # what was warned of when it was computed is computed again
        contents = Events(output, model, optimizer, collapse, limit, code)
        steps = contents.steps()
    body = (HERE / "step.html").read_text(encoding="utf-8")
    for detail in DETAILS:
        made = Page(document(contents.title, contents.written(detail, steps), STYLES, SCRIPTS, body))
        if made.size <= MOST_BYTES:
            break
    return made
