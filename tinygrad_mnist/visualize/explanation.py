"""The backward pass in words: what was computed, and which rule passed which gradient on to what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_mnist.backward import fitted
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.display import Text
from tinygrad_mnist.mode import Observer, no_grad
from tinygrad_mnist.nn import Module
from tinygrad_mnist.op import Op, Rule
from tinygrad_mnist.tensor import Tensor, leaf, values

from .notation import (
    Application,
    all_named,
    collect,
    expression,
    names_of,
    operand_text,
    shape_text,
    untracked_formula,
    value_text,
)
from .tracing import computed, observing


def explain(output: Tensor, *, model: Module | None = None) -> Text:
    """The computation of `output` and its backward pass as text, one step a line, in the order in which they happen.

    First what each op computed; then every rule of the backward pass as a formula. It is found by watching the rule
    compute, so it is what really happens, for an op of your own too. `∂x` stands for d output / d x, `+=` adds to the
    gradient that came along another path, and small arrays show their numbers. Results without a name are called v1,
    v2, ... The result is a str that a notebook shows in lines. No `.grad` is touched, and the graph is kept.

    Args:
        output: a Tensor with one element, computed from Tensors that require gradients.
        model: names its parameters, as in `hidden.weight`.

    Raises:
        RuntimeError: the graph has been freed.
        ValueError: `output` has several elements or requires no gradients.

    >>> a, b, c = (Tensor(v, requires_grad=True, name=n) for v, n in ((2.0, "a"), (-1.0, "b"), (0.5, "c")))
    >>> print(explain((a * b + c).sigmoid()))
    forward
    a                            parameter  scalar  2
    b                            parameter  scalar  -1
    v1 = a * b                   mul        scalar  -2
    c                            parameter  scalar  0.5
    v2 = v1 + c                  add        scalar  -1.5
    v3 = sigmoid(v2)             sigmoid    scalar  0.1824
    backward, where ∂x stands for d v3 / d x
    ∂v3 = 1                                 scalar  1
    ∂v2 = ∂v3 * (v3 * (1 - v3))  sigmoid    scalar  0.1491
    ∂v1 = ∂v2                    add        scalar  0.1491
    ∂c = ∂v2                     add        scalar  0.1491
    ∂a = ∂v1 * b                 mul        scalar  -0.1491
    ∂b = ∂v1 * a                 mul        scalar  0.2983
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"explain: expected a Tensor, as in explain(loss), got {in_one_line(output)}")
    if not output.requires_grad or output.size != 1:
        raise ValueError(
            f"explain: expected one number that requires gradients, got shape {output.shape} and "
            f"requires_grad={output.requires_grad}; reduce it first, as with .sum()"
        )
    tensors = collect([output])
    names = all_named(tensors, names_of(tensors, model))
    steps = [(*_step(t, names), t) for t in tensors if names[t] != value_text(t)]
    forward = len(steps)
    gradients = {output: leaf(np.ones_like(output.data))}
    steps.append((f"∂{names[output]} = 1", "", gradients[output]))
    for node in sorted((t for t in tensors if t.op is not None), key=lambda t: -t._created):
        if node in gradients:
            names[gradients[node]] = f"∂{names[node]}"
        for x, rule in zip(node.inputs, node.op.rules if node in gradients else ()):  # noqa: B905 (rules may be endless)
            if rule is not None and isinstance(x, Tensor) and x.requires_grad:
                part, formula = watched(rule, gradients[node], node, names)
                part_of_x = fitted(values(part), x, node.op, False)
                formula += f", summed to {shape_text(x)}" if np.shape(part) != x.shape else ""
                formula = f"∂{names[x]} {'+=' if x in gradients else '='} {formula}"
                gradients[x] = leaf(np.asarray(gradients[x].data + part_of_x if x in gradients else part_of_x))
                steps.append((formula, node.op.name, gradients[x]))
    formulas, ops = (min(max(len(step[i]) for step in steps), 60) for i in (0, 1))
    lines = [f"{text:{formulas}}  {op:{ops}}  {shape_text(t)}  {value_text(t)}".rstrip() for text, op, t in steps]
    lines.insert(forward, f"backward, where ∂x stands for d {names[output]} / d x")
    return Text("\n".join(["forward", *lines]))


def _step(t: Tensor, names: Mapping[Tensor, str]) -> tuple[str, str]:
    """What computed a Tensor, as a formula, and the op's name; or what it is."""
    if t.op is not None:
        return f"{names[t]} = {expression((t.op, t.inputs, t.params), names, {})[0]}", t.op.name
    if (found := computed(t)) is not None:
        return f"{names[t]} = {untracked_formula(t, names)}", found[0].name
    return names[t], "parameter" if t.requires_grad else "input"


class Applications(Observer):
    """The ops that are applied."""

    def __init__(self) -> None:
        self.applications: dict[Tensor, Application] = {}

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """Note an op."""
        self.applications[result] = op, inputs, params


def watched(rule: Rule, g: Tensor, node: Tensor, names: Mapping[Tensor, str]) -> tuple[Any, str]:
    """What a rule gives, and the formula that it computed."""
    seen = Applications()
    try:
        with observing(seen), no_grad():
            part = rule(g, node, *node.inputs, **node.params)
        return part, operand_text(part, names, seen.applications)[0]
    except Exception:  # a rule that is written for arrays alone: its formula cannot be seen
        arrays = [x.data if isinstance(x, Tensor) else x for x in node.inputs]
        return rule(g.data, node.data, *arrays, **node.params), f"the rule of {node.op.name}"
