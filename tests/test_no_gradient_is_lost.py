"""No gradient is lost without a word: every way in which a Tensor can be handed to NumPy, tried one by one.

The ways are found, not listed: every callable of NumPy and of its submodules, every method and operator of its objects,
every assignment. For each, arguments are looked for with which it computes something of plain numbers. Then a Tensor
that requires gradients takes the place of each of them in turn, whole and in lists, and of each keyword argument that
was left out. What comes of it must be one of

    right     Tensors in a graph, whose gradients are those that NumPy's own values have
    refused   an error
    query     something that does not change with the Tensor's values, of a way listed below
    exit      numbers that came of float(t), of a way listed below

To tell: the call is made again with values a little different, and once more with float(t) refused.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
import operator
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, grad
from tinygrad_mnist.losses import cross_entropy_cost, softmax_cross_entropy

V = np.array([0.3, 0.9, 0.7])
M = np.array([[2.0, 0.3, 0.1], [0.4, 1.5, 0.2], [0.1, 0.6, 3.0]])
S = np.array(0.6)
I = np.array([1, 2, 1])  # noqa: E741
PLAIN: list[Any] = [V, S, M, I, 1, [V, V]]
MASK = np.array([True, False, True])

SKIPPED = set(
    """
    Tensor binary compile disp enable_grad grad no_grad ternary test unary unique variadic info lookfor source
    seterr seterrcall setbufsize set_printoptions set_state seed bit_generator get_include show_config show_runtime
    printoptions errstate fromfile load loads loadtxt genfromtxt memmap open_memmap fromregex DataSource save savez
    savez_compressed savetxt tofile dump dumps byteswap setflags resize default_rng Generator RandomState spawn
    setfield
    """.split()
)
"""Ways of nothing: what reads or writes files, sets NumPy's state, or makes ops; and unique, which gives another number
of elements when one of two equal ones is moved."""


def modules() -> dict[str, Any]:
    polynomials = ("polynomial", "chebyshev", "hermite", "hermite_e", "laguerre", "legendre", "polyutils")
    return {
        "np": np,
        "np.linalg": np.linalg,
        "np.fft": np.fft,
        "np.ma": np.ma,
        "np.emath": np.emath,
        "np.strings": np.strings,
        "np.lib.stride_tricks": np.lib.stride_tricks,
        **{f"np.polynomial.{name}": getattr(np.polynomial, name) for name in polynomials},
        "tinygrad_mnist": tg,
    }


def receivers() -> dict[str, Callable[[], Any]]:
    """Objects with methods and operators, each made anew for each call."""
    return {
        "ndarray": V.copy,
        "ndarray 2-d": M.copy,
        "ndarray of integers": I.copy,
        "ndarray 0-d": S.copy,
        "np.float64": lambda: np.float64(0.6),
        "np.matrix": lambda: np.matrix(M),
        "np.ma.MaskedArray": lambda: np.ma.array(V.copy(), mask=[False, True, False]),
        "np.random.Generator": lambda: np.random.default_rng(0),
        "np.random.RandomState": lambda: np.random.RandomState(0),
        "np.poly1d": lambda: np.poly1d([1.0, 2.0, 3.0]),
        "np.polynomial.Polynomial": lambda: np.polynomial.Polynomial([1.0, 2.0, 3.0]),
        "np.add": lambda: np.add,
        "np.multiply": lambda: np.multiply,
        "np.maximum": lambda: np.maximum,
        "np.exp": lambda: np.exp,
        "np.vectorize": lambda: np.vectorize(lambda x: x * 2),
        "np.frompyfunc": lambda: np.frompyfunc(lambda x, y: x * y, 2, 1),
        "a Tensor without gradients": lambda: Tensor(V.copy()),
    }


SPECIAL: dict[str, tuple[Any, ...]] = {
    "np.einsum": ("i,i->", V, V),
    "np.piecewise": (V, [MASK], [1.0, 2.0]),
    "np.select": ([MASK], [V], 0.5),
    "np.choose": (I, [V, V, V]),
    "np.interp": (V, np.array([0.0, 1.0, 2.0]), V),
    "np.pad": (V, 1, "linear_ramp"),
    "np.place": (V, MASK, V),
    "np.putmask": (V, MASK, V),
    "np.copyto": (V, S),
    "np.apply_along_axis": (np.sum, 0, V),
    "np.fromiter": ([0.5, 1.5], float),
    "np.full": ((2,), 0.5),
    "np.histogram": (V, 3, (0.0, 2.0), None, V),
    "np.insert": (V, 1, 0.5),
    "np.fill_diagonal": (M, 0.5),
    "np.ma.masked_where": (MASK, V),
    "np.block": ([[M, M]],),
    "np.fromfunction": (lambda i: i * V, (3,)),
}


class Way(NamedTuple):
    """A call of plain arguments, of which one is to become a Tensor."""

    name: str
    call: Callable[..., Any]
    args: tuple[Any, ...]


# --- the ways ---


def ways(source: str) -> Iterator[Way]:
    if source in modules():
        yield from _functions(source, modules()[source])
    elif source in receivers():
        yield from _methods(source, receivers()[source])
        yield from _operators(source, receivers()[source])
    else:
        yield from _assignments()
        yield from _indexing_tricks()


def _functions(prefix: str, module: Any) -> Iterator[Way]:
    for name in sorted(set(dir(module)) - SKIPPED):
        function = getattr(module, name)
        if not name.startswith("_") and callable(function) and not _is_an_error(function):
            yield from _valid(f"{prefix}.{name}", function)


def _is_an_error(function: Any) -> bool:
    return isinstance(function, type) and issubclass(function, BaseException)


def _valid(name: str, function: Callable[..., Any]) -> Iterator[Way]:
    """The calls of plain arguments that NumPy takes: a few of each number of arguments."""
    if name in SPECIAL:
        yield Way(name, function, SPECIAL[name])
    for count in (1, 2, 3):
        found = 0
        for args in itertools.product(PLAIN if count < 3 else PLAIN[:4], repeat=count):
            if found < 4 and any(x is V or x is S or x is M for x in args) and _answers(function, args):
                found += 1
                yield Way(name, function, args)


def _answers(function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    try:
        function(*_copied(args))
    except Exception:
        return False
    return True


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def _methods(prefix: str, make: Callable[[], Any]) -> Iterator[Way]:
    for name in sorted(set(dir(make())) - SKIPPED):
        if name == "__call__" or not name.startswith("_"):

            def call(*args: Any, name: str = name, **kwargs: Any) -> Any:
                receiver = make()
                return getattr(receiver, name)(*args, **kwargs), _state(receiver)

            if callable(getattr(type(make()), name, None)):
                yield from _valid(f"{prefix}.{name}", call)


def _operators(prefix: str, make: Callable[[], Any]) -> Iterator[Way]:
    for name in sorted(set(dir(operator))):
        function = getattr(operator, name)
        if name.startswith("_") or not inspect.isbuiltin(function) or name in ("call", "length_hint", "index"):
            continue

        def call(x: Any, function: Any = function) -> Any:
            receiver = make()
            return function(receiver, x), _state(receiver)

        def swapped(x: Any, function: Any = function) -> Any:
            return function(x, make())

        for side in (call, swapped):
            yield from (Way(f"{prefix} operator.{name}", side, (x,)) for x in PLAIN[:5] if _answers(side, (x,)))


def _state(receiver: Any) -> Any:
    """What a method or operator may have changed."""
    return receiver if isinstance(receiver, np.ndarray | Tensor) else None


def _assignments() -> Iterator[Way]:
    keys = [0, slice(0, 3), slice(None), ..., MASK, [0, 2, 1], np.array([0, 2, 1]), (0,), (None, 0)]
    targets = {
        "ndarray": V.copy,
        "ndarray of float32": lambda: V.astype(np.float32),
        "ndarray of objects": lambda: V.astype(object),
        "ndarray of integers": I.copy,
        "ndarray.flat": lambda: V.copy().flat,
        "np.ma.MaskedArray": lambda: np.ma.array(V.copy(), mask=[False, True, False]),
        "a Tensor without gradients": lambda: Tensor(V.copy()),
    }
    for (name, make), key in itertools.product(targets.items(), keys):

        def assign(value: Any, make: Any = make, key: Any = key) -> Any:
            target = make()
            target[key] = value
            return np.array(target) if isinstance(target, np.flatiter) else target

        for x in (S, V, [0.5, 1.5, 2.5]):
            if _answers(assign, (x,)):
                yield Way(f"{name}[key] = ", assign, (V,) if x is V else (S,) if x is S else (V,))
    for attribute in ("flat", "real", "imag"):

        def set_attribute(value: Any, attribute: str = attribute) -> Any:
            target = V.astype(complex)
            setattr(target, attribute, value)
            return target

        yield from (Way(f"ndarray.{attribute} = ", set_attribute, (x,)) for x in (S, V))


def _indexing_tricks() -> Iterator[Way]:
    for name in ("r_", "c_", "s_", "mgrid", "ogrid", "index_exp"):
        trick = getattr(np, name)
        for suffix, index in {
            "[x]": lambda x: x,
            "[x, x]": lambda x: (x, x),
            "[x:2]": lambda x: slice(x, 2),
            "[0:x]": lambda x: slice(0, x),
            "[0:x:3j]": lambda x: slice(0, x, 3j),
            "[0:2:x]": lambda x: slice(0, 2, x),
        }.items():
            call: Any = lambda x, trick=trick, index=index: trick[index(x)]  # noqa: E731
            yield from (Way(f"np.{name}{suffix}", call, (x,)) for x in (S, V) if _answers(call, (x,)))


# --- the Tensor in the place of an argument ---


class Trial(NamedTuple):
    """A way with an argument that is made of the numbers x, a place of which can be a Tensor."""

    way: Way
    form: str
    x: Any
    place: Callable[[Any], Any]  # the argument of an array or Tensor
    call: Callable[[Any], Any]  # with that argument; returns all that can tell of its values


def trials(way: Way) -> Iterator[Trial]:
    for i, argument in enumerate(way.args):
        for form, x, place in _forms(argument):

            def call(value: Any, i: int = i) -> Any:
                args = [*_copied(way.args[:i]), value, *_copied(way.args[i + 1 :])]
                return way.call(*args), args[:i], args[i + 1 :]

            yield Trial(way, f"argument {i} {form}", x, place, call)
    for name in _keywords(way):
        for x in (S, V):

            def call_with(value: Any, name: str = name) -> Any:
                args = _copied(way.args)
                return way.call(*args, **{name: value}), args

            yield Trial(way, f"{name}=", _off(x), lambda t: t, call_with)


def _forms(argument: Any) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    if isinstance(argument, np.ndarray) and argument.dtype.kind in "fi":
        argument = _off(argument)
        yield "alone", argument, lambda t: t
        if argument.ndim:
            yield "in a list", argument, list
            yield "in a tuple with numbers", argument, lambda t: (t[0], *argument[1:])
    elif type(argument) in (int, float):
        yield "alone", _off(argument), lambda t: t
        yield "in a list", _off(argument), lambda t: [t, t]
    elif isinstance(argument, list) and argument and isinstance(argument[0], np.ndarray | list | float):
        first = _off(argument[0])
        yield "in a list with others", first, lambda t: [t, *_copied(argument[1:])]
        yield "in a nested list", first, lambda t: [[t, *_copied(argument[1:])]]


def _off(x: Any) -> Any:
    """Numbers a little off: where two are equal, a query such as np.allclose is about to change its mind."""
    return np.asarray(np.asarray(x, float) * 1.0137 + 0.011)


def _keywords(way: Way) -> list[str]:
    if "operator" in way.name or " = " in way.name or "[" in way.name:
        return []
    function: Any = way.call
    receiver, _, name = way.name.rpartition(".")
    if receiver in receivers():
        function = getattr(receivers()[receiver](), name)
    if isinstance(function, np.ufunc):
        return ["out", "where", "dtype", "initial"]
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ["out", "where", "initial", "weights", "axis", "dtype"]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return names[len(way.args) :] + ["constant_values", "end_values"] * (function is np.pad)


# --- what comes of it ---


def verdict(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> str:
    try:
        t = Tensor(trial.x.copy(), requires_grad=True)
        result = trial.call(trial.place(t))
    except Exception:
        return "refused"
    tracked = [part for part in _parts(result) if isinstance(part, Tensor) and part.requires_grad and part is not t]
    if tracked:
        return "right" if _is_right(trial, t, result) else "WRONG"
    if all(_prints(trial, trial.x) == _prints(trial, trial.x + d) for d in (1e-3, -1e-3 * np.cos(trial.x))):
        return "query"
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "__float__", _refuse)
        patch.setattr(Tensor, "__int__", _refuse)
        patch.setattr(Tensor, "item", _refuse)
        try:
            trial.call(trial.place(Tensor(trial.x.copy(), requires_grad=True)))
        except Exception:
            return "exit"
    return "LOST"


def _refuse(self: Tensor) -> None:
    raise ZeroDivisionError("float(t)")


def _parts(value: Any) -> Iterator[Any]:
    """All numbers, arrays and Tensors in a result; of other objects what they hold."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.flat)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif hasattr(value, "coef"):
        yield from _parts(value.coef)
    else:
        yield value


def _prints(trial: Trial, x: Any) -> list[Any]:
    """What tells of a result's values, as bytes."""
    try:
        result = trial.call(trial.place(Tensor(np.asarray(x), requires_grad=True)))
    except Exception as error:
        return [type(error)]
    uninitialized = trial.way.name.endswith(("empty_like", "masked_all_like"))
    return [np.shape(part) if uninitialized else _bytes(part) for part in _parts(result)]


def _bytes(part: Any) -> Any:
    if isinstance(part, Tensor):
        return None if part.requires_grad else part.data.tobytes()  # the Tensor itself, handed back
    if isinstance(part, str | bytes):
        return type(part)  # to look at
    if isinstance(part, np.ma.MaskedArray):
        return [np.asarray(part).tobytes(), np.ma.getmaskarray(part).tobytes()]
    if isinstance(part, np.ndarray | np.generic | int | float | complex):
        return np.asarray(part).tobytes()
    return type(part)


def _is_right(trial: Trial, t: Tensor, result: Any) -> bool:
    """Whether the gradient of the result's Tensors is the slope of the values that NumPy computes without them."""

    def total(parts: list[Any]) -> Any:
        numbers = [np.asarray(p) if isinstance(p, np.ndarray | np.generic | float) else p for p in parts]
        floating = [p for p in numbers if isinstance(p, Tensor | np.ndarray) and p.dtype.kind == "f"]
        weights = np.random.default_rng(0)
        return sum((p * weights.uniform(0.5, 1.5, np.shape(p))).sum() for p in floating)

    def plain(x: Any) -> float:
        asks_for_ndarrays = trial.way.name.endswith(OTHER_VALUES + HANDED_BACK)
        try:
            parts = _parts(trial.call(trial.place(Tensor(x) if asks_for_ndarrays else x)))
        except Exception:  # NumPy has no such argument, as a_min= without a_max=: the values that we compute
            parts = _parts(trial.call(trial.place(Tensor(x))))
        return float(total([p for p in parts if p is not x]))

    try:
        given = grad(total([p for p in _parts(result) if p is not t]), t).data
    except ValueError:
        return False
    h = 1e-6
    d = np.random.default_rng(1).uniform(0.5, 1.5, t.shape)  # one slope tells, save where some of them are undefined
    slope = (plain(np.asarray(trial.x + h * d)) - plain(np.asarray(trial.x - h * d))) / (2 * h)
    if np.isclose((given * d).sum(), slope, rtol=1e-5, atol=1e-7):
        return True
    steps = h * np.eye(t.size).reshape(t.size, *t.shape)
    slopes = np.array([(plain(np.asarray(trial.x + d)) - plain(np.asarray(trial.x - d))) / (2 * h) for d in steps])
    return bool(np.allclose(given.ravel()[~np.isnan(slopes)], slopes[~np.isnan(slopes)], rtol=1e-5, atol=1e-7))


OTHER_VALUES = ("val", "polyvalfromroots", "grid2d", "np.matrix operator.mul")
"""Where Tensors compute otherwise than arrays: NumPy's polynomials ask isinstance(x, np.ndarray) before they broadcast,
and np.matrix means the matrix product by *, a Tensor times one the elementwise product."""


HANDED_BACK = ("atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "squeeze", "matrix_power")
"""Where NumPy may return the array itself, which cannot be told from what the call left unchanged."""


QUERIES = set(
    """
    Domain all allclose allequal angle any argmax argmin argpartition argsort argwhere around array2string array_equal
    array_equiv array_repr array_str as_series base_repr bmat broadcast_to bytes ceil chebtrim chebval choice
    clump_masked clump_unmasked common_fill_value contains corrcoef countOf count_masked count_nonzero cov
    default_fill_value deriv dot empty_like eq equal fill fill_diagonal filled fix_invalid flatnonzero
    fix floor floor_divide floordiv
    flatnotmasked_contiguous flatnotmasked_edges format_float format_float_positional format_float_scientific
    full_like ge get_state getdata getmask getmaskarray greater greater_equal gt has_sametype hermetrim hermeval
    hermtrim hermval iadd ifloordiv
    in1d integ intersect1d intervals isMA isMaskedArray is_ is_mask is_masked is_not isarray isclose
    iscomplex iscomplexobj isfinite isin isinf isnan isneginf isposinf isreal isrealobj isscalar
    iterable lagtrim lagval le legtrim legval less
    less_equal lexsort logical_and logical_not logical_or logical_xor lt make_mask mask_cols mask_or mask_rowcols
    mask_rows masked_all_like masked_equal masked_greater masked_greater_equal masked_inside masked_invalid
    masked_less masked_less_equal masked_not_equal masked_object masked_outside masked_values masked_where
    matrix_rank maximum_fill_value may_share_memory min_scalar_type minimum_fill_value mintypecode nan_to_num
    nanargmax nanargmin
    ndenumerate ndim ne nonzero norm not_equal notmasked_contiguous notmasked_edges ones_like permutation pinv
    poly1d polyder polyfit polyint polytrim polyval polyvalfromroots random_integers ranks real_if_close result_type
    rint round round_
    searchsorted set_fill_value setdiff1d setxor1d shape shares_memory shuffle sign signbit size str_ svd
    trapezoid tri tril tril_indices tril_indices_from trim trimcoef trimseq triu triu_indices triu_indices_from
    trunc unique where zeros_like
    """.split()
)
"""Functions, methods and operators that answer without derivative: a comparison, a place, a shape, a text."""

QUERY_OPTIONS = set(
    """
    M allow_masked assume_unique atol away axis bias compressed compute_uv copy correction cov ddof default deg
    density dtype dx edge_order edgeitems endpoint endwith equal_nan fill_value full full_matrices gdict
    hard_mask hardmask hermitian high include_initial increasing initial invert k keep_mask keepdims ldict left
    legacy m masked_equal max_line_width mean norm op_dtypes overwrite_input parens precision prefix
    propagate_mask r replace retstep return_counts return_index return_indices return_inverse returned right
    rowvar rtol scl separator shrink shuffle sorted sparse stable strict subok suffix suppress_small tensor tol
    trim typeset upper variable wrap writeable
    """.split()
)
"""Keyword arguments that are options: true or false, a dtype, a tolerance."""

EXITS = set(
    """
    cdouble complex128 complex64 csingle double fill float64 fromiter integ
    """.split()
)
"""Ways that make a number of a 0-d Tensor by float(t), or an array of such numbers."""

EXIT_OPTIONS = set(
    """
    correction ddof initial k lbnd left right
    """.split()
)
"""Keyword arguments of which NumPy makes a number by float(t)."""


def _listed(found: str, trial: Trial) -> bool:
    """Whether this is a known query or exit."""
    name, option = trial.way.name, trial.form.removesuffix("=")
    if found == "query" and option != trial.form:
        return option in QUERY_OPTIONS
    if found == "exit" and option != trial.form:
        return option in EXIT_OPTIONS
    if "[" in name:  # np.s_[x] keeps the Tensor itself, so does an array of objects; one of integers rounds
        return found == "exit" or name.startswith(
            ("np.s_", "np.index_exp", "ndarray of objects", "ndarray of integers")
        )
    last = name.split("operator.")[-1] if " operator." in name else name.rpartition(".")[2]
    return last in (QUERIES if found == "query" else EXITS)


@pytest.mark.parametrize("source", [*modules(), *receivers(), "assignments"])
def test_every_way_is_right_refused_a_query_or_a_known_exit(source, monkeypatch):
    counts: Counter[str] = Counter()
    bad = []
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for way in ways(source):
            for trial in trials(way):
                found = verdict(trial, monkeypatch)
                counts[found] += 1
                if found in ("LOST", "WRONG") or (found in ("query", "exit") and not _listed(found, trial)):
                    bad.append(f"{found}: {way.name} {trial.form} of {way.args}")
    print(source, dict(counts))
    assert not bad, "\n".join(bad)
    assert counts["refused"] + counts["right"] > 0
    assert counts["right"] > 0 or source not in ("np", "np.ma", "ndarray", "np.add", "tinygrad_mnist")


@pytest.mark.parametrize("leak", ["__array__", "_data"])
def test_the_enumeration_finds_what_is_lost(leak, monkeypatch):
    """With the former __array__, or a slot that np.ma takes by its name, gradients are lost in every corner."""
    if leak == "_data":
        monkeypatch.setattr(Tensor, "_data", property(lambda self: self.data), raising=False)
    else:
        monkeypatch.setattr(Tensor, "__array__", lambda self, dtype=None, copy=None: np.array(self.data, dtype))
    found: set[str] = set()
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for way in itertools.chain(ways("np.ma.MaskedArray"), ways("assignments")):
            found |= {way.name for trial in trials(way) if verdict(trial, monkeypatch) == "LOST"}
    assert "np.ma.MaskedArray operator.mul" in found
    assert ("ndarray[key] = " in found) == (leak == "__array__")


def test_the_known_exits_of_a_number():
    """float(t), and what Python and NumPy make of it, leave the graph; so do .numpy(), .item(), .data and .detach()."""
    s, buffer = Tensor(0.6, requires_grad=True, dtype=np.float64), np.zeros(2)
    buffer[0] = s
    assert complex(s) == 0.6
    buffer[1:].fill(s)
    assert buffer.tolist() == [0.6, 0.6]
    assert float(s) == np.float64(s) == s.item() == s.numpy() == s.data == s.detach().data == 0.6
    assert math.exp(s) == math.exp(0.6)
    assert np.fromiter([s, s], float).tolist() == [0.6, 0.6]


def test_a_plot_of_a_tensor_says_how_to_look_at_it():
    """Matplotlib copies what it is given before it asks for the values."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    x = Tensor(V, requires_grad=True)
    for t in (x, x * 2):
        for draw in (axes.plot, axes.scatter, axes.imshow, axes.hist):
            args = (t, t) if draw == axes.scatter else (t[None],) if draw == axes.imshow else (t,)
            with pytest.raises(TypeError, match=r"to look at them use t\.numpy\(\)"):
                draw(*args)
    axes.plot(x.numpy(), (x * 2).detach())


def test_comparisons_of_tests_name_the_remedy():
    loss = Tensor(0.5, requires_grad=True) * 1
    with pytest.raises(TypeError, match=r"t\.numpy\(\)"):
        assert loss == pytest.approx(0.5)
    with pytest.raises(TypeError, match=r"t\.numpy\(\)"):
        np.testing.assert_allclose(loss, 0.5)
    assert loss.item() == pytest.approx(0.5)


def test_arrays_of_tensors_are_refused_by_our_own_functions():
    """NumPy would take float() of each."""
    held: Any = np.empty(2, object)
    held[0], held[1] = Tensor(0.3, requires_grad=True), Tensor(0.9, requires_grad=True)
    target = Tensor(np.zeros(2))
    for use in (
        lambda: tg.sigmoid(held),
        lambda: tg.softmax(held),
        lambda: tg.mean(held),
        lambda: tg.astype(held, dtype=float),
        lambda: Tensor(held, dtype=np.float64),
        lambda: target.__setitem__(slice(None), held),
        lambda: softmax_cross_entropy(held, np.array([1, 0])),
        lambda: cross_entropy_cost(held, np.array([1, 0])),
        lambda: tg.leaky_relu(target, slope=[held[0]]),
        lambda: tg.pad(target, [(held[0], 1)]),
    ):
        with pytest.raises(TypeError, match=r"Tensors|no gradient flows"):
            use()
    assert not target.data.any()


def test_it_holds_in_no_grad_too_and_not_for_constants():
    t = Tensor(V, requires_grad=True)
    with tg.no_grad():
        for ask in (np.asarray, np.sum, list):
            with pytest.raises(TypeError, match=r"stack\(\)") if ask is not list else contextlib.nullcontext():
                ask([t, t])
        assert np.asarray(t * 2).tolist() == (V * 2).tolist()  # a constant, made here
    assert np.asarray(t.detach()).tolist() == V.tolist()
