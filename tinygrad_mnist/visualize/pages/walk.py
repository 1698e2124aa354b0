"""One step of training, computed slowly: every value, every part of every gradient, every update, and nothing changed.

All that is computed here is what `backward()` and `optimizer.step()` compute, to the bit; but each part is kept.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_mnist.backward import fitted, grad
from tinygrad_mnist.mode import enable_grad, no_grad
from tinygrad_mnist.op import apply
from tinygrad_mnist.optim import SGD, Optimizer, State
from tinygrad_mnist.tensor import Array, Tensor, leaf, values
from tinygrad_mnist.visualize.explanation import Applications, watched
from tinygrad_mnist.visualize.notation import expression, operand_text
from tinygrad_mnist.visualize.tracing import observing

LR = 0.1
"""The learning rate of the step that is shown where no optimizer is given."""


@dataclass(eq=False)
class Part:
    """What a rule passes on: from a result, whose gradient is complete, to one of its inputs.

    Attributes:
        node: the result; `x`, its input at `position`.
        formula: what the rule computed.
        raw: what it returned; `part` the same with broadcasting undone.
        before: the gradient of x that had come along other paths; None: this is the first part.
        total: the gradient of x from then on.
        first: whether nothing else has been passed on from this result before.
        number: which part of x's gradient this is, from 1.
        waiting: the results that have a gradient by now and have not passed it on, the next one first, with the number
            of their parts so far.
    """

    node: Tensor
    position: int
    x: Tensor
    formula: str
    raw: Array
    part: Array
    before: Array | None
    total: Array
    first: bool
    number: int
    waiting: list[tuple[Tensor, int]]


@dataclass(eq=False)
class Update:
    """What an optimizer does to a parameter: `after` is `before` minus `change`; `formula` tells what the change is."""

    p: Tensor
    formula: str
    before: Array
    change: Array
    after: Array
    kept: dict[str, Array]


@dataclass(eq=False)
class Walk:
    """A step, event by event.

    Attributes:
        tensors: all that there are, oldest first.
        gradients: of each Tensor that has one, as an array.
        parts: the backward pass, in order.
        uses: how many parts a gradient is the sum of.
        updates: what the optimizer does.
        again: the same graph computed with the updated parameters: its output, and the gradients of the parameters;
            None where that is not possible.
    """

    tensors: Sequence[Tensor]
    output: Tensor
    gradients: dict[Tensor, Array] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    uses: dict[Tensor, int] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    again: tuple[Array, dict[Tensor, Array]] | None = None


def walk(tensors: Sequence[Tensor], output: Tensor, names: dict[Tensor, str], optimizer: Optimizer | None) -> Walk:
    """Walk through the step that makes the output smaller. No `.grad`, parameter, state or generator is touched."""
    step = Walk(tensors, output)
    if output.size != 1 or not output.requires_grad:
        return step
    leaves = [t for t in tensors if t.op is None and t.requires_grad]
    grad(output, leaves, retain_graph=True)  # refuses what backward() would refuse
    _backward(step, dict(names))
    _update(step, names, optimizer or SGD(leaves, LR))
    after = {update.p: update.after for update in step.updates}
    if after and output.op is not None:
        fresh = {p: Tensor(array, requires_grad=True) for p, array in after.items()}
        with observing(None), enable_grad():
            made = computed_again(tensors, fresh)[output]
            gradients = grad(made, list(fresh.values()))
        step.again = made.data, {p: g.data for p, g in zip(fresh, gradients, strict=True)}
    return step


def computed_again(tensors: Iterable[Tensor], fresh: Mapping[Tensor, Tensor]) -> dict[Tensor, Tensor]:
    """The same graph, with these Tensors in place of leaves; what draws random numbers draws from copies."""
    made = dict(fresh)
    for t in tensors:
        if t.op is None:
            made.setdefault(t, t)
        else:
            made[t] = applied_again(t, made)
    return made


def applied_again(t: Tensor, made: Mapping[Tensor, Tensor]) -> Tensor:
    """The op that made a Tensor, applied to what is made of its inputs."""
    params = {k: copying.deepcopy(v) if isinstance(v, np.random.Generator) else v for k, v in t.params.items()}
    result: Tensor = apply(t.op, tuple(made[x] if isinstance(x, Tensor) else x for x in t.inputs), params)
    return result


# ----------------------------------------------------------------------------------------------------------------------
# The backward pass


def _flows(node: Tensor) -> list[tuple[int, Tensor, Any]]:
    """The inputs that a result passes gradients on to: position, input, rule."""
    inputs = enumerate(zip(node.inputs, node.op.rules))  # noqa: B905 (rules may be endless, or fewer than inputs)
    return [(i, x, rule) for i, (x, rule) in inputs if rule is not None and isinstance(x, Tensor) and x.requires_grad]


def _backward(step: Walk, names: dict[Tensor, str]) -> None:
    output = step.output
    stack, seen = [output] * (output.op is not None), {output}
    while stack:
        for _, x, _ in _flows(stack.pop()):
            step.uses[x] = step.uses.get(x, 0) + 1
            if x not in seen:
                seen.add(x)
                if x.op is not None:
                    stack.append(x)
    step.gradients[output] = np.ones_like(output.data)
    arrived: dict[Tensor, int] = {}
    queue = [(-output._created, output)] if output.op is not None else []
    while queue:
        node = heappop(queue)[1]
        g = leaf(step.gradients[node])
        names[g] = f"∂{names[node]}"
        for i, (position, x, rule) in enumerate(_flows(node)):
            part, formula = watched(rule, g, node, names)
            raw = values(part)
            fit = np.asarray(fitted(raw, x, node.op))
            before = step.gradients.get(x)
            if before is None and x.op is not None:
                heappush(queue, (-x._created, x))
            step.gradients[x] = total = fit if before is None else np.asarray(before + fit)
            arrived[x] = arrived.get(x, 0) + 1
            waiting = [(t, arrived[t]) for _, t in sorted(queue, key=lambda entry: entry[0])]
            step.parts.append(Part(node, position, x, formula, raw, fit, before, total, i == 0, arrived[x], waiting))


# ----------------------------------------------------------------------------------------------------------------------
# The update


def _update(step: Walk, names: Mapping[Tensor, str], optimizer: Optimizer) -> None:
    formula = copying.copy(optimizer)  # a formula may set attributes
    for group in optimizer.groups:
        for p in group["params"]:
            if p in step.gradients:
                g, state = step.gradients[p].copy(), State(p.dtype)
                state.update({name: array.copy() for name, array in optimizer.state.get(p, {}).items()})
                text = _formula(formula, p, g, state, group, names[p])
                before = p.data.copy()
                change = values(formula.change(before, g, state, group))
                after = p.data.copy()
                after -= change
                step.updates.append(Update(p, text, before, change, after, dict(state)))


def _formula(
    optimizer: Optimizer, p: Tensor, g: Array, state: Mapping[str, Array], group: Mapping[str, Any], name: str
) -> str:
    """What the optimizer takes from a parameter, as a formula: it is seen at work on Tensors."""
    seen = Applications()
    gradient = leaf(g.copy())
    kept: Any = {key: leaf(array.copy()) for key, array in state.items()}
    known = {p: name, gradient: f"∂{name}", **{tensor: key for key, tensor in kept.items()}}
    try:
        with observing(seen), no_grad():
            change = copying.copy(optimizer).change(p, gradient, kept, group)
        return operand_text(change, known, seen.applications)[0]
    except Exception:  # a formula that is written for arrays alone cannot be seen
        return f"the change of {optimizer}"


def forward_formula(t: Tensor, names: Mapping[Tensor, str]) -> str:
    """The op that made a Tensor on its operands, as Python writes it."""
    return expression((t.op, t.inputs, t.params), names, {})[0]
