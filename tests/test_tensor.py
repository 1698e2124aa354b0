"""Tensor against its contract: what it holds, Python's protocols, operators on either side, NumPy's functions."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor
from tinygrad_mnist.tensor import values

from .helpers import FLOATS, constant, refused, variable

# --- what it holds ---


@pytest.mark.parametrize("dtype", [*FLOATS, np.int64, np.uint8, np.bool_, np.complex128, ">f4"])
def test_array_keeps_its_dtype_and_is_shared_not_copied(dtype):
    array = np.ones((2, 3), dtype)
    tensor = Tensor(array)
    assert tensor.data is array
    assert tensor.dtype == np.dtype(dtype)
    assert (tensor.shape, tensor.ndim, tensor.size) == ((2, 3), 2, 6)


@pytest.mark.parametrize(
    "number",
    [1, 2.5, True, np.float64(2.5), np.int64(3), np.longdouble(1), [1, 2], [[1.5], [2]], (1, True), [], [np.pi]],
)
def test_numbers_and_lists_become_float32(number):
    tensor = Tensor(number)
    assert tensor.dtype == np.float32
    assert type(tensor.data) is np.ndarray
    assert_array_equal(tensor.data, np.array(number).astype(np.float32))


def test_dtype_converts():
    assert Tensor([1, 2], dtype=np.int64).dtype == np.int64
    array = np.ones(2)
    assert Tensor(array, dtype=np.float32).dtype == np.float32
    assert Tensor(array, dtype=np.float64).data is array


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("abc", "'abc'"),
        (None, "None"),
        ({}, "dict"),
        ([[1], [2, 3]], "list"),
        (np.array(["a"]), "<U1"),
        (np.array([None]), "object"),
        (1j, "complex"),
        (np.complex128(1j), "complex"),
        ([np.complex128(1j)], "complex"),
    ],
    ids=repr,
)
def test_data_that_is_not_real_numbers_is_named(data, word):
    with refused(TypeError, "Tensor: ", word):
        Tensor(data)


def test_tensor_of_tensors_is_refused_with_the_remedy():
    t = variable([1.0])
    with refused(TypeError, "detach()"):
        Tensor(t)
    with refused(TypeError, "stack()", "concatenate()"):
        Tensor([t, t])
    assert Tensor(t.detach()).data is t.data


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.complex128, ">f4"])
def test_only_native_floats_can_require_gradients(dtype):
    """NumPy computes in native byte order: a gradient could not keep another."""
    with refused(TypeError, "requires_grad", str(np.dtype(dtype)), "dtype=np.float32"):
        Tensor(np.ones(2, dtype), requires_grad=True)
    tensor = Tensor(np.ones(2, dtype))
    with refused(TypeError, "requires_grad"):
        tensor.requires_grad = True
    assert tensor.requires_grad is False


def test_result_cannot_stop_requiring_gradients():
    x = variable([1.0])
    with refused(RuntimeError, "exp", ".detach()"):
        x.exp().requires_grad = False
    x.requires_grad = False
    assert not x.exp().requires_grad


def test_data_takes_only_arrays_of_its_shape_and_dtype():
    t = variable([1.0, 2.0], np.float32)
    for wrong in (np.ones(3, np.float32), np.ones(2), 1.0, [1.0, 2.0], t):
        with refused(TypeError, "Tensor.data", "(2,)", "float32"):
            t.data = wrong
    t.data = np.zeros(2, np.float32)
    t.data += 1
    assert_array_equal(t.data, [1, 1])


def test_grad_takes_none_or_a_tensor_of_its_shape_and_dtype():
    t = variable([1.0, 2.0], np.float32)
    assert t.grad is None
    for wrong in (np.ones(2, np.float32), 0.0, constant([1, 2]), constant([1], np.float32)):
        with refused(TypeError, "Tensor.grad", "(2,)", "float32"):
            t.grad = wrong
    t.grad = constant([1, 2], np.float32)
    t.zero_grad()
    assert t.grad is None


def test_item_numpy_and_detach():
    t = variable([[1.5]], name="w")
    assert t.item() == 1.5
    assert type(t.item()) is float
    with refused(ValueError, "item", "(2,)"):
        constant([1, 2]).item()
    values = t.numpy()
    assert np.shares_memory(values, t.data)
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0
    assert t.data.flags.writeable
    detached = t.detach()
    assert detached.data is t.data
    assert (detached.requires_grad, detached.op, detached.name) == (False, None, "w")


def test_asarray_and_array():
    t = constant([1.0, 2.0])
    assert type(np.asarray(t)) is np.ndarray
    assert np.shares_memory(np.asarray(t), t.data)
    assert not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(t, dtype=np.float32, copy=False)
    array = np.zeros(2)
    array[:] = t
    assert_array_equal(array, [1, 2])


def test_repr_shows_values_dtype_name_and_op():
    w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    assert repr(w) == "Tensor([1., 2.], dtype=float32, name='w', requires_grad=True)"
    assert repr(w * 2) == "Tensor([2., 4.], dtype=float32, op=mul)"
    assert repr(constant(3, np.int64)) == "Tensor(3, dtype=int64)"
    assert len(repr(constant(np.zeros(10**6)))) < 200


# --- Python's protocols ---


def test_hash_is_identity_in_sets_and_dictionaries():
    """An elementwise == must not cost Tensors their hash, nor merge equal ones."""
    a, b = variable([1.0, 2.0]), variable([1.0, 2.0])
    assert len({a, b, a}) == 2
    assert {a: "a", b: "b"}[b] == "b"
    assert hash(a) != hash(b)
    assert a in [b, a][1:]


COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("other", [2, 2.0, np.float64(2), np.int64(2), np.array([3.0, 2, 1]), "tensor"])
def test_comparisons_give_bool_tensors_without_gradient_on_either_side(compare, other):
    """Also !=, which a misspelt method name would leave to Python as a plain bool."""
    t = variable([1.0, 2.0, 3.0])
    other = variable([3.0, 2.0, 1.0]) if isinstance(other, str) else other
    for x, y in ((t, other), (other, t)):
        result = compare(x, y)
        assert isinstance(result, Tensor)
        assert (result.dtype, result.requires_grad) == (np.dtype(bool), False)
        assert_array_equal(result.data, compare(values(x), values(y)))


def test_comparison_with_what_is_not_a_number_is_left_to_python():
    t = variable([1.0])
    for other in (None, "a", {1.0}, object()):
        assert (t == other) is False
        assert (other == t) is False
        assert (t != other) is True
        with pytest.raises(TypeError):
            t < other  # noqa: B015


def test_requires_grad_is_true_or_false_wherever_it_is_set():
    t: Any = Tensor([1.0])
    w = variable([1.0])
    wrong: Any
    for x in (t, w):
        for wrong in ("False", 1, np.float32, [True]):
            with refused(TypeError, "True or False", "dtype="):
                x.requires_grad = wrong
            with refused(TypeError, "True or False", "dtype="):
                Tensor([1.0], wrong)
    t.requires_grad = np.True_
    assert t.requires_grad is True
    out = w * 2
    w.requires_grad = True  # as it was: the graph is still good
    out.backward()
    assert w.grad.item() == 2


def test_item_assignment_names_remedies_that_are_noticed():
    """Writing into elements of .data before backward() would give wrong gradients."""
    t = variable([1.0, 2.0])
    with refused(RuntimeError, "where(", "stack()", "t.data = array"):
        t[0] = 10
    out = (t * t).sum()
    t.data = np.array([10.0, 20.0])
    with refused(RuntimeError, "changed in place"):
        out.backward()


def test_comparison_of_shapes_that_do_not_broadcast():
    with refused(ValueError, "(2,)", "(3,)"):
        constant([1, 2]) == constant([1, 2, 3])  # noqa: B015


def test_bool_float_int_and_index():
    assert constant([[2.5]])
    assert not constant(0)
    assert float(variable([2.5])) == 2.5
    assert int(constant(2.5)) == 2
    for ask in (bool, float, int):
        with refused(ValueError, "(2,)"):
            ask(constant([1, 2]))
    with refused(ValueError, "np.any(t)", "np.all(t)"):
        bool(constant([]))
    with pytest.raises(TypeError):
        [1, 2][constant(1.0)]


def test_len_iteration_and_unpacking_carry_gradients():
    t = variable([[1.0, 2.0], [3.0, 4.0]])
    assert len(t) == 2
    first, second = t
    (first * 10 + second).sum().backward()
    assert_array_equal(t.grad.data, [[10, 10], [1, 1]])
    assert [row.shape for row in reversed(t)] == [(2,), (2,)]
    assert list(constant(np.ones((0, 2)))) == []
    for ask in (len, iter):
        with refused(TypeError, "0-d"):
            ask(constant(1))


def test_builtin_sum_abs_and_pos():
    t = variable([-1.0, 2.0])
    sum([t, t, abs(t), +t, -t]).sum().backward()
    assert_array_equal(t.grad.data, [1, 3])
    assert not np.shares_memory((+t).data, t.data)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
def test_deepcopy_and_pickle_keep_everything_and_share_nothing(clone):
    t = variable([[1.0, 2.0]], np.float32, name="w")
    (t * t).sum().backward()
    other = clone(t)
    assert (other.name, other.requires_grad, other.dtype) == ("w", True, np.float32)
    assert_array_equal(other.data, t.data)
    assert_array_equal(other.grad.data, t.grad.data)
    assert not np.shares_memory(other.data, t.data)
    assert not np.shares_memory(other.grad.data, t.grad.data)
    (other * 3).sum().backward()
    assert_array_equal(t.grad.data, [[2, 4]])


def test_copy_of_a_result_is_in_the_graph_and_of_a_leaf_another_leaf():
    t = variable([1.0, 2.0])
    result = t * 3
    twin = copy.copy(result)
    assert twin.op.name == "copy"
    assert not np.shares_memory(twin.data, result.data)
    (twin * twin).sum().backward()
    assert_array_equal(t.grad.data, [18, 36])
    other = copy.copy(t)
    assert (other.op, other.requires_grad) == (None, True)
    assert np.shares_memory(other.data, t.data)


@pytest.mark.parametrize("clone", [copy.deepcopy, pickle.dumps])
def test_copying_a_result_is_refused_with_the_remedy(clone):
    with refused(TypeError, "exp", ".detach()"):
        clone(variable([1.0]).exp())


def test_copying_a_model_of_tensors_keeps_what_is_shared_shared():
    w = variable([1.0])
    model = copy.deepcopy({"a": w, "b": w})
    assert model["a"] is model["b"]


IN_PLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
    operator.imatmul,
    operator.iand,
    operator.ior,
]


@pytest.mark.parametrize("change", IN_PLACE)
def test_in_place_operators_are_refused_with_the_remedy(change):
    t = variable([1.0])
    for x in (t, t.exp()):
        with refused(RuntimeError, "in-place", "t = t + u"):
            change(x, 1.0)
    assert_array_equal(t.data, [1])


def test_augmented_assignment_without_gradients_makes_a_new_tensor():
    t = before = constant([1, 2])
    t += 1
    assert t is not before
    assert_array_equal(before.data, [1, 2])
    assert_array_equal(t.data, [2, 3])
    t *= variable([1.0, 1.0])
    assert t.requires_grad


def test_item_assignment():
    t = constant([1, 2, 3])
    t[0] = 5
    t[t > 2] = constant(0)
    assert_array_equal(t.data, [0, 2, 0])
    for target, value in ((variable([1.0]), 0), (variable([1.0]).exp(), 0), (t, variable(1.0))):
        with refused(RuntimeError, "item assignment", "where"):
            target[0] = value
    assert_array_equal(t.data, [0, 2, 0])


# --- operators on either side ---

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
OTHERS = {
    "int": 2,
    "float": 2.0,
    "bool": True,
    "np.float64": np.float64(2),
    "np.float32": np.float32(2),
    "np.int64": np.int64(2),
    "np.longdouble": np.longdouble(2),
    "array": np.array([1, 2], np.float32),
}


@pytest.mark.parametrize("combine", OPERATORS)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_numbers_and_arrays_on_either_side_give_float32_tensors_with_gradients(combine, other):
    """A NumPy scalar or array on the left must not swallow the Tensor, nor a float64 scalar promote it."""
    t = variable([1.0, 3.0], np.float32)
    plain = t.data.astype(np.float64)
    for x, y in ((t, other), (other, t)):
        result = combine(x, y)
        assert isinstance(result, Tensor)
        assert (result.dtype, result.requires_grad) == (np.float32, True)
        expected = combine(plain if x is t else x, plain if y is t else y)
        np.testing.assert_allclose(result.data, expected.astype(np.float64), rtol=1e-6)
        t.zero_grad()
        result.sum().backward()
        assert t.grad.dtype == np.float32


def test_matmul_with_an_array_on_either_side():
    t, m = variable([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    (t @ m).sum().backward()
    assert_array_equal(t.grad.data, [[3, 4]])
    t.zero_grad()
    (m @ t).sum().backward()
    assert_array_equal(t.grad.data, [[7, 7]])


@pytest.mark.parametrize("combine", [operator.and_, operator.or_])
def test_masks_combine_on_either_side(combine):
    mask = constant([0.0, 1.0]) > 0.5
    for other in (True, False, np.True_, np.array([True, False]), constant([0.0, 1.0]) > 0.5):
        for x, y in ((mask, other), (other, mask)):
            result = combine(x, y)
            assert isinstance(result, Tensor)
            assert_array_equal(result.data, combine(np.asarray(x), np.asarray(y)))
    assert_array_equal((~mask).data, [True, False])


def test_other_types_are_refused_by_name_on_either_side():
    t = variable([1.0])
    for other in (None, "a", {}, object()):
        for combine in OPERATORS:
            with refused(TypeError, type(other).__name__):
                combine(t, other)
            with refused(TypeError):
                combine(other, t)


# --- NumPy's functions ---

SERVED: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "tanh": np.tanh,
    "negative": np.negative,
    "copy": np.copy,
    "sign": np.sign,
    "invert": lambda t: np.invert(t > 2),
    "add": lambda t: np.add(1, t),
    "subtract": lambda t: np.subtract(np.ones(3), t),
    "multiply": lambda t: np.multiply(t, t),
    "divide": lambda t: np.true_divide(1.0, t),
    "power": lambda t: np.power(t, 2),
    "maximum": lambda t: np.maximum(t, 2),
    "minimum": lambda t: np.minimum(np.float64(2), t),
    "matmul": lambda t: np.matmul(np.ones((4, 2)), t),
    "sum": lambda t: np.sum(t, axis=0, keepdims=True),
    "mean": lambda t: np.mean(t, -1),
    "max": lambda t: np.max(t, axis=(0, 1)),
    "min": lambda t: np.min(t),
    "where": lambda t: np.where(np.array([True, False, True]), t, 0.0),
    "where Tensor": lambda t: np.where(t > 2, t, t * 2),
    "clip": lambda t: np.clip(t, 2, 4),
    "clip names": lambda t: np.clip(t, a_min=2, a_max=None),
    "reshape": lambda t: np.reshape(t, (3, 2)),
    "transpose": lambda t: np.transpose(t, axes=(-1, 0)),
    "broadcast_to": lambda t: np.broadcast_to(t, (4, 2, 3)),
    "concatenate": lambda t: np.concatenate([t, np.ones((2, 1)), t], axis=-1),
    "stack": lambda t: np.stack((t, t), axis=1),
    "pad": lambda t: np.pad(t, ((1, 0), (0, 2)), constant_values=1),
    "equal": lambda t: np.equal(1, t),
    "greater": lambda t: np.greater(t, t),
    "bitwise_and": lambda t: np.bitwise_and(t > 1, np.ones((2, 3), bool)),
}


@pytest.mark.parametrize("function", SERVED.values(), ids=SERVED)
def test_numpy_functions_of_the_table_give_tensors_with_numpys_values(function):
    t = variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    result, expected = function(t), function(t.data)
    assert isinstance(result, Tensor)
    assert result.dtype == expected.dtype
    assert_array_equal(result.data, expected)
    if result.requires_grad:
        result.sum().backward()
        assert t.grad.shape == t.shape
    else:
        assert result.dtype == bool or function is np.sign


REFUSED: dict[str, Callable[[Any], Any]] = {
    "spacing": np.spacing,
    "i0": np.i0,
    "add.reduce": np.add.reduce,
    "add.accumulate": np.add.accumulate,
    "multiply.outer": lambda t: np.multiply.outer(t, t),
    "add.at": lambda t: np.add.at(np.zeros(3), [0], t[0]),
    "add": lambda t: np.add(t, 1, out=np.zeros(3)),
    "exp": lambda t: np.exp(t, out=np.zeros(3)),
    "multiply": lambda t: np.multiply(t, 2, where=np.array([True, False, True])),
    "nextafter": lambda t: np.nextafter(t, 0.0),
    "eigvals": lambda t: np.linalg.eigvals(t[None]),
    "fft": np.fft.fft,
    "einsum": lambda t: np.einsum("i->", t, casting="no"),
    "dot": lambda t: np.dot(np.ones(3), t, out=np.zeros(())),
    "copyto": lambda t: np.copyto(np.zeros(3), t),
    "ldexp": lambda t: np.ldexp(t, 2),
    "sum": lambda t: np.sum(t, out=np.zeros(())),
    "trace": lambda t: np.trace(t[None], dtype=int),
    "max by position": lambda t: np.max(t, 0, np.zeros(())),
    "clip": lambda t: np.clip(t, 0, 1, np.zeros(3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_table_has_not_is_a_type_error_never_an_ndarray(name):
    with refused(TypeError, name.removesuffix(" by position")):
        REFUSED[name](variable([1.0, 2.0, 3.0]))


def test_numpys_own_names_and_places_of_arguments():
    t = variable([[1.0, 2.0], [3.0, 4.0]])
    pairs: list[tuple[Any, Any]] = [
        (np.sum(a=t), np.sum(t.data)),
        (np.sum(t, axis=None, dtype=None, out=None), np.sum(t.data)),
        (np.sum(t, 0, None, None, True), np.sum(t.data, 0, keepdims=True)),
        (np.mean(axis=0, a=t), np.mean(t.data, 0)),
        (np.max(t, 1, None, True), np.max(t.data, 1, keepdims=True)),
        (np.transpose(a=t), t.data.T),
        (np.copy(a=t, order="K"), t.data),
        (np.pad(array=t, pad_width=1, mode="constant"), np.pad(t.data, 1)),
        (np.broadcast_to(array=t, shape=(3, 2, 2), subok=False), np.broadcast_to(t.data, (3, 2, 2))),
        (np.clip(a=t, a_min=2, a_max=3), np.clip(t.data, 2, 3)),
        (np.full_like(a=t, fill_value=t[0]), np.full_like(t.data, t.data[0])),
        (np.bincount(np.array([1, 0]), weights=t[0], minlength=3), [2, 1, 0]),
    ]
    for asked, plain in pairs:
        assert asked.requires_grad
        assert_array_equal(asked.data, plain)


def test_where_of_one_argument_asks_for_places():
    t = variable([[0.0, 2.0], [3.0, 0.0]])
    for asked in (np.where(t > 1), np.where(t), np.nonzero(t)):
        assert [places.tolist() for places in asked] == [[0, 1], [1, 0]]


def test_an_arrays_own_product_names_the_operator():
    t = variable([1.0, 2.0])
    with refused(TypeError, "A @ t"):
        t.data.dot(t)


def test_the_tensors_of_others_are_named_with_their_module():
    foreign = type("Tensor", (), {"__module__": "torch"})()
    for combine in OPERATORS:
        with refused(TypeError, "got torch.Tensor"):
            combine(variable([1.0]), foreign)


def test_linear_functions_among_the_queries_have_derivatives():
    s, w = variable(2.0, np.float32), variable([1.0, 2.0, 3.0], np.float32)
    filled = np.full_like(constant(np.ones((2, 3))), s)
    assert (filled.dtype, filled.shape) == (np.float64, (2, 3))
    counted = np.bincount(np.array([2, 0, 2]), w, 5)
    assert_array_equal(counted.data, [2, 0, 4, 0, 0])
    (filled.sum() + (counted * np.arange(1, 6)).sum()).backward()
    assert s.grad.item() == 6
    assert_array_equal(w.grad.data, [3, 1, 3])
    assert_array_equal(np.full_like(w, 7), [7, 7, 7])
    assert_array_equal(np.bincount(constant([1, 1], np.int64)), [0, 2])
    with refused(ValueError, "np.bincount", "(3,)", "(2,)"):
        np.bincount(np.array([0, 1, 2]), w[:2])
    with refused(TypeError, ".numpy()"):
        np.full_like(constant(np.ones(2)), [s, s])
    for fill in (np.full_like, np.full):
        with refused(TypeError, "copyto" if fill is np.full_like else ".numpy()"):
            fill(np.ones(2), s)


def test_a_query_does_not_write_into_a_tensor():
    t = constant([1, 0], np.int64)
    with pytest.raises(ValueError, match="read-only"):
        np.argmax(np.ones((3, 2)), axis=0, out=t)
    assert_array_equal(t.data, [1, 0])


CONVERSIONS = {"array", "asanyarray", "asarray", "asarray_chkfinite", "ascontiguousarray", "asfortranarray", "require"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_function_of_numpy_silently_gives_a_float_array():
    """Every function that takes arrays, if it is not asked to convert, records, answers a query or refuses."""
    called = 0
    for name in sorted(set(dir(np)) - CONVERSIONS - {"asmatrix"}):
        function: Any = getattr(np, name)
        if not (isinstance(function, np.ufunc) or hasattr(function, "__wrapped__")):  # those that ask Tensors first
            continue
        for arity in (1, 2, 3):
            try:
                with np.errstate(all="ignore"):
                    result = function(*[variable(np.ones((2, 2)))] * arity)
            except (TypeError, ValueError):  # refused, or a query of too many arguments
                continue
            called += 1
            made_anew = name in ("empty_like", "full_like", "ones_like", "zeros_like")
            assert made_anew or not (isinstance(result, np.ndarray | np.floating) and result.dtype.kind == "f"), name
    assert called > 50


def test_augmenting_an_ndarray_by_a_tensor_is_refused():
    """In-place arithmetic of ndarrays would drop the gradient."""
    array = np.ones(2)
    with refused(TypeError, "add", "out"):
        array += variable([1.0, 2.0])
    assert_array_equal(array, [1, 1])


def test_queries_answer_in_plain_numpy():
    t = variable([1.0, np.nan, 3.0])
    assert np.argmax(constant([1, 3, 2])) == 1
    assert np.argmin(constant([[1, 3], [0, 2]]), axis=1).tolist() == [0, 0]
    assert np.isnan(t).tolist() == [False, True, False]
    assert type(np.isfinite(t)) is np.ndarray
    assert np.allclose(t, t.numpy(), equal_nan=True)
    assert np.array_equal(constant([1, 2]), constant([1, 2]))
    assert np.any(t > 2)
    assert not np.all(t > 2)
    assert (np.shape(t), np.ndim(t), np.size(t)) == ((3,), 1, 3)
    assert np.count_nonzero(t > 2) == 1
    assert np.logical_not(t > 2).data.tolist() == [True, True, False]
    assert type(np.zeros_like(t)) is np.ndarray
    assert np.result_type(t, np.float32) == np.float64
    assert np.shares_memory(t, t.data)
    np.testing.assert_allclose(t.detach(), t.data)


def test_functions_of_the_package_give_plain_arrays_for_plain_arrays():
    for result in (
        tg.exp(2.0),
        tg.sigmoid(np.zeros(2)),
        tg.sum(np.ones(2)),
        tg.where(True, 1.0, 2.0),
        tg.clip(3, 0, 1),
    ):
        assert type(result) is np.ndarray


def test_nested_list_of_tensors_does_not_lose_their_gradients_silently():
    with pytest.raises(TypeError, match="list of Tensors"):
        Tensor([[variable(1.0)]])
