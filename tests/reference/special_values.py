"""Make `special_values.json`: what PyTorch and JAX compute of special values, with first and second derivatives.

The values are 0, -0, a subnormal number, 1, large numbers, infinities, NaN, and kinks, ties and poles of each op, in
float64. Of each case (`CASES`) three kinds of numbers are recorded, all flat, for each peer:

    value   f(x, y, ...)
    first   for each operand the gradient of Σ weight f
    second  for each pair of operands the gradient in the second one of Σ weight (the gradient in the first one)

where the weights are 1 for elementwise functions and `weights(size)` for others. Of JAX only those places are recorded
in which it differs from PyTorch; null stands for what a peer does not have, or refuses.

The tests read only the JSON. Making it anew needs both peers (`pip install torch jax`); from the repository's top:

    python -m tests.reference.special_values

The stored file was made by the versions that it names, on a CPU; others may round a last bit differently.
"""

import importlib
import itertools
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import Tensor

INF, NAN, TINY = math.inf, math.nan, 5e-324
POINTS = (0.0, -0.0, TINY, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, 1e30, -1e30, INF, -INF, NAN)
SIDES = (0.0, -0.0, TINY, 1.0, -1.0, 2.5, -2.0, 1e30, INF, -INF, NAN)
"""Of functions of two numbers all pairs of these are tried."""

KINKS: dict[str, tuple[float, ...]] = {
    "exp": (709.0, 710.0, -745.0, -746.0), "expm1": (1e-20, -50.0, 710.0), "exp2": (1023.0, 1024.0, -1075.0),
    "sigmoid": (40.0, -40.0, 745.0, -745.0), "softplus": (40.0, -40.0, 745.0, -745.0), "tanh": (20.0, -20.0, 400.0),
    "log1p": (1e-20, -0.75), "sinh": (710.0, 711.0), "cosh": (710.0, 711.0), "sinc": (1e-9, 0.375, 3.0),
    "arctan": (1e200,), "arcsinh": (1e200,), "arccosh": (1.25, 1e200), "sqrt": (1e-300, 1e300), "rint": (1.5, 3.5),
    "round": (1.5, 3.5), "square": (1e160,), "reciprocal": (1e-309, 1e200), "cbrt": (8.0, -8.0, 1e-300),
}  # fmt: skip

Function = Callable[..., Any]
Pair = tuple[Function | None, Function | None]


class Case(NamedTuple):
    """A function with what it is called with, and its names at PyTorch and JAX (none: it has none)."""

    name: str
    arguments: tuple[Any, ...]
    torch: Function | None
    jax: Function | None
    params: Mapping[str, Any] = MappingProxyType({})
    elementwise: bool = True

    @property
    def places(self) -> list[int]:
        """The operands in which derivatives are taken."""
        return [i for i, x in enumerate(self.arguments) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]


def weights(size: int, elementwise: bool) -> Any:
    """With what results are multiplied before they are added up."""
    return np.ones(size) if elementwise else 1 + np.arange(size) % 3 / 4


ELEMENTWISE = """
1 neg:negative abs sign relu leaky_relu sqrt exp log tanh sigmoid softplus log1p expm1 log2 log10 exp2 square reciprocal
cbrt sin cos tan sinh cosh sinc arcsin arccos arctan arcsinh arccosh arctanh deg2rad rad2deg floor ceil trunc rint round
logical_not copy
2 add sub:subtract mul:multiply div:divide pow:power maximum minimum fmax fmin copysign heaviside logaddexp logaddexp2
hypot arctan2 remainder fmod floor_divide eq:equal ne:not_equal lt:less le:less_equal gt:greater ge:greater_equal
logical_and logical_or
"""
TORCH = {
    "div": "true_divide", "rint": "round", "relu": "nn.functional.relu", "leaky_relu": "nn.functional.leaky_relu",
    "copy": "clone", "power": "pow", "eq": "eq", "ne": "ne",
}  # fmt: skip
JAX = {"relu": "nn.relu", "leaky_relu": "nn.leaky_relu", "sigmoid": "nn.sigmoid", "softplus": "nn.softplus"}


def found(module: Any, path: str) -> Any:
    """A function by its dotted name; None if there is none."""
    for name in path.split("."):
        module = getattr(module, name, None)  # also if there is no module
    return module


def elementwise_cases(torch: Any, jax: Any) -> Iterator[Case]:
    """Functions of one number at all points, of two at all pairs."""
    names = ELEMENTWISE.split()
    second = names.index("2")
    for name in names[1:second]:
        ours, _, common = name.partition(":")
        x = np.array([*POINTS, *KINKS.get(ours, ())])
        yield Case(ours, (x,), *peers(torch, jax, ours, common or ours))
    x, y = (np.array(side) for side in zip(*itertools.product(SIDES, SIDES), strict=True))
    for name in names[second + 1 :]:
        ours, _, common = name.partition(":")
        yield Case(ours, (x, y), *peers(torch, jax, ours, common or ours))
    yield Case("where", (x > 0, x, y), found(torch, "where"), found(jax, "numpy.where"))
    for low, high in ((0.0, 1.0), (1.0, 0.0), (-INF, INF), (1.0, 1.0)):
        bounds = np.full(len(POINTS), low), np.full(len(POINTS), high)
        yield Case("clip", (np.array(POINTS), *bounds), found(torch, "clamp"), found(jax, "numpy.clip"))
    yield Case("nan_to_num", (np.array(POINTS),), found(torch, "nan_to_num"), found(jax, "numpy.nan_to_num"))


def peers(torch: Any, jax: Any, ours: str, common: str) -> Pair:
    """The function at PyTorch and at JAX, mostly of the same name."""
    if torch is None:
        return None, None
    if ours == "softplus":  # its own default leaves the exponential out from 20 on
        return lambda x: torch.nn.functional.softplus(x, threshold=1000), jax.nn.softplus
    return found(torch, TORCH.get(ours, TORCH.get(common, common))), found(jax, JAX.get(ours, f"numpy.{common}"))


ROWS = np.array([
    [1, -2, 3], [1, 1, 0], [2, 2, 2], [0, -0.0, 0], [0, 2, 3], [0, 0, 3], [TINY, TINY, 1], [1e30, -1e30, 1e30],
    [1e30, 1, 0], [INF, 1, 2], [-INF, 1, 2], [INF, -INF, 1], [INF, INF, 1], [-INF, -INF, -INF], [NAN, 1, 2],
    [0, NAN, 0],
])  # fmt: skip
"""Vectors: different numbers, ties, zeros, large numbers, infinities and NaN."""

MATRICES = np.array([
    [[2, 0.5], [0.5, 1]], [[1, 0], [0, 1]], [[1, 2], [2, 4]], [[0, 0], [0, 0]], [[0, 1], [1, 0]],
    [[1e30, 0], [0, 1e30]], [[1e-30, 0], [0, 1e30]], [[-1, 0], [0, -2]], [[INF, 0], [0, 1]], [[NAN, 0], [0, 1]],
])  # fmt: skip
"""Symmetric: well-conditioned, the identity, singular, 0, a swap, large, badly scaled, negative, and of no numbers."""


def whole(name: str, arguments: tuple[Any, ...], pair: Pair, **params: Any) -> Case:
    """A case that is not elementwise."""
    return Case(name, arguments, *pair, params, False)


def reductions(torch: Any, jax: Any) -> Iterator[Case]:
    """Functions of vectors: of each row, for itself."""
    numpy, activations, linear = found(jax, "numpy"), found(jax, "nn"), found(torch, "linalg")
    table: dict[str, Pair] = {
        "sum": (lambda x: torch.sum(x, 1), lambda x: numpy.sum(x, 1)),
        "mean": (lambda x: torch.mean(x, 1), lambda x: numpy.mean(x, 1)),
        "max": (lambda x: torch.amax(x, 1), lambda x: numpy.max(x, 1)),
        "min": (lambda x: torch.amin(x, 1), lambda x: numpy.min(x, 1)),
        "prod": (lambda x: torch.prod(x, 1), lambda x: numpy.prod(x, 1)),
        "var": (lambda x: torch.var(x, 1, correction=0), lambda x: numpy.var(x, 1)),
        "std": (lambda x: torch.std(x, 1, correction=0), lambda x: numpy.std(x, 1)),
        "logsumexp": (lambda x: torch.logsumexp(x, 1), lambda x: activations.logsumexp(x, 1)),
        "softmax": (lambda x: torch.softmax(x, 1), lambda x: activations.softmax(x, 1)),
        "log_softmax": (lambda x: torch.log_softmax(x, 1), lambda x: activations.log_softmax(x, 1)),
        "cumsum": (lambda x: torch.cumsum(x, 1), lambda x: numpy.cumsum(x, 1)),
        "cumprod": (lambda x: torch.cumprod(x, 1), lambda x: numpy.cumprod(x, 1)),
        "sort": (lambda x: torch.sort(x, dim=1, stable=True)[0], lambda x: numpy.sort(x, 1)),
        "norm": (lambda x: linear.vector_norm(x, axis=1), lambda x: numpy.linalg.norm(x, axis=1)),
        "ptp": (None, lambda x: numpy.ptp(x, 1)),
        "median": (lambda x: torch.median(x, 1)[0], lambda x: numpy.median(x, 1)),
        "nansum": (lambda x: torch.nansum(x, 1), lambda x: numpy.nansum(x, 1)),
        "nanmean": (lambda x: torch.nanmean(x, 1), lambda x: numpy.nanmean(x, 1)),
        "nanmax": (None, lambda x: numpy.nanmax(x, 1)),
        "nanmin": (None, lambda x: numpy.nanmin(x, 1)),
        "nanprod": (None, lambda x: numpy.nanprod(x, 1)),
        "nanvar": (None, lambda x: numpy.nanvar(x, 1)),
        "nanmedian": (lambda x: torch.nanmedian(x, 1)[0], lambda x: numpy.nanmedian(x, 1)),
        "diff": (lambda x: torch.diff(x, dim=1), lambda x: numpy.diff(x, axis=1)),
    }
    for name, pair in table.items():
        yield whole(name, (ROWS,), pair, axis=1)
    for order in (0, 1, 2, 3, 0.5, INF, -INF, -1):
        pair = (lambda x, ord: linear.vector_norm(x, ord, 1), lambda x, ord: numpy.linalg.norm(x, ord, 1))
        yield whole("norm", (ROWS,), pair, ord=order, axis=1)


def mirrored(a: Any, module: Any) -> Any:
    """A symmetric matrix made of the lower triangle, the one that ours read."""
    return module.tril(a) + module.tril(a, -1).T


def matrices(torch: Any, jax: Any) -> Iterator[Case]:
    """Functions of matrices: of each matrix alone, as some refuse one."""
    linear, numpy = found(torch, "linalg"), found(jax, "numpy.linalg")
    table: dict[str, Pair] = {
        "inv": (lambda a: linear.inv(a), lambda a: numpy.inv(a)),
        "det": (lambda a: linear.det(a), lambda a: numpy.det(a)),
        "slogdet": (lambda a: linear.slogdet(a)[1], lambda a: numpy.slogdet(a)[1]),
        "cholesky": (lambda a: linear.cholesky(mirrored(a, torch)), lambda a: numpy.cholesky(mirrored(a, jax.numpy))),
        "eigvalsh": (lambda a: linear.eigvalsh(mirrored(a, torch)), lambda a: numpy.eigvalsh(mirrored(a, jax.numpy))),
        "svdvals": (lambda a: linear.svdvals(a), lambda a: numpy.svd(a, compute_uv=False)),
        "pinv": (lambda a: linear.pinv(a), lambda a: numpy.pinv(a)),
        "norm": (lambda a: linear.norm(a), lambda a: numpy.norm(a)),
    }
    for matrix in MATRICES:
        for name, pair in table.items():
            yield whole(name, (matrix,), pair)
        pair = (lambda a, b: linear.solve(a, b), lambda a, b: numpy.solve(a, b))
        yield whole("solve", (matrix, np.array([1.0, -2.0])), pair)
        for other in (MATRICES[0], MATRICES[3], MATRICES[8]):
            yield whole("matmul", (matrix, other), (operator.matmul, operator.matmul))


def costs(torch: Any, jax: Any) -> Iterator[Case]:
    """Costs, where outputs are saturated or logits far from each other."""
    logits = np.array([[0.0, 0, 0], [1e30, 0, -1e30], [-1000, 1000, 0], [1e-300, 0, 1], [0, -INF, 1], [NAN, 0, 1]])
    for row in logits:
        for label in (0, 2):
            x, y = row[None], np.eye(3, dtype=int)[[label]]
            pair = (
                lambda x, y: torch.nn.functional.cross_entropy(x, y.argmax(1)),
                lambda x, y: -jax.nn.log_softmax(x, 1)[0, y[0].argmax()],
            )
            yield whole("softmax_cross_entropy", (x, y), pair)
    windows = np.array([[1.0, 1, 0, 0], [1, -INF, 0, NAN], [INF, 0, -0.0, TINY], [INF, 1, 3, 4]])[None, None]
    yield whole("max_pool2d", (windows,), (lambda x, size: torch.nn.functional.max_pool2d(x, size), None), size=2)


def cases(torch: Any = None, jax: Any = None) -> list[Case]:
    """All cases, with the functions of the peers if there are any."""
    kinds = (elementwise_cases, reductions, matrices, costs)
    return [case for kind in kinds for case in kind(torch, jax)]


def by_torch(torch: Any, case: Case) -> dict[str, Any]:
    """What PyTorch computes."""
    arguments = [torch.tensor(x, requires_grad=i in case.places) for i, x in enumerate(case.arguments)]
    variables = [arguments[i] for i in case.places]
    assert case.torch is not None
    out = case.torch(*arguments, **{k: v for k, v in case.params.items() if k != "axis"})

    def slopes(y: Any) -> list[Any]:
        if not y.requires_grad:
            return [torch.zeros_like(x) for x in variables]
        weight = torch.tensor(weights(y.numel(), case.elementwise)).reshape(y.shape)
        return list(torch.autograd.grad((y * weight).sum(), variables, create_graph=True, materialize_grads=True))

    return record(out, slopes)


def by_jax(jax: Any, case: Case) -> dict[str, Any]:
    """What JAX computes."""
    function = case.jax
    assert function is not None

    def called(*variables: Any) -> Any:
        arguments = list(case.arguments)
        for i, x in zip(case.places, variables, strict=True):
            arguments[i] = x
        return function(*arguments, **{k: v for k, v in case.params.items() if k != "axis"})

    variables = [jax.numpy.asarray(case.arguments[i]) for i in case.places]
    everyone = tuple(range(len(variables)))
    out = called(*variables)
    if out.dtype.kind != "f":
        return record(out, None)

    def weighted(f: Function) -> Function:
        def total(*variables: Any) -> Any:
            y = f(*variables)
            return (y * weights(y.size, case.elementwise).reshape(y.shape)).sum()

        return total

    first = jax.grad(weighted(called), everyone)
    gradients = first(*variables)
    second = [jax.grad(weighted(lambda *v, i=i: first(*v)[i]), everyone)(*variables) for i in everyone]
    return {"value": flat(out), "first": [flat(g) for g in gradients], "second": [[flat(h) for h in s] for s in second]}


def record(out: Any, slopes: Function | None) -> dict[str, Any]:
    """The value and its derivatives, of which `slopes` gives one order after the other."""
    if slopes is None or "float" not in str(out.dtype):
        return {"value": flat(out), "first": None, "second": None}
    try:
        gradients = slopes(out)
    except RuntimeError:  # it has no derivative there
        return {"value": flat(out), "first": None, "second": None}
    return {
        "value": flat(out),
        "first": [flat(g) for g in gradients],
        "second": [[flat(h) for h in slopes(g)] for g in gradients],
    }


def flat(x: Any) -> list[float]:
    """The numbers of an array."""
    x = x.numpy(force=True) if hasattr(x, "grad_fn") else x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    return np.ravel(x).astype(float).tolist()


def leaves(answer: dict[str, Any] | None) -> dict[str, list[float]]:
    """Lists of numbers by what they are: "value", "first 0", "second 0 1"."""
    if answer is None:
        return {}
    found = {"value": answer["value"]}
    for i, g in enumerate(answer["first"] or ()):
        found[f"first {i}"] = g
    for i, row in enumerate(answer["second"] or ()):
        found.update({f"second {i} {j}": h for j, h in enumerate(row)})
    return found


def same(x: float, y: float) -> bool:
    """Equal to rounding, with the sign of 0."""
    if x == 0 or y == 0:
        return x == y and math.copysign(1, x) == math.copysign(1, y)
    return (x != x and y != y) or x == y or math.isclose(x, y, rel_tol=1e-13)


def attempt(compute: Function, peer: Any, case: Case, function: Function | None) -> dict[str, list[float]]:
    """What a peer answers; nothing if it has no such function, or refuses."""
    if function is None:
        return {}
    try:
        return leaves(compute(peer, case))
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        print(f"{case.name} {case.arguments!r:.60}: {type(error).__name__} {error!s:.100}".replace("\n", " "))
        return {}


def main() -> None:
    torch, jax = importlib.import_module("torch"), importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    torch.set_num_threads(1)
    rows = []
    for case in cases(torch, jax):
        a, b = attempt(by_torch, torch, case, case.torch), attempt(by_jax, jax, case, case.jax)
        differs: dict[str, Any] = {
            key: {str(i): y for i, (x, y) in enumerate(zip(a[key], b[key], strict=True)) if not same(x, y)}
            if key in a and len(a[key]) == len(b[key]) else b[key]
            for key in b
        }  # fmt: skip
        rows.append({"name": case.name, "torch": a, "jax": differs})
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = re.sub(r"\b(?<!-)(\d+)\.0\b|(-[1-9]\d*)\.0\b", r"\1\2", text.replace("Infinity", "1e999"))  # -0.0 stays
    head = f'"torch": "{torch.__version__}",\n"jax": "{jax.__version__}",\n'
    Path(__file__).with_suffix(".json").write_text(f'{{\n{head}"cases": [\n{text}\n]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
