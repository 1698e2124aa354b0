"""What a network makes of a digit, in numbers that JSON can hold: layers, slopes, gradients, what a step changed."""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_mnist import grad, nn
from tinygrad_mnist.mode import enable_grad
from tinygrad_mnist.tensor import Array, Tensor

SATURATED = 0.01
"""A neuron whose slope is below this hardly learns: of a sigmoid σ' = a (1 - a), so a is within 0.01 of 0 or 1."""

MOST = 100
"""How many neurons of a layer are shown, at most: the first ones."""

Numbers = dict[str, Any]


def finite(x: Any) -> float | None:
    """A number as JSON can hold it: None for what is not finite."""
    return float(x) if math.isfinite(x) else None


def rms(array: Array) -> Any:
    """The root mean square of the numbers of an array: the size of a typical one, however many there are."""
    return np.sqrt(np.mean(np.square(array, dtype=np.float64)))


def listed(array: Array) -> list[float | None]:
    """The numbers of an array, flat, as JSON can hold them."""
    return [finite(x) for x in array.ravel().tolist()]


def picture(array: Array, scale: float | None = None) -> Numbers:
    """An array as an image: whole numbers from -127 to 127, of which 127 stands for `scale`, the largest size in it."""
    if scale is None:
        scale = float(np.abs(array).max(initial=0))
    scale = scale if math.isfinite(scale) and scale > 0 else 1.0
    levels = np.rint(np.nan_to_num(array / scale, nan=0.0).clip(-1, 1) * 127).astype(np.int8)
    return {"shape": list(array.shape), "scale": scale, "bytes": base64.b64encode(levels.tobytes()).decode()}


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluate in the block: nothing is dropped; afterwards every part is as it was."""
    parts = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, training in parts:
            part.training = training


def row(label: int, n_classes: int) -> Array:
    """The targets of one digit: 1 at its label, 0 elsewhere; of shape (1, n_classes)."""
    return (np.arange(n_classes)[None] == label).astype(np.float32)


def weighted(outputs: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Where weights are applied, in the order of the computation: each result, and the matrix or kernels.

    A weight is a leaf of at least two dimensions that requires gradients, and not the first operand of an op that is
    not elementwise: a product, a convolution.
    """
    found, seen, stack = [], set(), [(outputs, False)]
    while stack:
        node, done = stack.pop()
        if done:
            for operand in () if node.op is None or node.op.domain is not None else node.inputs[1:]:
                if isinstance(operand, Tensor) and operand.op is None and operand.requires_grad and operand.ndim > 1:
                    found.append((node, operand))
            continue
        if id(node) in seen or node.op is None:
            continue
        seen.add(id(node))
        stack.append((node, True))
        stack.extend((x, False) for x in reversed(node.inputs) if isinstance(x, Tensor))
    return found


def slopes(node: Tensor) -> Array | None:
    """The slope of each neuron: its activation function's own rule, given the gradient 1; None if it has no such."""
    op = node.op
    if op is None or op.arity != 1 or op.domain is None or not isinstance(node.inputs[0], Tensor):
        return None
    rule = next(iter(op.rules))
    return None if rule is None else np.asarray(rule(np.ones_like(node.data), node.data, node.inputs[0].data))


def layer(name: str, node: Tensor, activations: Array | None = None) -> Numbers:
    """A layer's activations, at most `MOST` of them, and their slopes."""
    own = node.data if activations is None else activations
    derivative = slopes(node)
    return {
        "name": name,
        "function": node.op.name if node.op else "",
        "count": own.size,
        "activations": listed(own.ravel()[:MOST]),
        "slopes": None if derivative is None else listed(derivative.ravel()[:MOST]),
    }


def layers_of(outputs: Tensor) -> list[tuple[str, Tensor]]:
    """The layers between which weights are applied, by name: the activations of hidden ones, then the outputs."""
    before = list({id(node.inputs[0]): node.inputs[0] for node, _ in weighted(outputs)[1:]}.values())
    hidden = [("hidden layer" if len(before) == 1 else f"layer {i}", a) for i, a in enumerate(before, 1)]
    return [*hidden, ("outputs", outputs)]


def look(
    model: nn.Module,
    cost: Callable[[Any, Any], Tensor],
    probabilities: Callable[[Array], Array],
    pixels: Array,
    n_classes: int,
    label: int | None = None,
) -> Numbers:
    """What a network makes of a digit.

    Args:
        model: of a batch of images.
        cost: of outputs and targets.
        probabilities: what is shown of the outputs: themselves, or for a softmax cost their softmax.
        pixels: flat.
        n_classes: how many outputs there are.
        label: what the digit is; None takes the network's answer.

    Returns:
        `layers`, from the first hidden one to the outputs, with `activations` and `slopes`; the `answer`; the `cost`
        if the digit is `label`; and `gradient`, of this cost with respect to the pixels. No `.grad` is touched.
    """
    x = Tensor(pixels[None].astype(np.float32), requires_grad=True)
    with np.errstate(all="ignore"), evaluation(model), enable_grad():
        outputs = model(x)
        shown = probabilities(outputs.data)
        answer = int(np.nan_to_num(shown[0], nan=-np.inf).argmax())
        target = answer if label is None else label
        loss = cost(outputs, Tensor(row(target, n_classes)))
        layers = [layer(name, a, shown if a is outputs else None) for name, a in layers_of(outputs)]
        gradient = grad(loss, x).data
    return {
        "pixels": listed(pixels),
        "layers": layers,
        "answer": answer,
        "label": label,
        "cost": finite(loss.item()),
        "gradient": picture(gradient.reshape(-1)),
    }


def first_weights(model: nn.Module, pixels: Array, shape: tuple[int, int]) -> Tensor | None:
    """The weights that can be shown as images: those of the first layer, if they meet the pixels or are kernels."""
    with evaluation(model), enable_grad(), np.errstate(all="ignore"):
        found = weighted(model(Tensor(pixels[None].astype(np.float32))))
    if not found:
        return None
    weight = found[0][1]
    return weight if weight.ndim == 4 or (weight.ndim == 2 and len(weight) == math.prod(shape)) else None


def tiles(weights: Array, shape: tuple[int, int]) -> Numbers:
    """Weights as an image for each neuron, at most `MOST`: of shape (neurons, rows, columns); of kernels the first."""
    images = weights[:MOST, 0] if weights.ndim == 4 else weights.T[:MOST].reshape(-1, *shape)
    count = len(weights) if weights.ndim == 4 else weights.shape[1]
    return {**picture(images, float(np.percentile(np.abs(images), 99.5))), "count": count}


def moved(before: Mapping[str, Array], after: Mapping[str, Array]) -> Numbers:
    """What a step changed: for each parameter how far it moved (the RMS), and the weights that moved most."""
    changes = {name: after[name].astype(np.float64) - before[name] for name in before}
    rows = [
        {
            "name": name,
            "shape": list(change.shape),
            "rms": finite(rms(change)),
            "largest": finite(np.abs(change).max(initial=0)),
            "moved": int(np.count_nonzero(change)),
            "size": change.size,
        }
        for name, change in changes.items()
    ]
    most: list[Numbers] = []
    for name, change in changes.items():
        for place in np.argsort(-np.abs(change).ravel(), kind="stable")[:6].tolist():
            index = [int(i) for i in np.unravel_index(place, change.shape)]
            was, now = (finite(x[name].ravel()[place]) for x in (before, after))
            most.append({"name": name, "index": index, "was": was, "now": now, "by": finite(change.ravel()[place])})
    most.sort(key=lambda each: -abs(each["by"] or 0))
    return {"parameters": rows, "most": most[:6]}
