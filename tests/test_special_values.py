"""At special values every op computes what PyTorch and JAX compute, with both derivatives, or it is said why not.

The peers' numbers are in `reference/special_values.json`, made by the script beside it, which lists the cases.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_mnist import OPS, Tensor, grad
from tinygrad_mnist import losses as losses  # its ops enter the table
from tinygrad_mnist.op import FUNCTIONS

from .reference import special_values
from .reference.special_values import ROWS, Case, leaves, record, weights

STORED = json.loads(Path(special_values.__file__).with_suffix(".json").read_text(encoding="utf-8"))
Point = tuple[float, ...]


def anywhere(point: Point) -> bool:
    return True


def nan(point: Point) -> bool:
    return any(math.isnan(x) for x in point)


def infinite(point: Point) -> bool:
    return any(math.isinf(x) for x in point)


def zero(point: Point) -> bool:
    return any(x == 0 for x in point)


def tiny(point: Point) -> bool:
    """There is a subnormal number, or it is what comes out (e^-745)."""
    return any(0 < abs(x) < 1e-300 or x == -745 for x in point)


def tie(point: Point) -> bool:
    return len({x for x in point if x == x}) < len(point) and not nan(point)


def finite(point: Point) -> bool:
    return all(math.isfinite(x) for x in point) and not origin(point)


def negative(point: Point) -> bool:
    return any(x < 0 for x in point)


def origin(point: Point) -> bool:
    return not any(point)


def not_ordinary(point: Point) -> bool:
    """0, infinite, NaN, subnormal or large."""
    return any(x == 0 or not 1e-300 < abs(x) < 1e20 for x in point)


class Disagreement(NamedTuple):
    """Where peers answer otherwise: so many numbers, of functions by name, at points of a kind, and why."""

    reason: str
    peers: str
    orders: str
    names: str
    at: Callable[[Point], bool]
    amount: int


EVERYTHING = "value first second"
# Of those that fit, the first takes a number.
# fmt: off
DISAGREEMENTS = [
    Disagreement("JAX takes subnormal numbers for 0",
                 "jax", "value first second", "*", tiny, 334),
    Disagreement("the difference of two equal numbers is 0, with all digits",
                 "torch jax", "value", "logaddexp2", tie, 2),
    Disagreement("the peer loses digits at the ends of what is finite",
                 "torch", "value first second", "softplus sinh cosh log1p", anywhere, 9),
    Disagreement("the peer loses digits at the ends of what is finite",
                 "jax", "value first second", "exp2", anywhere, 3),
    Disagreement("near 0 ours is a series, where the peer has no digits left",
                 "torch jax", "first second", "sinc", anywhere, 7),
    Disagreement("the largest is subtracted, of which PyTorch adds up the rounding",
                 "torch", "first second", "logsumexp", anywhere, 4),
    Disagreement("the second derivative is constant for JAX",
                 "jax", "second", "hypot", finite, 24),
    Disagreement("of equal numbers either may be the answer, and so the sign of 0",
                 "torch jax", "value", "maximum minimum fmax fmin min median nanmin", zero, 10),
    Disagreement("of a subnormal divisor the remainder is a number",
                 "torch", "value", "remainder fmod", tiny, 11),
    Disagreement("NaN is no number, and its sign is none",
                 "torch jax", "value first", "sign heaviside abs", nan, 24),
    Disagreement("the sign of a 0 is NumPy's",
                 "torch jax", "value", "sign relu floor_divide remainder softmax_cross_entropy det", anywhere, 38),
    Disagreement("abs'(0) = 0, and all that is made of it",
                 "jax", "first", "abs norm:1 norm:inf norm:-inf copysign", zero, 50),
    Disagreement("at NaN there is no slope of |x|",
                 "torch jax", "first", "norm:1 norm:inf norm:-inf copysign", nan, 21),
    Disagreement("PyTorch divides by the infinite result",
                 "torch", "first", "copysign", infinite, 20),
    Disagreement("the derivative is constant",
                 "torch", "second", "copysign", anywhere, 66),
    Disagreement("the documented slope at 0 is that of the left side, as in PyTorch",
                 "jax", "first", "leaky_relu", zero, 2),
    Disagreement("NaN is not on the flat side",
                 "jax", "first", "relu", nan, 1),
    Disagreement("the slope at a pole is infinite, that of the slope none",
                 "torch jax", "second", "arcsin arccos arctanh", anywhere, 12),
    Disagreement("outside of the domain there is no slope either",
                 "torch jax", "first second", "arccosh", negative, 14),
    Disagreement("0, the limit",
                 "torch jax", "second", "arccosh", infinite, 2),
    Disagreement("a NaN gets the gradient of the extremum that it is",
                 "torch jax", "first", "maximum minimum max min median ptp", nan, 116),
    Disagreement("ties split the gradient equally, a NaN gets none",
                 "torch jax", "first", "fmax fmin", anywhere, 96),
    Disagreement("on a border the gradient goes to x",
                 "torch jax", "first", "clip", anywhere, 47),
    Disagreement("ties split the gradient equally, a NaN gets it",
                 "torch", "first", "max_pool2d", anywhere, 5),
    Disagreement("of an even count the mean of the two in the middle",
                 "torch", "value first", "nanmedian", nan, 5),
    Disagreement("by convention 0 where x = 0 <= y, and NaN where a power has no slope",
                 "torch jax", "first second", "pow", anywhere, 93),
    Disagreement("of equal infinities half each, of others the larger, and no second derivative",
                 "torch jax", "first second", "logaddexp logaddexp2", not_ordinary, 304),
    Disagreement("derivatives at the origin are 0",
                 "torch jax", "first second", "hypot arctan2 norm:None norm:2", origin, 102),
    Disagreement("derivatives at the origin are 0",
                 "jax", "first second", "std norm:3", tie, 18),
    Disagreement("an infinite side is the hypotenuse's direction, or none",
                 "jax", "first second", "hypot", infinite, 56),
    Disagreement("at a subnormal radius the slope is infinite",
                 "torch", "first second", "arctan2", tiny, 8),
    Disagreement("the remainder by 0, or of infinity, is NaN, and its slope too",
                 "torch jax", "first", "fmod remainder", not_ordinary, 62),
    Disagreement("products beside an infinity have 0 · ∞ in their slopes",
                 "torch jax", "first second", "prod cumprod nanprod", infinite, 34),
    Disagreement("deviations from an infinite mean are infinite",
                 "jax", "first", "var", infinite, 5),
    Disagreement("e^-∞ = 0 beside an infinity, as in the limit",
                 "torch jax", "value first", "softmax log_softmax", infinite, 30),
    Disagreement("a power below 1 has an infinite slope at 0, of which |x| has either sign",
                 "torch jax", "first second", "norm:0.5 norm:-1", zero, 42),
    Disagreement("a norm of infinities is infinite, and flat for negative orders",
                 "torch jax", "first second", "norm:0.5 norm:-1", infinite, 18),
    Disagreement("cofactors of a singular matrix have no derivative, of badly scaled ones few digits",
                 "torch jax", "first second", "det", anywhere, 22),
    Disagreement("LAPACK's answer where an element is infinite or NaN",
                 "torch jax", "value first second", "slogdet inv solve eigvalsh cholesky", not_ordinary, 31),
]
# fmt: on


def ours(case: Case) -> dict[str, list[float]]:
    """What ours computes, as the script records it of peers; nothing if it refuses."""
    arguments = [Tensor(x, requires_grad=i in case.places) for i, x in enumerate(case.arguments)]
    variables = [arguments[i] for i in case.places]

    def slopes(y: Any) -> list[Any]:
        if not y.requires_grad:
            return [Tensor(np.zeros(x.shape)) for x in variables]
        weight = weights(y.size, case.elementwise).reshape(y.shape)
        return grad((y * weight).sum(), variables, create_graph=True)

    try:
        out = FUNCTIONS[case.name](*arguments, **case.params)
        return leaves(record(out[1] if case.name == "slogdet" else out, slopes))
    except np.linalg.LinAlgError:
        return {}


def answers_of_jax(row: dict[str, Any]) -> dict[str, list[float]]:
    """All of JAX's numbers, of which those are stored that differ from PyTorch's."""
    answers = {}
    for key, stored in row["jax"].items():
        answers[key] = stored
        if isinstance(stored, dict):
            answers[key] = list(row["torch"][key])
            for i, x in stored.items():
                answers[key][int(i)] = x
    return answers


def agree(x: float, y: float, order: str) -> bool:
    """Equal to rounding; values with the sign of 0, and derivatives up to what is left of terms that cancel."""
    if order == "value" and (x == 0 or y == 0):
        return x == y and math.copysign(1, x) == math.copysign(1, y)
    return (x != x and y != y) or x == y or math.isclose(x, y, rel_tol=1e-12, abs_tol=0 if order == "value" else 1e-15)


def point_of(case: Case, i: int, n: int) -> Point:
    """The operands on which the i-th of n numbers depends."""
    if case.elementwise:
        return tuple(float(x.flat[i]) for x in case.arguments)
    if case.arguments[0] is ROWS:
        return tuple(ROWS[i * len(ROWS) // n].tolist())
    return tuple(np.concatenate([np.ravel(x) for x in case.arguments]).astype(float).tolist())


class Number(NamedTuple):
    """A number on which a peer does not agree."""

    peer: str
    order: str
    name: str
    point: Point
    params: dict[str, Any]
    ours: float
    theirs: float


@functools.cache
def compared() -> tuple[int, list[Number]]:
    """How many numbers were compared, and those on which a peer does not agree."""
    count, different = 0, list[Number]()
    with np.errstate(all="ignore"):
        for case, row in zip(special_values.cases(), STORED["cases"], strict=True):
            assert case.name == row["name"]
            mine = ours(case)
            for peer, theirs in (("torch", row["torch"]), ("jax", answers_of_jax(row))):
                for key in mine.keys() & theirs.keys():
                    order = key.split()[0]
                    for i, (x, y) in enumerate(zip(mine[key], theirs[key], strict=True)):
                        count += 1
                        if not agree(x, y, order):
                            point = point_of(case, i, len(mine[key]))
                            different.append(Number(peer, order, case.name, point, dict(case.params), x, y))
    return count, different


def explains(d: Disagreement, x: Number) -> bool:
    names = d.names.split()
    if x.peer not in d.peers.split() or x.order not in d.orders.split() or not d.at(x.point):
        return False
    return "*" in names or x.name in names or f"{x.name}:{x.params.get('ord')}" in names


@functools.cache
def explained() -> tuple[dict[Disagreement, list[Number]], list[Number]]:
    """The numbers that each disagreement takes, and those that none does."""
    taken: dict[Disagreement, list[Number]] = {d: [] for d in DISAGREEMENTS}
    rest: list[Number] = []
    for x in compared()[1]:
        fitting = next((d for d in DISAGREEMENTS if explains(d, x)), None)
        (rest if fitting is None else taken[fitting]).append(x)
    return taken, rest


def test_what_peers_answer_otherwise_is_explained():
    count, different = compared()
    assert count > 20_000
    assert len(different) < count // 10
    assert not explained()[1]


@pytest.mark.parametrize("disagreement", DISAGREEMENTS, ids=lambda d: d.reason)
def test_each_disagreement_still_is_one(disagreement):
    """As many numbers as ever, and some of each function that is named."""
    numbers = explained()[0][disagreement]
    assert len(numbers) == disagreement.amount
    found = {f"{x.name}:{x.params.get('ord')}" for x in numbers} | {x.name for x in numbers} | {"*"}
    assert set(disagreement.names.split()) <= found
    assert {x.peer for x in numbers} == set(disagreement.peers.split())
    assert {x.order for x in numbers} == set(disagreement.orders.split())


def test_all_elementwise_ops_are_tried():
    missing = {
        name for name, op in OPS.items() if op.domain and op.function.__module__.startswith("tinygrad_mnist.ops")
    }
    untried = {"astype", "bitwise_and", "bitwise_or", "bitwise_xor", "invert"}
    assert missing - {case.name for case in special_values.cases()} == untried
