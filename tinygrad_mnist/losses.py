"""Costs: what training makes small, stable where a composition of logarithms and exponentials would not be.

Every cost is a scalar. The book's, and `softmax_cross_entropy`, are the mean over the batch (the first axis) of sums
over the outputs; those with PyTorch's names compute what its functions of that name do, means over all outputs among
them. `targets` are an array of the outputs' shape; or, for outputs of shape (n, k), integer labels of shape (n,), each
of which stands for a row that is 1 at the label and 0 elsewhere. Outputs of more axes, (n, d, k), are d k outputs for
each example; `cross_entropy` and `nll_loss`, which are means over rows of classes, refuse them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .op import binary, unary
from .ops import log, log_softmax, maximum, softmax, softplus, sum, where
from .tensor import Array, Operand, Tensor, has_tensors

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_cost",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "quadratic_cost",
    "softmax_cross_entropy",
]


def _half_mean_square(a: Array, y: Array) -> Any:
    difference = a - y
    return 0.5 / len(a) * np.add.reduce(difference * difference, None)  # ** 2 takes 0.5 µs more


def _clamped_log(x: Array) -> Array:
    # A saturated output costs 100, not infinity: of 0 the logarithm of the smallest number above it is taken.
    return np.maximum(np.log(np.where(x == 0, np.finfo(x.dtype).smallest_subnormal, x)), -100)


def _at_least_tiny(x: Any) -> Any:
    """x, but not so small that 1 / x overflows."""
    return maximum(x, float(np.finfo(x.dtype).tiny))


def _log_from_minus_100(x: Any) -> Any:
    """The same made of ops, for a rule."""
    return where(x > 0, maximum(log(where(x > 0, x, 1)), -100), -100)


def _log_likelihood(z: Array, y: Array) -> Array:
    return _negative_log_likelihood_of(log_softmax(z), y)


def _negative_log_likelihood_of(logarithms: Array, y: Array) -> Array:
    # 0 ln 0 = 0: what a logit of -inf rules out costs nothing, unless it is the target.
    products = np.zeros(logarithms.shape, np.result_type(y, logarithms))
    return -np.sum(np.multiply(y, logarithms, where=y != 0, out=products)) / len(logarithms)


def _one_hot(labels: Array, classes: int, dtype: Any = np.float32) -> Array:
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"{classes} outputs need labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}")
    return (labels[:, None] == np.arange(classes)).astype(dtype)


# fmt: off
_quadratic = binary(
    "quadratic_cost", _half_mean_square,
    lambda g, out, a, y: (a - y) * (g / len(a)),
    lambda g, out, a, y: (y - a) * (g / len(a)),
    sign="1/n Σ ½(a−y)²", domain=None, doc="1/n Σ ½ (a - y)²")
_cross_entropy = binary(
    "cross_entropy_cost",
    lambda a, y: -np.sum(y * _clamped_log(a) + (1 - y) * _clamped_log(1 - a)) / len(a),
    lambda g, out, a, y: ((1 - y) / _at_least_tiny(1 - a) - y / _at_least_tiny(a)) * (g / len(a)),
    lambda g, out, a, y: (_log_from_minus_100(1 - a) - _log_from_minus_100(a)) * (g / len(a)),
    sign="1/n Σ H(y, a)", domain=None, doc="-1/n Σ (y ln a + (1 - y) ln(1 - a))")
_softmax_cross_entropy = binary(
    "softmax_cross_entropy",
    _log_likelihood,
    lambda g, out, z, y: (softmax(z) * sum(y, -1, True) - y) * (g / len(z)),
    lambda g, out, z, y: -log_softmax(z) * (g / len(z)),
    sign="1/n Σ H(y, softmax z)", domain=None, doc="-1/n Σ y ln softmax(z)")
_negative_log_likelihood = binary(
    "negative_log_likelihood",
    _negative_log_likelihood_of,
    lambda g, out, logarithms, y: -y * (g / len(y)),
    lambda g, out, logarithms, y: -logarithms * (g / len(y)),
    sign="−1/n Σ y ln p", domain=None, doc="-1/n Σ y l, of logarithms l")
one_hot = unary(
    "one_hot", _one_hot, None,
    domain=None, doc="a row of `classes` numbers for each integer label: 1 at the label, 0 elsewhere; no derivative")
# fmt: on


def quadratic_cost(outputs: Tensor, targets: Operand) -> Tensor:
    """C = 1/n Σ ½ ||a - y||², Nielsen's cost of chapter 1.

    Args:
        outputs: the activations a, shape (n, k); or (n,), one output for each example; or (n, ...).
        targets: y, of the outputs' shape; or, for outputs of shape (n, k), integer labels of shape (n,).

    Raises:
        ValueError: the shapes do not match, or a label is not one of 0..k-1.

    >>> quadratic_cost(Tensor([[0.5, 0.0]]), np.array([0])).item()
    0.125
    """
    return _quadratic(outputs, _rows("quadratic_cost", outputs, targets))


def cross_entropy_cost(outputs: Tensor, targets: Operand) -> Tensor:
    """C = -1/n Σ (y ln a + (1 - y) ln(1 - a)), of sigmoid outputs: Nielsen's cost of chapter 3.

    With it the gradient of an output's weighted input z is a - y: there is no σ' in it to slow learning down. That
    holds in float32 from z = -87 to z = 16.6: farther out rounding makes the output 0 or 1 and σ' 0, and nothing is
    learned from it. Logarithms are not let below -100, so such an output costs 100 and not infinity. Arguments and
    errors as for `quadratic_cost`.

    >>> round(cross_entropy_cost(Tensor([[0.5, 0.5]]), np.array([0])).item(), 4)
    1.3863
    """
    return _cross_entropy(outputs, _rows("cross_entropy_cost", outputs, targets))


def softmax_cross_entropy(logits: Tensor, targets: Operand) -> Tensor:
    """C = -1/n Σ y ln softmax(z), the log-likelihood cost of chapter 3, straight from the weighted inputs z ("logits").

    Stable for logits of any size, since ln(softmax) is computed in one piece. Logits of shape (k,) are one example, and
    its targets are of that shape or one label. Of logits of shape (n, d, k), d choices for each example, it is the sum
    over the d. Arguments and errors otherwise as for `quadratic_cost`.

    >>> softmax_cross_entropy(Tensor([[1000.0, 0.0]]), np.array([1])).item()
    1000.0
    """
    return _softmax_cross_entropy(*_examples("softmax_cross_entropy", logits, targets))


def cross_entropy(logits: Tensor, targets: Operand) -> Tensor:
    """`softmax_cross_entropy` by PyTorch's name, of logits of shape (n, k) or (k,): the mean over the rows.

    Logits of more axes are refused: PyTorch has the classes on axis 1, (n, k, d), and takes the mean over n d choices.
    Make them rows, `logits.reshape(-1, k)` of (n, d, k), and their labels flat. (The book's cross-entropy, of sigmoid
    outputs, is `cross_entropy_cost`.)

    >>> round(cross_entropy(Tensor([[0.0, 0.0]]), np.array([1])).item(), 4)
    0.6931
    """
    _refuse_more_axes("cross_entropy", logits)
    return _softmax_cross_entropy(*_examples("cross_entropy", logits, targets))


def nll_loss(log_probabilities: Tensor, targets: Operand) -> Tensor:
    """C = -1/n Σ y l, the negative log-likelihood of logarithms of probabilities l, as `log_softmax` computes them.

    Of `log_softmax(z)` that is `cross_entropy(z)`, whose arguments and errors it has.

    >>> nll_loss(Tensor([[-0.5, -1.0], [-2.0, -0.25]]), np.array([0, 1])).item()
    0.375
    """
    _refuse_more_axes("nll_loss", log_probabilities)
    return _negative_log_likelihood(*_examples("nll_loss", log_probabilities, targets))


def mse_loss(outputs: Tensor, targets: Operand) -> Tensor:
    """C = mean of (a - y)² over all outputs of all examples: the mean squared error.

    It is 2/k times `quadratic_cost`, with k outputs for each example. Arguments and errors are the same.

    >>> mse_loss(Tensor([[0.5, 0.0]]), np.array([[1.0, 0.0]], np.float32)).item()
    0.125
    """
    rows = _rows("mse_loss", outputs, targets)
    return _quadratic(outputs, rows) * (2 * len(outputs) / outputs.size)


def binary_cross_entropy_with_logits(logits: Tensor, targets: Operand) -> Tensor:
    """C = mean of -(y ln σ(z) + (1 - y) ln(1 - σ(z))) over all outputs of all examples, stable for z of any size.

    Computed as y ln(1 + e^-z) + (1 - y) ln(1 + e^z). It is 1/k times `cross_entropy_cost` of σ(z), with k outputs for
    each example, where that one's outputs are not yet rounded to 0 or 1. Arguments and errors as for `quadratic_cost`.

    >>> binary_cross_entropy_with_logits(Tensor([[1000.0, -1000.0]]), np.array([[1.0, 1.0]], np.float32)).item()
    500.0
    """
    y = _rows("binary_cross_entropy_with_logits", logits, targets)
    return (y * softplus(-logits) + (1 - y) * softplus(logits)).mean()


_ARRAYS = (Tensor, np.ndarray)


def _refuse_more_axes(name: str, outputs: Any) -> None:
    if isinstance(outputs, _ARRAYS) and outputs.ndim > 2:
        raise ValueError(
            f"{name}: expected rows of classes, shape (n, k), got shape {outputs.shape}; make rows of them, and labels "
            f"flat: x.reshape(-1, {outputs.shape[-1]}), or with classes on axis 1, as in PyTorch, "
            f"np.moveaxis(x, 1, -1).reshape(-1, {outputs.shape[1]})"
        )


def _examples(name: str, outputs: Any, targets: Any) -> tuple[Any, Any]:
    """The outputs and their targets as rows; of shape (k,), with targets of that shape or one label, as one row."""
    if isinstance(outputs, _ARRAYS) and outputs.ndim == 1 and not has_tensors(targets):
        targets = targets if isinstance(targets, _ARRAYS) else np.asarray(targets)
        outputs, targets = outputs[None], targets[None]
    return outputs, _rows(name, outputs, targets)


def _rows(name: str, outputs: Tensor, targets: Any) -> Any:
    """The targets as rows of the outputs' shape."""
    # First what is fast, as np.shape(t) of a Tensor is not: it takes 1.5 µs, by way of __array_function__.
    both = type(targets) in _ARRAYS and isinstance(outputs, _ARRAYS) and targets.dtype.kind in "biuf"
    if both and (shape := outputs.shape) == targets.shape != () and shape[0] > 0:
        return targets
    for what, given in (("outputs", outputs), ("targets", targets)):
        if has_tensors(given):
            raise TypeError(f"{name}: the {what} are a list of Tensors; join them with stack() or concatenate()")
    if not isinstance(outputs, _ARRAYS):
        raise TypeError(f"{name}: expected outputs that are a Tensor or an array, got {type(outputs).__name__}")
    if not isinstance(targets, _ARRAYS):
        targets = np.asarray(targets)
        if targets.dtype.kind in "biuf" and (targets.ndim > 1 or outputs.ndim == 1):
            targets = targets.astype(np.result_type(outputs.dtype, np.float16))
    if isinstance(targets, np.ma.MaskedArray) or targets.dtype.kind not in "biuf":
        kind = f"{type(targets).__name__} of {targets.dtype}"
        raise TypeError(f"{name}: expected targets that are real numbers, got {kind}")
    shape, given = outputs.shape, targets.shape
    if shape == given != () and shape[0] > 0:
        return targets
    if shape[:1] == (0,):
        raise ValueError(f"{name}: got a batch of 0 examples, which has no mean; leave empty batches out")
    if shape == ():
        raise ValueError(f"{name}: outputs of shape () are no batch of examples; make them one: outputs.reshape(1, -1)")
    if len(shape) != 2 or given != shape[:1] or targets.dtype.kind not in "iu":
        labels = f" or integer labels of shape {shape[:1]}" if len(shape) == 2 else ""
        remedy = f"; for labels make rows of the outputs: .reshape(-1, {shape[-1]})" if len(shape) > 2 else ""
        raise ValueError(
            f"{name}: outputs of shape {shape} need targets of that shape{labels}, got {targets.dtype} of shape "
            f"{given}{remedy}"
        )
    if shape[1] == 1:  # of 0 and 1 for two classes a 0 would count as label 0, and so as a target of 1
        raise ValueError(
            f"{name}: outputs of shape {shape} are one number each, and have no classes to label; give targets of that "
            "shape: targets[:, None]"
        )
    try:
        return one_hot(targets, shape[1], outputs.dtype)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
