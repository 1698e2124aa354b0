"""native.py and replay/c_text.py: a step compiled to C agrees with NumPy within rounding, and keeps its own bits."""

from __future__ import annotations

import copy
import itertools
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, compile, grad, losses, native, nn, optim
from tinygrad_mnist.replay import Compiled
from tinygrad_mnist.replay.c_forms import PRELUDE
from tinygrad_mnist.tensor import values
from tinygrad_mnist.testing import Composition, compositions, operands
from zoo.custom import Adam

from . import random_training
from .helpers import ROOT, descent, needs_compiler, training_step

F = np.float32


@pytest.fixture(autouse=True)
def a_compiler() -> None:
    needs_compiler()


def in_c(compiled: Compiled) -> int:
    """How many pieces of C its programs have."""
    return compiled.source.count("void piece")


def close(found: Any, expected: Any, scale: float = 1000) -> None:
    """Equal within rounding of the largest number; what is not finite is the same."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    if finite.any():
        largest = np.abs(expected[finite]).max()
        np.testing.assert_allclose(
            found[finite], expected[finite], rtol=0, atol=scale * np.finfo(found.dtype).eps * max(largest, 1e-30)
        )


# --- one step ---


def check_agrees(function: Callable[..., Any], arrays: list[Any]) -> Compiled:
    """Value and gradients in C, of the recorded call, of an audited one and of a replay."""

    def step(*tensors: Any) -> Any:
        out = function(*tensors)
        places = [t for t in tensors if t.requires_grad]
        return (out, *grad(out.sum(), places)) if out.requires_grad else (out,)

    def tensors() -> list[Tensor]:
        return [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]

    compiled: Compiled = compile(step, backend="c")
    with np.errstate(all="ignore"):
        expected = step(*tensors())
        for _ in range(3):
            for a, b in zip(compiled(*tensors()), expected, strict=True):
                close(values(a), values(b))
    return compiled


SOME = {"div", "exp", "log", "maximum", "mul", "pow", "sqrt", "tanh", "where"}  # of which most steps are made


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in SOME else pytest.mark.slow) for n in sorted(n for n, op in OPS.items() if op.c)],
)
def test_every_op_with_a_form_in_c_agrees(name: str) -> None:
    pieces = []

    @settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
    @given(operands(name))
    def check(case: Any) -> None:
        tensors = [i for i, x in enumerate(case.args) if isinstance(x, np.ndarray)]
        if not tensors or any(case.args[i].dtype.kind == "c" for i in tensors):
            return

        def function(*given: Any) -> Any:
            args = list(case.args)
            for i, t in zip(tensors, given, strict=True):
                args[i] = t * 1 if t.dtype.kind == "f" else t  # so that there is enough for a piece
            out = case.apply(*args)
            return tg.where(out != out, 0, out) if out.dtype.kind == "f" else out

        pieces.append(in_c(check_agrees(function, [case.args[i] for i in tensors])))

    check()
    assert any(pieces) or name in {"bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "copy"}


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(compositions())
def test_random_compositions_agree(composition: Composition) -> None:
    arrays = [x.astype(F) if x.dtype.kind == "f" else x for x in composition.inputs]
    with np.errstate(all="ignore"):
        value = composition(*map(Tensor, arrays))
        if not np.isfinite(values(value)).all() or np.abs(values(value)).max(initial=0) > 1e6:
            return  # where rounding is as large as the numbers
    check_agrees(composition, arrays)


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "reversed": lambda x: x[::-1, ::-1],
    "every second": lambda x: np.repeat(x, 2, 0)[::2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column": lambda x: x[:, :1],
    "empty": lambda x: x[:0],
    "a number": lambda x: x[0, 0],
    "three axes": lambda x: np.stack([x, 2 * x]).transpose(1, 2, 0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_agree(layout: str, dtype: Any) -> None:
    x = np.linspace(-2, 2, 35, dtype=dtype).reshape(5, 7)
    given_, bias = LAYOUTS[layout](x), np.linspace(1, 2, 7, dtype=dtype)

    def function(x: Any, b: Any) -> Any:
        y = tg.exp(-x) * 2 + x * x
        z = tg.maximum(y, x) / (1 + y)
        if z.ndim and z.shape[-1] == 7:
            z = z * b + b
        return tg.where(z > 1, z, -z)

    compiled = check_agrees(function, [np.asarray(given_), bias])
    assert in_c(compiled) or layout == "empty"


SIZES = list(itertools.product([1, 3, 4, 10, 17], [1, 2, 7, 8, 30], [np.float32, np.float64]))
FEW = [(10, 30, np.float32), (1, 7, np.float64)]


@pytest.mark.parametrize(
    ("m", "n", "dtype"), [pytest.param(*size, marks=[] if size in FEW else pytest.mark.slow) for size in SIZES]
)
def test_products_of_all_sizes_agree(m: int, n: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for k in (1, 5, 64):
        x, w = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        compiled = check_agrees(lambda x, w: tg.exp(0.1 * (x @ w)) + 1, [x, w])
        assert "product_" in compiled.source
        check_agrees(lambda x, w: tg.exp(0.1 * (x @ w)) + 1, [x.T.copy().T, w.T.copy().T])


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (0, 2), 2])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_sums_agree(axis: Any, n: int) -> None:
    x = np.random.default_rng(0).random((3, n, 5)).astype(F)
    check_agrees(lambda x: (tg.exp(x) * 2 + 1).sum(axis), [x])
    check_agrees(lambda x: (tg.exp(x) * 2 + 1).sum(axis, keepdims=True), [x])


FUNCTIONS = {"EXP": np.exp, "LOG": np.log, "TANH": np.tanh}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_some_numbers_are_within_4_units_in_the_last_place(name: str) -> None:
    some = np.random.default_rng(0).integers(0, 2**32, 2**16, dtype=np.uint32)
    near = np.array([0, -0.0, 1, -1, 0.625, -0.625, 2**-126, 2**-149, np.inf, -np.inf, np.nan], F).view(np.uint32)
    check_function(name, np.concatenate([some, *(near + np.uint32(d) for d in (0, 1, 2**32 - 1))]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("EXP", 4), ("LOG", 16), ("TANH", 16)])  # all of one take four minutes
def test_functions_of_many_numbers_are_within_4_units_in_the_last_place(name: str, every: int) -> None:
    for start in range(0, 2**32, every * 2**23):  # in pieces that take 300 MB
        check_function(name, np.arange(start, start + every * 2**23, every, dtype=np.uint64).astype(np.uint32))


def check_function(name: str, bits: Any) -> None:
    x = bits.view(F)
    loop = f"    for (long i = 0; i < *(long *)p[2]; i++)\n        y[i] = {name}(x[i]);"
    text = f"void all(void **p) {{\n    const float *x = p[0];\n    float *y = p[1];\n{loop}\n}}\n"
    library = native.load(PRELUDE + text)
    y = np.empty_like(x)
    library.all(native.pointers(x, y, np.array(x.size)))
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.float64))
        rounded = exact.astype(F)
    assert np.array_equal(np.isnan(y), np.isnan(exact))
    finite = np.isfinite(rounded)
    unit = np.maximum(np.spacing(np.abs(rounded[finite])), np.finfo(F).smallest_subnormal).astype(np.float64)
    assert (np.abs(y[finite].astype(np.float64) - exact[finite]) / unit).max(initial=0) <= 4
    assert np.array_equal(y[np.isinf(rounded)], rounded[np.isinf(rounded)])
    assert np.array_equal(np.signbit(y[rounded == 0]), np.signbit(rounded[rounded == 0]))


# --- memory that is shared ---


def agrees_with_numpy(make: Callable[[], tuple[Any, Any]], arguments: Any = lambda left: ()) -> None:
    """Some calls in C leave and return what those of NumPy do; and there is C. `make` returns a step and a Tensor."""
    courses = []
    for backend in ("numpy", "c"):
        step, left = make()
        compiled: Compiled = compile(step, backend=backend, audit=10**6)
        course = []
        for _ in range(5):
            results = compiled(*arguments(left))
            course += [values(t).copy() for t in (*results, left)]
        courses.append(course)
        assert compiled.replays == 2
    assert in_c(compiled)
    for a, b in zip(*courses, strict=True):
        close(b, a)


def square() -> Any:
    return np.arange(16, dtype=F).reshape(4, 4) / 16


@pytest.mark.parametrize("view", [lambda w: w.T, lambda w: w[::-1], lambda w: w[:1]])
def test_what_is_written_is_not_read_at_another_element(view: Any) -> None:
    class Own(optim.SGD):
        def change(self, p: Any, gradient: Any, state: Any, options: Any) -> Any:
            return view(p)

    def update() -> Any:
        w = Tensor(square(), requires_grad=True)
        optimizer = Own([w], lr=1.0)

        def step() -> Any:
            loss = (tg.exp(w) * 2 + 1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return (loss,)

        return step, w

    def assignment() -> Any:
        b = nn.Buffer(square())

        def step() -> Any:
            y = tg.exp(b) * 2
            b.assign(tg.broadcast_to(view(b), (4, 4)))
            z = tg.tanh(b * y) + 1
            b.assign(z - view(b))
            return z * 2 + b, y

        return step, b

    agrees_with_numpy(update)
    agrees_with_numpy(assignment)


def test_tensors_and_arguments_may_be_views_of_parameters() -> None:
    def make() -> Any:
        w = Tensor(square(), requires_grad=True)
        transposed, other = w.detach().T, Tensor(w.data[::-1])
        optimizer = optim.SGD([w], lr=0.5)

        def step(x: Any = other) -> Any:
            loss = (w * w).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return transposed * 2 + other, tg.exp(x) * 2 + x

        return step, w

    agrees_with_numpy(make)
    agrees_with_numpy(make, lambda w: (w.data[:],))


@pytest.mark.parametrize("name", ["weight", "velocity"])
def test_what_is_laid_out_in_another_way_is_read_as_it_lies(name: str) -> None:
    """Where elements lie is part of the text: another program reads them, or they are put back into their order."""
    courses = []
    for backend in ("eager", "c"):
        w = Tensor(square(), requires_grad=True)
        optimizer = optim.Momentum([w], lr=0.5, momentum=0.5)
        step: Compiled = compile(descent(optimizer, lambda x, w=w: (w * w * x).sum()), backend=backend)
        for _ in range(8):
            step(square())
        if name == "weight":
            w.data = np.asfortranarray(w.data)
        else:
            optimizer.state[w][name] = np.asfortranarray(optimizer.state[w][name])
        before = step.replays
        for _ in range(8):
            step(square())
        courses.append(w.data)
    assert step.replays - before >= 4
    assert in_c(step)
    close(courses[1], courses[0])


def test_variables_of_a_loop_have_no_memory(said: pytest.LogCaptureFixture) -> None:
    @compile(backend="c")
    def step(x: Tensor) -> Tensor:
        loose = tg.exp(x) * 2
        kept = loose + 1
        return kept @ kept.T + loose.sum()

    x = np.linspace(-1, 1, 9, dtype=F).reshape(3, 3)
    expected = [step.step(x) for _ in range(5)]
    for found, other in zip([step(x) for _ in range(5)], expected, strict=True):
        close(values(found), values(other))
    assert step.replays
    assert in_c(step)
    assert not said.messages
    made = re.findall(r"^(\w+) = ndarray\(\(3, 3\)", step.source, re.MULTILINE)
    assert "exp_1" not in made, "a variable"
    assert {"mul", "add_1"} <= set(made), "what a sum and a product read"


def test_memory_that_c_takes_to_be_aligned_is() -> None:
    packed = np.ones((3, 3), [("a", F), ("b", np.uint8)])["a"]
    odd = np.ones(37, np.uint8)[1:].view(F).reshape(3, 3)
    odd[...] = 2

    def make() -> Any:
        v, w = Tensor(packed), Tensor(odd)
        assert v.data.strides == (15, 5)
        return (lambda x: (tg.exp(x @ v) * 2 + 1, tg.exp(w @ x) * 2 + 1, tg.exp(x) * 2 + x)), v

    agrees_with_numpy(make, lambda _: (square()[:3, :3],))


def test_what_is_written_twice_is_so_in_order() -> None:
    """Also if nobody reads it in between, or it is a number."""

    def make(shape: Any) -> Any:
        b = nn.Buffer(np.full(shape, 0.5, F))

        def step() -> Any:
            b.assign(b * 2 + 1)
            b.assign(b - 3)
            y = b * b
            b.assign(y)
            b.assign(y + 1)
            return b * 3 + y, y

        return step, b

    agrees_with_numpy(lambda: make(()))
    agrees_with_numpy(lambda: make((3,)))


@pytest.mark.parametrize("n", [1, 4])
def test_a_row_whose_numbers_lie_apart_is_multiplied_with_a_column(n: int) -> None:
    row = Tensor(np.arange(12, dtype=F).reshape(4, 3)[:n, :1].T)
    assert row.data.strides[1] == 12
    step = lambda x: (tg.exp(x @ row) * 2 + 1,)  # noqa: E731
    agrees_with_numpy(lambda: (step, row), lambda _: (square()[:, :1] / 8,))


# --- values, names and texts ---


def test_truths_add_up_to_a_truth() -> None:
    """As a number it is 1: a truth of 2 would be equal to one of 1."""
    check_agrees(lambda x, y: (((x > 0) + (y > 0)) * ((x == x) + (x < y))).astype(F), [square(), square()])


@pytest.mark.parametrize("name", ["minimum", "maximum"])
def test_what_is_not_a_number_is_the_smaller_and_the_larger(name: str) -> None:
    x, y = np.array([[np.nan, 1, np.nan, 1, 2], [2, np.nan, np.nan, 2, 1]], F)
    compiled = check_agrees(lambda x, y: getattr(tg, name)(x * 1, y * 1) * 2, [x, y])
    assert in_c(compiled)


def test_what_is_equal_differs_by_nothing() -> None:
    x = np.random.default_rng(0).random((5, 9), dtype=F)

    def step(x: Any, y: Any) -> Any:
        return tg.sqrt(x * x - y * y), x * y - x * y

    agrees_with_numpy(lambda: (step, Tensor(x)), lambda _: (x, x.copy()))


def test_zeros_of_either_sign_are_equal(said: pytest.LogCaptureFixture) -> None:
    x = np.array([[-0.0, 0, -0.0, 0, 0], [-0.0] * 5], F)
    compiled: Compiled = compile(
        lambda x, y: [tg.maximum(x, y) * 1, tg.minimum(y, x) * 1, (x * 1).sum(), (x * 1).sum(0), (x * 1).sum(1)],
        backend="c",
        audit=1,
    )
    for _ in range(4):
        signs = [np.signbit(values(t)).any() for t in compiled(x, x[::-1].copy())[2:]]
    assert not any(signs)
    assert (compiled.audits, in_c(compiled)) == (3, 1)
    assert not said.records


NAMES = ["c", "p", "i", "table", "piece", "exp", "sqrtf", "M_PI", "EXP", "linux", "NAN", "float", "v0", "w0"]


def test_names_may_be_any(said: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        tensors = [Tensor(np.full(4, n, F), name=name) for n, name in enumerate([*NAMES, "é", "ö", "ж", "product_1"])]

        def step(ü: Any) -> Any:
            for t in tensors:
                ü = tg.sqrt(tg.exp(t * ü * 0.01) + abs(t)) + 0 * tg.maximum(t, 1e38)
            return (ü,)

        return step, tensors[0]

    agrees_with_numpy(make, lambda _: (np.ones(4, F),))
    assert not said.records


def test_lines_of_any_kind_become_comments(said: pytest.LogCaptureFixture) -> None:
    # fmt: off
    def step(x: Any) -> Any:
        y = tg.exp(x) * 2 + 1; """ a text */ """  # noqa: E702
        z = y * """x*/""".count("x") + y  # */ \ """ ??/ é \
        return (z,)
    # fmt: on

    agrees_with_numpy(lambda: (step, Tensor(square())), lambda _: (square(),))
    assert not said.records


# --- training ---


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("{x} / (1 + ABS({x}))", ""),
        ("{x}", r"squash: its form in C '\{x\}' gives -4.0 for -4.0, and the forward function -0.8, in float32; NumPy"),
        ("{x} +", r"squash: its form in C '\{x\} \+' is not compiled: .*error.*; NumPy computes it"),
    ],
)
def test_the_form_of_an_own_op_is_used_once_it_agrees(
    form: str, says: str, table: Any, said: pytest.LogCaptureFixture
) -> None:
    squash = tg.unary("squash", lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + abs(x)) ** 2, c=form)
    results = {}
    for backend in ("c", "eager"):
        w = Tensor(np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4), requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)

        def step(x: Tensor, w: Tensor = w, optimizer: Any = optimizer) -> Tensor:
            cost = (squash(w * x) + squash(w.sum(1, keepdims=True))).sum()
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            return cost

        compiled = compile(step, backend=backend)
        costs = np.array([compiled(np.full((3, 4), k, np.float32)).item() for k in range(9)])
        results[backend] = costs, w.numpy()
        if backend == "c":
            assert compiled.replays == 5
            assert ("forward_squash(" in compiled.source) is bool(says)
            assert ("const float squash_ =" in compiled.source) is not bool(says)
    for found, expected in zip(*results.values(), strict=True):
        close(found, expected)
    assert [bool(re.search(says, message)) for message in said.messages] == [True] * bool(says)


def test_without_a_compiler_no_form_is_to_blame(
    table: Any, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> Any:
        raise native.NativeError("there is no C compiler")

    monkeypatch.setattr(native, "compiler", absent)
    cubed = tg.unary("cubed", lambda x: x**3, lambda g, out, x: g * 3 * x**2, c="{x} * {x} * {x}")
    step = compile(lambda x: (cubed(x) + cubed(2 * x)).sum(), backend="c")
    x = np.ones(3, F)
    assert [step(x).item() for _ in range(5)] == [27.0] * 5
    assert step.replays == 2
    assert [message.partition(":")[0] for message in said.messages] == ["compile"]
    assert "uses NumPy in place of C: there is no C compiler" in said.messages[0]


def network(make: Any, cost: Any, sizes: tuple[int, ...] = (20, 15, 10), activation: Any = tg.sigmoid) -> Any:
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, rng=rng), activation]
    model = nn.Sequential(*layers[:-1]) if cost is losses.softmax_cross_entropy else nn.Sequential(*layers)
    optimizer = make(model.parameters())
    return training_step(model, optimizer, cost), model, optimizer


def batch(k: int, n: int = 10) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    return rng.random((n, 20), dtype=F), np.eye(10, dtype=F)[rng.integers(0, 10, n)]


MAKES: dict[str, Any] = {
    "SGD": lambda p: optim.SGD(p, lr=0.5),
    "decay": lambda p: optim.SGD(p, lr=0.5, weight_decay=0.01),
    "Momentum": lambda p: optim.Momentum(p, lr=0.1),
    "Nesterov": lambda p: optim.Nesterov(p, lr=0.1, momentum=0.5),
    "Adam": lambda p: Adam(p, lr=0.01),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("cost", [losses.quadratic_cost, losses.cross_entropy_cost, losses.softmax_cross_entropy])
def test_a_thousand_steps_agree(make: str, cost: Any, said: pytest.LogCaptureFixture) -> None:
    courses = []
    for backend in ("numpy", "c"):
        step, model, _ = network(MAKES[make], cost)
        compiled: Compiled = compile(step, backend=backend)
        for k in range(1000):
            compiled(*batch(k % 50, 10 if k % 50 else 3))
        courses.append([values(p).copy() for p in model.parameters()])
        assert compiled.replays > 950
    assert in_c(compiled) >= 2
    for a, b in zip(*courses, strict=True):
        assert np.abs(a - b).max() / np.abs(a).max() < (1e-5 if make != "Adam" else 1e-3)  # which divides by rounding
    assert not said.records


def test_saturated_sigmoids_stay_finite(said: pytest.LogCaptureFixture) -> None:
    step, model, _ = network(lambda p: optim.SGD(p, lr=100.0), losses.quadratic_cost)
    compiled: Compiled = compile(step, backend="c", audit=1)
    for k in range(60):
        assert np.isfinite(compiled(*batch(k)).item())
    assert all(np.isfinite(values(p)).all() for p in model.parameters())
    assert compiled.audits == 59
    assert not said.records


@pytest.mark.parametrize("make", ["SGD", "Nesterov"])
def test_a_training_that_is_stopped_and_resumed_has_the_bits_of_one_that_is_not(make: str) -> None:
    """Recordings, audits and last batches of another size keep the program's own results."""

    def train(stops: set[int], audit: int) -> Any:
        step, model, optimizer = network(MAKES[make], losses.quadratic_cost)
        compiled: Compiled = compile(step, backend="c", audit=audit)
        costs = []
        for k in range(24):
            if k in stops:
                states = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
                step, model, optimizer = network(MAKES[make], losses.quadratic_cost)
                model.load_state_dict(states[0])
                optimizer.load_state_dict(states[1])
                compiled = compile(step, backend="c", audit=audit)
            costs.append(values(compiled(*batch(k, 10 if k % 4 != 3 else 3))).tobytes())
        assert in_c(compiled)
        return costs, [values(p).tobytes() for p in model.parameters()]

    through = train(set(), 1000)
    assert train({5, 8, 17}, 1000) == through
    assert train(set(), 1) == through


def test_dropout_draws_the_same_numbers_whoever_computes() -> None:
    def train(backend: str) -> Any:
        dropout = nn.Dropout(0.5, rng=np.random.default_rng(3))
        step, _, _ = network(MAKES["SGD"], losses.quadratic_cost, activation=lambda x: dropout(tg.sigmoid(x)))
        compiled: Compiled = compile(step, backend=backend)
        costs = [compiled(*batch(k)).item() for k in range(12)]
        assert compiled.replays > 5
        return costs, str(dropout.rng.bit_generator.state)

    (a, chance), (b, other) = train("numpy"), train("c")
    assert chance == other
    np.testing.assert_allclose(a, b, rtol=1e-5)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(seed=st.integers(0, 2**32))
def check_random_training(seed: int) -> None:
    with np.errstate(all="ignore"):
        _, steps = random_training.run(seed, lambda step: compile(step, backend="c", audit=1))
    assert all(step.replays == 0 for step in steps)  # each call is audited, or recorded
    audited.append(sum(step.audits for step in steps))
    pieces.append(sum(map(in_c, steps)))


audited: list[int] = []
pieces: list[int] = []


@pytest.mark.slow
def test_each_step_of_random_trainings_agrees(said: pytest.LogCaptureFixture) -> None:
    """Whatever happens between the calls; single steps from one state, as ties and chaos make courses part."""
    check_random_training()
    assert not [r.getMessage() for r in said.records]
    assert sum(audited) > 10 * len(audited)
    assert all(pieces)


# --- the compiler ---


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, and no compiler known yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Let native.py know no more than a new process."""
    native.tried.cache_clear()
    native._load.cache_clear()
    native._tidy.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("kind", ["none", "fails", "hangs", "without headers", "silent"])
def test_without_a_compiler_numpy_computes_and_one_line_says_so(
    kind: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    bodies = {
        "fails": "echo out of order >&2; exit 1",
        "hangs": "exec sleep 60",
        "without headers": 'test "$1" = --version && echo cc 1.0 && exit; echo "math.h: error: not found" >&2; exit 1',
        "silent": "exit 0",
    }
    monkeypatch.setenv("CC", script(elsewhere / "cc", bodies[kind]) if kind != "none" else "/nowhere/cc")
    monkeypatch.setattr(native, "TIMEOUT", 0.5)
    step, _, _ = network(MAKES["SGD"], losses.quadratic_cost)
    plain, _, _ = network(MAKES["SGD"], losses.quadratic_cost)
    compiled: Compiled = compile(step, backend="c")
    for k in range(6):
        assert values(compiled(*batch(k))).tobytes() == values(plain(*map(Tensor, batch(k)))).tobytes()
    assert compiled.replays == 3
    assert len(said.messages) == 1
    assert "uses NumPy in place of C: no C compiler works here (" in said.messages[0]
    assert "\n" not in said.messages[0]


def test_what_was_compiled_is_found_again(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "int two(void) { return 2; }\n"
    assert native.load(text).two() == 2
    directory = native.cache_directory()
    assert directory == elsewhere / "cache" / "tinygrad_mnist"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    made = {path.name for path in directory.iterdir()}
    assert len(made) == 2  # the probe is one
    forget()
    monkeypatch.setattr(native, "_compile", None)
    assert native.load(text).two() == 2
    assert {path.name for path in directory.iterdir()} == made


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_what_was_cut_off_is_compiled_again(size: int, elsewhere: Path) -> None:
    text = "int two(void) { return 2; }\n"
    native.load(text)
    made = sorted(native.cache_directory().iterdir())
    for path in made:
        whole = path.read_bytes()
        path.unlink()  # what is loaded would change under this process
        path.write_bytes(whole[:size])
    forget()
    assert native.load(text).two() == 2
    assert sorted(native.cache_directory().iterdir()) == made


def test_without_a_place_of_the_users_own_a_temporary_one_serves(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "cache").write_text("a file")
    assert native.load("int two(void) { return 2; }\n").two() == 2
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", raiser(RuntimeError("Could not determine home directory.")))
    assert native.cache_directory() == native._temporary()


def test_where_nothing_may_be_executed_or_written_is_no_place(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = native.cache_directory()
    real = native.ctypes.CDLL

    def refused(path: str) -> Any:
        if str(directory) in path:
            raise OSError("failed to map segment from shared object")
        return real(path)

    monkeypatch.setattr(native.ctypes, "CDLL", refused)
    assert native.load("int two(void) { return 2; }\n").two() == 2
    monkeypatch.setattr(native, "_compile", raiser(OSError("No space left on device")))
    with pytest.raises(native.NativeError, match="No space left"):
        native.load("int three(void) { return 3; }\n")


def test_a_cache_without_room_is_no_place_either(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    full = f'case "$*" in *{elsewhere}/cache/*) echo "error: No space left on device" >&2; exit 1;; esac'
    monkeypatch.setenv("CC", script(elsewhere / "wrapped", f'{full}\nexec {shlex.join(native._commands()[0])} "$@"'))
    assert native.load("int two(void) { return 2; }\n").two() == 2
    monkeypatch.setattr(native, "_temporary", raiser(OSError("No space left on device")))
    step, _, _ = network(MAKES["SGD"], losses.quadratic_cost)
    compiled: Compiled = compile(step, backend="c")
    for k in range(3):
        compiled(*batch(k))
    assert compiled.replays
    assert not in_c(compiled)
    assert "uses NumPy in place of C: " in said.messages[0]
    assert "No space left on device" in said.messages[0]


def test_a_program_is_compiled_once(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = elsewhere / "told"
    monkeypatch.setenv(
        "CC", script(elsewhere / "wrapped", f'echo "$$" >> {told}\nexec {shlex.join(native._commands()[0])} "$@"')
    )
    step, _, _ = network(MAKES["SGD"], losses.quadratic_cost)
    compiled: Compiled = compile(step, backend="c")
    for k in range(3):
        compiled(*batch(k))
    assert compiled.replays
    assert in_c(compiled)
    assert len(told.read_text().split()) == 2  # the probe, and the program, which is made and bound


def test_what_nobody_uses_is_removed_from_the_cache(elsewhere: Path) -> None:
    native.load("int two(void) { return 2; }\n")
    directory = native.cache_directory()
    used = {path.name for path in directory.iterdir()}
    (directory / "new.so").touch()
    (directory / "tmpnew").mkdir()
    (directory / "old.so").touch()
    (directory / "tmpold").mkdir()
    (directory / "tmpold" / "step.c").touch()
    for path in directory.iterdir():
        if "new" not in path.name:
            os.utime(path, (0, 0))
    forget()
    assert native.load("int two(void) { return 2; }\n").two() == 2  # and so it is used, the probe too
    native.load("int three(void) { return 3; }\n")
    now = {path.name for path in directory.iterdir()}
    assert used < now
    assert now & {"new.so", "tmpnew", "old.so", "tmpold"} == {"new.so", "tmpnew"}


def test_a_process_looks_once_for_what_nobody_uses(elsewhere: Path) -> None:
    """To look at each of some thousand files takes as long as to compile one."""
    native.load("int two(void) { return 2; }\n")
    old = native.cache_directory() / "old.so"
    old.touch()
    os.utime(old, (0, 0))
    native.load("int three(void) { return 3; }\n")
    assert old.exists()


@pytest.mark.parametrize("cache", ["relative", "", "a file"])
def test_a_process_leaves_no_warning_and_no_directory(cache: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "for a while").mkdir()
    directory = str(tmp_path / cache) if cache == "a file" else cache
    named = {"XDG_CACHE_HOME": directory, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "for a while")}
    named["PYTHONPATH"] = str(ROOT)
    program = "from tinygrad_mnist import native; print(native.load('int two(void) { return 2; }').two())"
    line = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(line, cwd=tmp_path, env={**os.environ, **named}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    assert not list((tmp_path / "for a while").iterdir())
    assert not (tmp_path / "relative").exists()
    assert (tmp_path / "home").exists() == (cache != "a file")


def test_a_compiler_that_cannot_be_read_is_told(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", 'gcc "-O1')
    with pytest.raises(native.NativeError, match=r"^CC: No closing quotation$"):
        native.compiler()


def test_a_compiler_that_writes_nothing_is_told(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", script(elsewhere / "cc", "exit 0"))
    with pytest.raises(native.NativeError, match=r"cc: ended without an error, and wrote no library\)"):
        native.compiler()


def raiser(error: Exception) -> Callable[..., Any]:
    def raising(*args: Any) -> Any:
        raise error

    return raising


def test_what_others_could_write_is_not_loaded(elsewhere: Path) -> None:
    text = "int two(void) { return 2; }\n"
    native.load(text)
    directory = native.cache_directory()
    for path in directory.iterdir():
        path.chmod(0o722)
        assert not native._is_mine(path)
    directory.chmod(0o777)
    assert native.cache_directory() != directory
    forget()
    assert native.load(text).two() == 2


def test_a_text_that_is_refused_is_told_in_one_line() -> None:
    with pytest.raises(native.NativeError, match="error") as caught:
        native.load("int two(void) { return nothing; }\n")
    assert "\n" not in str(caught.value)


def c_of(compiled: Compiled) -> str:
    """The C text of a program."""
    text: str = compiled._variants[0].text.c  # type: ignore[attr-defined]
    assert text in compiled.source
    assert "void piece" in text
    return text


def test_the_text_gives_no_warning(tmp_path: Path) -> None:
    step, _, _ = network(MAKES["Nesterov"], losses.softmax_cross_entropy, activation=tg.relu)
    compiled: Compiled = compile(step, backend="c")
    compiled(*batch(0)), compiled(*batch(1))
    (tmp_path / "step.c").write_text(c_of(compiled))
    strict = ["-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "step.c", "-o", "step.so", "-lm"]
    done = subprocess.run(
        [*native.compiler().command, *strict], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_programs_run_clean_under_sanitizers(tmp_path: Path) -> None:
    """As programs of their own, with the arrays of their tables in memory of exactly their size."""
    for make, activation in [("SGD", tg.sigmoid), ("Adam", tg.relu), ("Nesterov", tg.tanh)]:
        step, _, _ = network(MAKES[make], losses.quadratic_cost, activation=activation)
        compiled: Compiled = compile(step, backend="c")
        for k in range(3):
            compiled(*batch(k))
        binding = compiled._variants[0].binding
        assert binding is not None
        run = []
        for table, names in re.findall(r"^(table\w*) = pointers\((.*)\)$", compiled.source, re.MULTILINE):
            arrays = [binding.step.__globals__[name] for name in names.split(", ")]
            fill = "".join(f"        p[{i}] = calloc(1, {array.nbytes});\n" for i, array in enumerate(arrays))
            call = f"        {table.replace('table', 'piece')}(p);\n"
            run.append(f"    {{\n        void *p[{len(arrays)}];\n{fill}{call}    }}\n")
        assert run
        main = f"int main(void) {{\n{''.join(run)}    return 0;\n}}\n"
        (tmp_path / "step.c").write_text(f"#include <stdlib.h>\n{c_of(compiled)}\n{main}")
        flags = [flag for flag in native.compiler().command if flag not in ("-shared", "-fPIC")]
        checks = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "step.c", "-o", "run", "-lm"]
        subprocess.run([*flags, *checks], cwd=tmp_path, check=True)
        leaks = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
        done = subprocess.run([str(tmp_path / "run")], env=leaks, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_forked_and_spawned_processes_compile_too(elsewhere: Path) -> None:
    program = (
        "import numpy as np, sys\nfrom tinygrad_mnist import compile, exp\n"
        "step = compile(lambda x: exp(x) * 2 + x, backend='c')\n"
        "x = np.ones(5, np.float32)\n"
        "print([step(x).numpy().tobytes().hex() for _ in range(3)][-1], step.source.count('void piece'))\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {run.communicate()[0] for run in runs}
    assert len(told) == 1
    assert told.pop().endswith(" 1\n")
    assert not list((elsewhere / "cache" / "tinygrad_mnist").glob("tmp*"))


@pytest.mark.parametrize("backend", ["C", "", None, "jit"])
def test_another_back_end_is_refused(backend: Any) -> None:
    with pytest.raises(ValueError, match="compile: expected a backend of numpy, c, eager, got"):
        compile(lambda x: x, backend=backend)


def test_eager_is_a_back_end_too(said: pytest.LogCaptureFixture) -> None:
    compiled: Compiled = compile(lambda x: x * 2, backend="eager")
    for _ in range(5):
        assert compiled(np.ones(2, F)).data.tolist() == [2, 2]
    assert (compiled.calls, compiled.replays) == (5, 0)
    assert not said.records
    assert compiled.source == "# <lambda>: runs eagerly, as it was asked to\n"
