"""What holds of every op: errors in one line, dtypes and shapes, nothing and single numbers, third derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_array_equal

from tinygrad_mnist import OPS, Tensor, grad
from tinygrad_mnist.gradcheck import check_gradients
from tinygrad_mnist.op import FUNCTIONS, NUMPY, missing
from tinygrad_mnist.testing import operands

OURS = [name for name, op in OPS.items() if op.function.__module__.startswith("tinygrad_mnist.ops.")]
FIXED = [name for name in OURS if OPS[name].arity is not None]
ELEMENTWISE = [name for name in OURS if OPS[name].domain and "bitwise" not in name and name not in ("invert", "astype")]
SEVERAL = [name for name in ELEMENTWISE if OPS[name].arity != 1]
few = settings(max_examples=settings().max_examples // 5)


def variable(*shape: int, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.ones(shape, dtype), requires_grad=True)


def one_line(name: str, call: Callable[[], Any]) -> None:
    """Expect an error that names the op and has one line of a bearable length."""
    with pytest.raises((TypeError, ValueError, IndexError)) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert len(message) < 400


def refusal(call: Callable[[], Any]) -> str | None:
    """What an error says, if there is one."""
    try:
        call()
    except (TypeError, ValueError, IndexError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", FIXED)
def test_too_many_too_few_and_unknown_arguments(name):
    op, m = OPS[name], variable(2, 2)
    arity: Any = op.arity
    one_line(name, lambda: op.function(*[m] * (arity + len(op.defaults) + 1)))
    one_line(name, lambda: op.function(*[m] * (arity - 1)))
    one_line(name, lambda: op.function(*[m] * arity, nonsense=1))


@pytest.mark.parametrize("wrong", ["text", None, object(), np.array(["text"]), {"a": 1}], ids=type)
@pytest.mark.parametrize("name", [name for name in FIXED if OPS[name].arity != 1])
def test_operands_of_wrong_types_beside_a_tensor(name, wrong):
    one_line(name, lambda: OPS[name].function(variable(2, 2), *[wrong] * (OPS[name].arity - 1)))  # type: ignore[operator]


@pytest.mark.parametrize("name", FIXED)
def test_text_alone_is_what_numpy_takes_or_refused_by_name(name):
    op = OPS[name]
    if not missing(op.defaults):
        said = refusal(lambda: op.function(*["text"] * op.arity))  # type: ignore[operator]
        assert said is None or (said.startswith(f"{name}: ") and "\n" not in said)


@pytest.mark.parametrize("axis", [9, -3, "a", (0, 5)])
@pytest.mark.parametrize("name", [name for name in FIXED if "axis" in OPS[name].defaults])
def test_axes_out_of_range(name, axis):
    one_line(name, lambda: OPS[name].function(variable(2, 2), axis=axis))


@pytest.mark.parametrize("name", SEVERAL)
def test_operands_that_do_not_broadcast(name):
    one_line(name, lambda: OPS[name].function(variable(2), *[variable(3)] * (OPS[name].arity - 1)))  # type: ignore[operator]


def inside(name: str, shapes: Any, dtypes: Any) -> list[Any]:
    """Operands in an op's domain."""
    domains: Any = OPS[name].domain
    values = [d.low + 0.625 * (d.high - d.low) for d in domains]
    return [np.full(shape, x).astype(dtype) for x, shape, dtype in zip(values, shapes, dtypes, strict=False)]


PROMOTIONS = [
    (np.float32, np.float32, np.float32), (np.float32, np.float64, np.float32), (np.float64, np.float32, np.float16),
    (np.int64, np.float32, np.float32), (np.float32, np.int8, np.uint8), (np.int8, np.int64, np.int16),
]  # fmt: skip
SHAPES = [
    ((), (), ()),
    ((3,), (), (1,)),
    ((2, 1), (3,), ()),
    ((0, 3), (3,), (1, 1)),
    ((1,), (0,), ()),
    ((2, 0), (), ()),
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_dtypes_and_shapes_are_numpys(name):
    """The result's are what the forward function makes of arrays; each gradient has those of its operand."""
    op = OPS[name]
    arity: Any = op.arity
    for dtypes, shapes in zip(PROMOTIONS, SHAPES, strict=True):
        arrays = inside(name, shapes[:arity], dtypes)
        tensors = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
        with np.errstate(all="ignore"):
            expected, out = np.asarray(op.forward(*arrays)), op.function(*tensors)
        assert (out.dtype, out.shape) == (expected.dtype, np.broadcast_shapes(*shapes[:arity]))
        assert_array_equal(out.data, expected)
        if out.requires_grad:
            wanted = [t for t in tensors if t.requires_grad]
            for t, g in zip(wanted, grad(out.sum(), wanted), strict=True):
                assert (g.dtype, g.shape) == (t.dtype, t.shape)


OTHERWISE = {
    "positive": "NumPy has none of booleans", "clip": "ours needs no bound",
    "svd": "full_matrices=True is refused unless square",
    "cov": "float32 stays float32", "corrcoef": "float32 stays float32", "gradient": "NumPy's of a number is []",
    "tensorinv": "NumPy's complaint of a number is one of reshape()", "fabs": "NumPy's of booleans is a float16",
    "diff": "NumPy's of booleans is another function",
}  # fmt: skip


def served() -> list[Any]:
    return sorted({f for f, ours in NUMPY.items() if ours in FUNCTIONS.values()}, key=lambda f: f.__name__)


def answer_of(function: Any, argument: Any) -> Any:
    """What a function answers, as a list of arrays; None if it refuses."""
    try:
        found = function(argument)
    except (TypeError, ValueError, IndexError):
        return None
    return [x.data if isinstance(x, Tensor) else np.asarray(x) for x in parts(found)]


def parts(value: Any) -> list[Any]:
    return [part for item in value for part in parts(item)] if isinstance(value, list | tuple) else [value]


def disagreements(function: Any) -> list[tuple[Any, ...]]:
    """Arrays of nothing and single numbers of which a function answers otherwise than of the same Tensors."""
    found: list[tuple[Any, ...]] = []
    for dtype in (np.float32, np.float64, np.int64, np.bool_):
        for shape in ((), (0,), (1,), (0, 3), (3, 0), (1, 1), (2, 0, 2)):
            x = np.ones(shape, dtype)
            tensor = Tensor(x, requires_grad=x.dtype.kind == "f")
            with np.errstate(all="ignore"):
                of_array, of_tensor = answer_of(function, x), answer_of(function, tensor)
            if (of_array is None) != (of_tensor is None):
                found.append((x, of_array, of_tensor))
                continue
            for a, b in zip(of_array or [], of_tensor or [], strict=True):
                if (a.dtype, a.shape) != (b.dtype, b.shape) or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                    found.append((x, a, b))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", served(), ids=lambda f: f.__name__)
def test_of_nothing_and_of_single_numbers_numpys_functions_answer_as_of_arrays(function):
    """Those that do not, do not for the reason that is told."""
    assert bool(disagreements(function)) == (function.__name__ in OTHERWISE)


THIRD = """
add mul div pow exp log sqrt tanh sigmoid softplus sin cos tan arctan arcsin arcsinh sinh sinc log1p expm1 cbrt
logaddexp hypot arctan2 square reciprocal sum mean prod cumprod var logsumexp softmax matmul inv det norm einsum
""".split()


@pytest.mark.slow
@pytest.mark.parametrize("name", THIRD)
def test_third_derivatives_are_slopes_of_second_ones(name):
    @few
    @given(operands(name).filter(lambda case: case.places and all(np.size(x) < 12 for x in case.args)))
    def holds(case):
        def second(*variables: Any) -> Any:
            out = case(*variables)
            first = grad((out * out).sum(), variables, create_graph=True)
            total = sum((g * np.linspace(0.5, 1, g.size).reshape(g.shape)).sum() for g in first)
            return sum(g.sum() for g in grad(total, variables, create_graph=True))

        check_gradients(second, *[case.args[i] for i in case.places])

    holds()


def test_parameters_that_are_required_are_asked_for():
    for name in OURS:
        op = OPS[name]
        if op.arity is not None and missing(op.defaults):
            one_line(name, lambda op=op: op.function(*[variable(2, 2)] * op.arity))  # type: ignore[misc]
    assert inspect.signature(OPS["astype"].function).parameters["dtype"].default is inspect.Parameter.empty


def test_help_names_the_operands():
    assert [str(inspect.signature(f)) for f in (OPS[name].function for name in ("exp", "maximum", "leaky_relu"))] == [
        "(x, /)",
        "(x, y, /)",
        "(x, slope=0.01)",
    ]
    for name, op in OPS.items():
        if op.arity is not None:
            assert len(inspect.signature(op.function).parameters) == op.arity + len(op.defaults), name
