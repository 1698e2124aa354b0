"""functional.py: what it computes, by hand and by other ways; of every op jvp and vjp agree; what is refused."""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, compile, grad, nn, no_grad, ops
from tinygrad_mnist.functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.testing import operands

from .helpers import refused, variable

X = np.array([0.5, -1.0, 2.0])
M = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
ALL: list[Any] = [value_and_grad, jacobian, hessian, jvp, vjp, hvp]
EACH = pytest.mark.parametrize("transform", ALL, ids=lambda f: f.__name__)


def options(transform, shape=(3,)):
    if transform is vjp:
        return {"cotangent": np.array(1.0)}
    return {"tangent": np.ones(shape)} if transform in (jvp, hvp) else {}


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- Of every op


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.differentiable])
@settings(max_examples=3)
@given(data=st.data())
def test_jvp_and_vjp_agree(name, data):
    """<u, J v> = <Jᵀ u, v>."""
    case = data.draw(operands(name).filter(lambda case: case.places))
    arrays = [np.array(case.args[i], np.float64) for i in case.places]
    shape, r = case(*map(Tensor, arrays)).shape, rng(1)
    u, v = r.standard_normal(shape), tuple(r.standard_normal(x.shape) for x in arrays)
    places = tuple(range(len(arrays)))
    out, forward = jvp(case, *arrays, argnums=places, tangent=v)
    again, back = vjp(case, *arrays, argnums=places, cotangent=u)
    assert_array_equal(out.data, again.data)
    assert forward.shape == shape
    terms = [np.ravel(u * forward.data), *(np.ravel(x * g.data) for x, g in zip(v, back, strict=True))]
    size = sum(np.abs(term).sum() for term in terms)
    assert abs(terms[0].sum() - sum(term.sum() for term in terms[1:])) <= 1e-12 * size


# ---- What each is


def quadratic(x):
    """½ xᵀ Mᵀ M x, with the Hessian Mᵀ M."""
    y = M @ x
    return (y * y).sum() / 2


@pytest.mark.parametrize("make", [lambda: X, lambda: Tensor(X), lambda: variable(X), lambda: variable(X) * 1])
def test_of_arrays_and_of_tensors_of_every_kind(make):
    x = make()
    value, slope = value_and_grad(quadratic, x)
    assert value.item() == pytest.approx(((M @ X) ** 2).sum() / 2)
    assert_allclose(slope.data, M.T @ M @ X)
    assert_allclose(jacobian(lambda x: M @ x, x).data, M)
    assert_allclose(hessian(quadratic, x).data, M.T @ M)
    v = np.array([1.0, -2.0, 0.25])
    assert_allclose(jvp(lambda x: M @ x, x, tangent=v)[1].data, M @ v)
    assert_allclose(vjp(lambda x: M @ x, x, cotangent=v[:2])[1].data, M.T @ v[:2])
    assert_allclose(hvp(quadratic, x, tangent=v)[1].data, M.T @ M @ v)
    assert not isinstance(x, Tensor) or x.grad is None


@EACH
def test_results_keep_no_graph_unless_told(transform):
    """So that they are NumPy's numbers to whoever asks, as scipy.optimize.minimize(..., jac=True) does."""
    w, given = variable(2.0), options(transform)
    for graph in (False, True):
        results = transform(lambda x: (w * x**2).sum(), X, create_graph=graph, **given)
        for result in results if isinstance(results, tuple) else (results,):
            assert result.requires_grad is graph
            assert graph or np.asarray(result).dtype == np.float64
    value, slope = value_and_grad(lambda x: (w * x).sum(), X, create_graph=True)
    assert grad(value, w, retain_graph=True).item() == X.sum()
    assert grad(slope.sum(), w).item() == 3


@EACH
@pytest.mark.parametrize("function", [lambda x: Tensor(2.0), lambda x: np.floor(x[0]), lambda x: np.sign(x).sum()])
def test_what_a_function_does_not_depend_on_has_zeros(transform, function):
    for graph in (False, True):
        results = transform(function, X, create_graph=graph, **options(transform))
        slope = results[1] if isinstance(results, tuple) else results
        assert slope.shape == {jvp: (), hessian: (3, 3)}.get(transform, (3,))
        assert not slope.data.any()
        assert slope.requires_grad is graph
    assert not jacobian(np.floor, X).data.any()
    assert jacobian(lambda x: jacobian(np.floor, x), X).shape == (3, 3, 3)


def test_places_of_arguments():
    """Lists and negative ones too, as in JAX; a list or tuple of them gives a tuple."""
    product = lambda a, b: (a**2 * b).sum()  # noqa: E731
    several: list[Any] = [[0, 1], (0, 1), [0, -1], (-2, np.int64(1))]
    for places in several:
        slopes = value_and_grad(product, X, 2 * X, argnums=places)[1]
        assert isinstance(slopes, tuple)
        assert_allclose(slopes[0].data, 4 * X**2)
        assert_allclose(slopes[1].data, X**2)
    assert_allclose(value_and_grad(product, X, 2 * X, argnums=-1)[1].data, X**2)
    with refused(ValueError, "argnums", "once", "[0, -2]"):
        value_and_grad(product, X, X, argnums=[0, -2])


@EACH
def test_keyword_arguments_are_passed_on(transform):
    given = options(transform)
    once, thrice = (transform(lambda x, *, power: (x**power).sum(), X, power=p, **given) for p in (1, 3))
    expected = transform(lambda x: (x**3).sum(), X, **given)
    pairs = zip(thrice, expected, strict=True) if isinstance(expected, tuple) else [(thrice, expected)]
    assert all(np.array_equal(a.data, b.data) for a, b in pairs)
    assert once is not None
    with pytest.raises(TypeError, match="argnum"):
        transform(quadratic, X, argnum=0, **given)


def test_tangents_are_lists_too():
    for v in ([1.0, 0.0, 2.0], (1, 0, 2), np.array([1.0, 0.0, 2.0])):
        assert_allclose(hvp(quadratic, X, tangent=v)[1].data, M.T @ M @ [1, 0, 2])
        assert_allclose(jvp(lambda x: M @ x, X, tangent=v)[1].data, M @ [1, 0, 2])
    assert_allclose(vjp(lambda x: M @ x, X, cotangent=[1, 2])[1].data, M.T @ [1, 2])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble])
def test_scalars_of_numpy_keep_their_dtype(dtype):
    for x in (dtype(0.1), np.array(0.1, dtype)):
        assert hessian(lambda x: x**3, x).dtype == dtype
        assert value_and_grad(lambda x: x[0] ** 3, [x])[1][0].dtype == dtype
    assert value_and_grad(lambda x: x**3, 0.1)[1].dtype == np.float32


@pytest.mark.parametrize("tracked", [False, True])
def test_one_inside_another_loses_no_gradient(tracked):
    x = variable(X) if tracked else X
    twice = jacobian(lambda x: value_and_grad(lambda x: (x**3).sum(), x)[1] * x, x)
    assert_allclose(twice.data, np.diag(9 * X**2))
    assert_allclose(jacobian(lambda x: jacobian(lambda y: y**3, x), x).data[2, 2, 2], 6 * X[2])
    third = jacobian(lambda x: hessian(lambda x: (x**4).sum(), x), x)
    assert_allclose(third.data[0, 0, 0], 24 * X[0])
    _, slope = value_and_grad(lambda x: jvp(lambda x: x**3, x, tangent=x)[1].sum(), x)
    assert_allclose(slope.data, 9 * X**2)
    _, slope = value_and_grad(lambda x: vjp(lambda x: x**3, x, cotangent=x)[1].sum(), x)
    assert_allclose(slope.data, 9 * X**2)
    _, slope = value_and_grad(lambda x: hvp(lambda x: (x**3).sum(), x, tangent=x)[1].sum(), x)
    assert_allclose(slope.data, 12 * X)


def test_one_inside_another_of_a_module():
    layer = nn.Linear(3, 1, rng=rng(), dtype=np.float64)

    def steepness(layer):
        _, slopes = value_and_grad(lambda layer: (layer(X) ** 2).sum(), layer)
        return (slopes["weight"] ** 2).sum()

    _, slopes = value_and_grad(steepness, layer)
    y = layer(X).item()
    assert_allclose(slopes["weight"].data[:, 0], 8 * y * X * (X**2).sum())


def test_an_argument_is_not_what_the_function_uses_besides():
    x = variable(X)
    assert_allclose(value_and_grad(lambda y: (x * y).sum(), x)[1].data, X)
    first, second = value_and_grad(lambda y, z: (y**2 * z).sum(), x, x, argnums=(0, 1))[1]
    assert_allclose(first.data, 2 * X**2)
    assert_allclose(second.data, X**2)
    assert_allclose(grad(value_and_grad(lambda y: (y**2).sum(), x, create_graph=True)[0], x).data, 2 * X)


def test_several_arguments_lists_and_dicts():
    def cost(parts, labels, more):
        return (parts["w"] * parts["rest"][0]).sum() * more + labels.sum()

    parts = {"w": X, "rest": [X * 2, (X, 1.0)]}
    value, (slopes, more) = value_and_grad(cost, parts, np.array([3]), np.array(0.5), argnums=(0, 2))
    assert value.item() == pytest.approx((X * X).sum() + 3)
    assert_allclose(slopes["w"].data, X)
    assert_allclose(slopes["rest"][0].data, X / 2)
    assert [x.tolist() for x in slopes["rest"][1]] == [[0, 0, 0], 0.0]
    assert_allclose(more.data, 2 * (X * X).sum())
    ones = {"w": np.ones(3), "rest": [np.zeros(3), (np.zeros(3), 0.0)]}
    assert_allclose(jvp(cost, parts, np.array([3]), np.array(0.5), tangent=ones)[1].item(), X.sum())
    blocks = hessian(cost, parts, np.array([3]), np.array(0.5))
    assert_allclose(blocks["w"]["rest"][0].data, np.eye(3) / 2)
    assert not blocks["w"]["w"].data.any()


class Line(NamedTuple):
    slope: Any
    offset: Any


def test_what_is_made_up_in_a_kind_of_its_own_stays_so():
    def cost(line, kept):
        return (line.slope * X + line.offset[0] + kept["c"]).sum()

    line, kept = Line(2.0, [np.float64(3.0)]), OrderedDict(c=X)
    _, (of_line, of_kept) = value_and_grad(cost, line, kept, argnums=(0, 1))
    assert (type(of_line), type(of_line.offset), type(of_kept)) == (Line, list, OrderedDict)
    assert (of_line.slope.item(), of_line.offset[0].item(), of_kept["c"].numpy().tolist()) == (X.sum(), 3, [1, 1, 1])
    assert jvp(cost, line, kept, tangent=Line(1.0, [2.0]))[1].item() == X.sum() + 6
    of = hessian(lambda line: (line.slope * line.offset[0]).sum(), line)
    assert (of.slope.offset[0].item(), of.slope.slope.item()) == (1, 0)
    assert (type(line.offset), kept["c"] is X) == (list, True)


def test_modules_as_arguments_and_as_functions():
    network = nn.Sequential(nn.Linear(3, 2, rng=rng(), dtype=np.float64), ops.tanh)
    labels = np.array([1, 0, 1, 1])
    batch = rng(1).standard_normal((4, 3))

    def cost(network, batch):
        return quadratic_cost(network(batch), labels)

    value, slopes = value_and_grad(cost, network, batch)
    expected = grad(cost(network, batch), network.parameters())
    assert list(slopes) == [name for name, _ in network.named_parameters()]
    for name, g in zip(slopes, expected, strict=True):
        assert_array_equal(slopes[name].data, g.data)
    assert all(p.grad is None for p in network.parameters())
    assert value.item() == cost(network, batch).item()
    blocks = hessian(cost, network, batch)
    flat = np.block(
        [[b.data.reshape(n, -1) for b in row.values()] for n, row in zip((6, 2), blocks.values(), strict=True)]
    )
    assert_allclose(flat, flat.T, atol=1e-15)
    v = {name: rng(3).standard_normal(x.shape) for name, x in slopes.items()}
    _, product = hvp(cost, network, batch, tangent=v)
    together = np.concatenate([x.ravel() for x in v.values()])
    assert_allclose(np.concatenate([x.data.ravel() for x in product.values()]), flat @ together, rtol=1e-12)
    assert jacobian(network, batch[0]).shape == (2, 3)
    _, moved = jvp(cost, network, batch, tangent=v)
    assert_allclose(moved.item(), sum((v[name] * g.data).sum() for name, g in slopes.items()))


def test_shapes_dtypes_and_grad_mode():
    single = X.astype(np.float32)
    for out in (jacobian(ops.tanh, single), value_and_grad(quadratic, single)[1], hessian(quadratic, single)):
        assert out.dtype == np.float32
    for tangent in (X, X.astype(np.float32), tuple(X.tolist()), np.array([1, -2, 3])):
        moved = jvp(ops.tanh, single, tangent=tangent)[1]
        assert moved.dtype == np.float32
        assert moved.tolist() == jvp(ops.tanh, single, tangent=np.asarray(tangent, np.float32))[1].tolist()
    assert jacobian(lambda x: x.sum(), X).shape == (3,)
    assert jacobian(lambda x: x[:0], X).shape == (0, 3)
    assert jacobian(lambda x: x * M, np.array(2.0)).shape == (2, 3)
    assert value_and_grad(lambda x: x * x, 3.0)[1].item() == 6
    assert not hessian(lambda x: (x * 2).sum(), X).data.any()
    with no_grad():
        assert_allclose(hessian(quadratic, X).data, M.T @ M)
    assert tg.mode.mode.grad_enabled


def test_a_compiled_step_may_be_made_of_them():
    network = nn.Sequential(nn.Linear(3, 2, rng=rng()), ops.tanh)

    @compile
    def step(x):
        value, slopes = value_and_grad(lambda network: (network(x) ** 2).sum(), network)
        ones = np.ones((4, 3), np.float32)
        _, product = hvp(lambda x: (network(x) ** 2).sum(), x, tangent=ones)
        return value, slopes, product, jvp(network, x, tangent=ones)[1]

    for k in range(6):
        x = rng(k).standard_normal((4, 3)).astype(np.float32)
        value, slopes, product, moved = step(x)
        expected, wanted, other, way = step.step(Tensor(x))
        assert value.item() == expected.item()
        assert_array_equal(product.data, other.data)
        assert_array_equal(moved.data, way.data)
        assert all(np.array_equal(slopes[name].data, wanted[name].data) for name in wanted)
    assert step.replays > 1


# ---- What is refused


@EACH
def test_what_is_refused_is_named_in_one_line(transform):
    name, given = transform.__name__, options(transform)
    for kind, words, call in (
        (TypeError, ("function", "0.5"), lambda: transform(0.5, X, **given)),
        (TypeError, ("argument 0", "int64", "argnums"), lambda: transform(quadratic, np.arange(3), **given)),
        (TypeError, ("argument 0[1]", "argnums"), lambda: transform(quadratic, [X, "a"], **given)),
        (TypeError, ("returns a Tensor", "float"), lambda: transform(lambda x: x.sum().item(), X, **given)),
        (TypeError, ("returns a Tensor", "tuple"), lambda: transform(lambda x: (x, x), X, **given)),
        (TypeError, ("floating numbers", "int64"), lambda: transform(lambda x: x.sum().astype(int), X, **given)),
        (ValueError, ("argnums", "1 argument", "1"), lambda: transform(quadratic, X, argnums=1, **given)),
        (ValueError, ("argnums", f"{name}(f, x)"), lambda: transform(quadratic, **given)),
        (ValueError, ("nothing to differentiate",), lambda: transform(quadratic, nn.Flatten(), **given)),
    ):
        with refused(kind, name, *words):
            call()
    if transform in (value_and_grad, hessian, hvp):
        with refused(ValueError, name, "one number", "(3,)"):
            transform(lambda x: x * 2, X, **given)
    if transform in (jvp, hvp):
        for wrong in (np.ones(2), {"a": X}, [1.0, 2.0], ["a", "b", "c"], [[1], [2, 3]], [variable(X)] * 3):
            with refused(ValueError, name, "tangent"):
                transform(quadratic, X, tangent=wrong)
        with refused(ValueError, name, "dict of a, b"):
            transform(lambda x: quadratic(x["a"]), {"a": X, "b": X}, tangent={"a": X})
    if transform is vjp:
        with refused(ValueError, "cotangent", "(3,)", "(2,)"):
            vjp(lambda x: x * 2, X, cotangent=np.ones(2))
    layer = nn.Linear(3, 1, rng=rng())
    with refused(ValueError, name, "twice"):
        transform(lambda a, b: a(X).sum(), layer, layer, argnums=(0, 1), **given)
    assert value_and_grad(quadratic, X)[1].requires_grad is False  # nothing is left of a call that failed
