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
from tinygrad_mnist.mode import enable_grad
from tinygrad_mnist.op import apply
from tinygrad_mnist.optim import SGD, Optimizer, State
from tinygrad_mnist.tensor import Array, Tensor, leaf, values
from tinygrad_mnist.visualize.explanation import watched
from tinygrad_mnist.visualize.notation import expression
from tinygrad_mnist.visualize.tracing import observing

from .formulas import CHANGE, Formula
from .tables import Place, largest

LR = 0.1
"""The learning rate of the step that is shown where no optimizer is given."""

REPEATS = 8
"""How often the same gradient comes, to show what an optimizer makes of it."""

STEPS = 6
"""How many steps on the same data are computed, if the optimizer is not plain SGD."""


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
    """What an optimizer does to a parameter: `after` is `before` minus `change`.

    Attributes:
        p: the parameter.
        formula: how the change, and what is kept for the next step, are computed.
        place: where its gradient is largest, whose numbers are told; None if it is not finite.
        plain: the change that plain SGD would make of the same gradient at the same learning rate.
        was: what has been kept from the steps before; `kept`, what is kept now.
        repeated: at that place, what is kept and what the change is, if the same gradient came again and again: now,
            the second time, ...; empty where nothing is kept.
    """

    p: Tensor
    formula: Formula
    place: Place | None
    before: Array
    change: Array
    after: Array
    plain: Array
    was: dict[str, Array]
    kept: dict[str, Array]
    repeated: list[dict[str, Any]]


@dataclass(eq=False)
class Course:
    """What comes of several steps on the same data.

    Attributes:
        outputs: before the first step, after it, after the second, ...
        gradients, changes: of all parameters, step by step.
    """

    outputs: list[Array] = field(default_factory=list)
    gradients: list[dict[Tensor, Array]] = field(default_factory=list)
    changes: list[dict[Tensor, Array]] = field(default_factory=list)


@dataclass(eq=False)
class Walk:
    """A step, event by event.

    Attributes:
        tensors: all that there are, oldest first.
        gradients: of each Tensor that has one, as an array.
        parts: the backward pass, in order.
        uses: how many parts a gradient is the sum of.
        updates: what the optimizer does.
        courses: several steps on the same data: by the optimizer, and if it is not plain SGD, by that; empty where
            that is not possible.
        left_over: what the second backward pass of the first course leaves in `.grad` where nothing has cleared it.
    """

    tensors: Sequence[Tensor]
    output: Tensor
    gradients: dict[Tensor, Array] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    uses: dict[Tensor, int] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    left_over: dict[Tensor, Array] = field(default_factory=dict)


def walk(tensors: Sequence[Tensor], output: Tensor, names: dict[Tensor, str], optimizer: Optimizer | None) -> Walk:
    """Walk through the step that makes the output smaller. No `.grad`, parameter, state or generator is touched."""
    step = Walk(tensors, output)
    if output.size != 1 or not output.requires_grad:
        return step
    leaves = [t for t in tensors if t.op is None and t.requires_grad]
    grad(output, leaves, retain_graph=True)  # refuses what backward() would refuse
    _backward(step, dict(names))
    optimizer = optimizer or SGD(leaves, LR)
    _update(step, optimizer)
    if step.updates and output.op is not None:
        keeps = any(update.kept for update in step.updates)
        with observing(None), enable_grad():
            step.courses = [
                _course(step, optimizer, plain, STEPS if keeps else 1) for plain in (False, True)[: 1 + keeps]
            ]
            step.left_over = _left_over(step)
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


def _update(step: Walk, optimizer: Optimizer) -> None:
    formula = copying.copy(optimizer)  # a formula may set attributes
    for group in optimizer.groups:
        for p in group["params"]:
            if p in step.gradients:
                g = step.gradients[p]
                was: Mapping[str, Array] = optimizer.state.get(p, {})
                seen, state = Formula(optimizer, p, g, was, group), _state(p, was)
                before, place = p.data.copy(), largest(g)
                change = values(formula.change(before, g.copy(), state, group))
                after = p.data.copy()
                after -= change
                plain, repeated = _plain(p, before, g, group), _repeated(optimizer, p, g, was, group, place)
                kept = {name: array.copy() for name, array in was.items()}
                step.updates.append(
                    Update(p, seen, place, before, change, after, plain, kept, dict(state), repeated if state else [])
                )


def _state(p: Tensor, kept: Mapping[str, Array]) -> State:
    """A copy of what an optimizer keeps for a parameter."""
    state = State(p.dtype)
    state.update({name: array.copy() for name, array in kept.items()})
    return state


def _plain(p: Tensor, array: Array, g: Array, group: Mapping[str, Any]) -> Array:
    """What plain SGD would take from a parameter."""
    options = {name: group[name] for name in ("lr", "weight_decay")}
    return values(SGD([Tensor(array, requires_grad=True)], **options).change(array, g.copy(), State(p.dtype), options))


def _repeated(
    optimizer: Optimizer, p: Tensor, g: Array, kept: Mapping[str, Array], group: Mapping[str, Any], place: Place | None
) -> list[dict[str, Any]]:
    """What an optimizer makes of the same gradient again and again, at one place."""
    if place is None:
        return []
    formula, state, found = copying.copy(optimizer), _state(p, kept), []
    for _ in range(REPEATS):
        change = values(formula.change(p.data.copy(), g.copy(), state, group))
        found.append({name: array[place] for name, array in state.items() if array.shape == p.shape})
        found[-1][CHANGE] = change[place]
    return found


# ----------------------------------------------------------------------------------------------------------------------
# The same data again


def _course(step: Walk, optimizer: Optimizer, plain: bool, steps: int) -> Course:
    """Some steps on the same data, with copies of the parameters: by the optimizer, or by plain SGD in its place."""
    formula = copying.copy(optimizer)
    groups = {p: group for group in optimizer.groups for p in group["params"]}
    arrays = {update.p: update.before.copy() for update in step.updates}
    states = {update.p: _state(update.p, update.was) for update in step.updates}
    course = Course([step.output.data], [{p: step.gradients[p] for p in arrays}])
    for _ in range(steps):
        changes = {}
        for p, array in arrays.items():
            g = course.gradients[-1][p].copy()
            changes[p] = (
                _plain(p, array, g, groups[p]) if plain else values(formula.change(array, g, states[p], groups[p]))
            ).copy()
            array -= changes[p]
        fresh = {p: Tensor(array.copy(), requires_grad=True) for p, array in arrays.items()}
        made = computed_again(step.tensors, fresh)[step.output]
        course.changes.append(changes)
        course.outputs.append(made.data)
        course.gradients.append(dict(zip(fresh, (g.data for g in grad(made, list(fresh.values()))), strict=True)))
    return course


def _left_over(step: Walk) -> dict[Tensor, Array]:
    """What the next backward pass leaves in `.grad` if nothing has cleared it."""
    fresh = {update.p: Tensor(update.after, requires_grad=True) for update in step.updates}
    for p, own in fresh.items():
        own.grad = Tensor(step.gradients[p].copy())
    computed_again(step.tensors, fresh)[step.output].backward()
    return {p: own.grad.data for p, own in fresh.items() if own.grad is not None}


def forward_formula(t: Tensor, names: Mapping[Tensor, str]) -> str:
    """The op that made a Tensor on its operands, as Python writes it."""
    return expression((t.op, t.inputs, t.params), names, {})[0]
