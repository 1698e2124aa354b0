"""The checker can fail: every rule of the table is corrupted in many ways, and every corruption is caught.

A mutant is one rule of one op made wrong in one way. It is planted in the table, and the property that all ops have
(`testing.check`) is tried at its default settings until it fails. A mutant is left out only where it provably changes
nothing; the proofs are computed for every rule, not listed.
"""

import contextlib
import functools
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import OPS, Tensor
from tinygrad_mnist.op import Each
from tinygrad_mnist.testing import check

from .helpers import cases

DIFFERENTIABLE = [op for op in OPS.values() if op.differentiable]
PARTS = 8  # that several processors can hunt in


def slots(op):
    """The positions of the rules that can be corrupted: for `Each`, one rule stands for all positions."""
    return [0] if isinstance(op.rules, Each) else [i for i, rule in enumerate(op.rules) if rule is not None]


def rule_of(op, slot):
    return op.rules.rule if isinstance(op.rules, Each) else op.rules[slot]


@contextlib.contextmanager
def planted(op, slot, rule):
    """Put a rule into the table, for a while."""
    rules = op.rules
    corrupted = Each(rule) if isinstance(rules, Each) else (*rules[:slot], rule, *rules[slot + 1 :])
    object.__setattr__(op, "rules", corrupted)
    try:
        yield
    finally:
        object.__setattr__(op, "rules", rules)


# --- ways to be wrong -------------------------------------------------------------------------------------------------
# A mutator takes a rule and returns it corrupted; as every rule, it works on arrays and on Tensors.


def result(change):
    """What the rule returns is changed, knowing the input x that it is the gradient of."""

    def mutator(rule, slot):
        def mutant(g, out, *inputs, **params):
            return change(rule(g, out, *inputs, **params), inputs[params.get("position", slot)])

        return mutant

    return mutator


def off_by_one_entry(r, x):
    bump = np.zeros(r.shape, r.dtype)
    bump.flat[-1:] = 0.01
    return r + bump


def rolled(r, x):
    return r.reshape(-1)[np.roll(np.arange(r.size), 1)].reshape(r.shape)


def stretched(r, x):
    """The axes along which broadcasting repeated x."""
    new = r.ndim - x.ndim
    return [*range(new), *(new + i for i in range(x.ndim) if x.shape[i] != r.shape[new + i])]


def not_summed(r, x):
    axes = stretched(r, x)
    return r[tuple(slice(0, 1) if i in axes else slice(None) for i in range(r.ndim))].reshape(x.shape) if axes else r


def averaged(r, x):
    axes = tuple(stretched(r, x))
    return r.mean(axes, keepdims=True).reshape(x.shape) if axes and r.size else r


def in_float32(r, x):
    return r.astype(np.float32).astype(np.float64) if r.dtype == np.float64 else r


def scribbling(rule, slot):
    def mutant(g, out, *inputs, **params):
        r = rule(g, out, *inputs, **params) + 0
        if isinstance(g, np.ndarray):
            g[...] = 0
        return r

    return mutant


def argument(change, which):
    """One argument of the rule is changed before it sees it: "g", "out", or the input with a number."""

    def mutator(rule, slot):
        def mutant(g, out, *inputs, **params):
            given: dict[Any, Any] = {"g": g, "out": out, **dict(enumerate(inputs))}
            if isinstance(given.get(which), np.ndarray | Tensor) and given[which].dtype.kind == "f":
                given[which] = change(given[which])
            return rule(*given.values(), **params)

        return mutant

    return mutator


def ones(x):
    return Tensor(np.ones(x.shape, x.dtype)) if isinstance(x, Tensor) else np.ones(x.shape, x.dtype)


def nans(x):
    return ones(x) * np.nan


def detached(x):
    return x.detach() if isinstance(x, Tensor) else x


def swapped(other):
    return lambda rule, slot: other


def mutants(op, slot):
    """Yield (name, corrupted rule, why it would be no different from the rule)."""
    rule = rule_of(op, slot)
    for name, change in {
        "sign": lambda r, x: -r,
        "twice": lambda r, x: 2 * r,
        "a tenth of a percent": lambda r, x: 1.001 * r,
        "zero": lambda r, x: 0 * r,
        "a constant more": lambda r, x: r + 0.01,
        "one entry off": off_by_one_entry,
        "entries moved by one": rolled,
        "transposed": lambda r, x: r.transpose().reshape(r.shape),
        "single precision": in_float32,
    }.items():
        yield name, result(change)(rule, slot), None
    yield "writes into g", scribbling(rule, slot), None
    yield "g detached", argument(detached, "g")(rule, slot), None
    for name, change in {"not summed over stretched axes": not_summed, "mean over stretched axes": averaged}.items():
        yield name, result(change)(rule, slot), None if broadcasts(op, slot) else "its input is never stretched"
    for which in ("out", 0, 1, 2):
        unread = None if reads(op, slot, which) else f"it does not read {which}"
        smooth = None if records(op, slot, which) else f"its graph does not lead to {which}"
        if which == "out":
            yield "stale out", argument(lambda out: -3 * out, which)(rule, slot), unread
        else:
            yield f"input {which} dropped", argument(ones, which)(rule, slot), unread
        yield f"{which} detached", argument(detached, which)(rule, slot), smooth
    for other in slots(op):
        if other != slot:
            same = rule_of(op, other).__code__.co_code == rule.__code__.co_code
            yield f"rule of input {other}", rule_of(op, other), "it is the same rule" if same else None


# --- proofs that a mutant changes nothing -----------------------------------------------------------------------------


@functools.cache
def applications(op, slot):
    """All that the rule is applied to in the cases: g, the result, and the parameters of the rule."""
    found = []
    for case in (case for case in cases(op.name) if case.places):
        result = case(*(Tensor(case.args[i], requires_grad=True) for i in case.places))
        out = next(t for t in (result, *result.inputs) if isinstance(t, Tensor) and t.op is op)
        for i in case.places:
            if isinstance(op.rules, Each) or i == slot:
                extra = {"position": i} if isinstance(op.rules, Each) else {}
                found.append((np.linspace(0.75, 1.25, out.size).reshape(out.shape), out, {**out.params, **extra}))
    return found


def arrays_of(out):
    return [x.data if isinstance(x, Tensor) else x for x in out.inputs]


def reads(op, slot, which):
    """Whether the rule returns something else when an argument is NaN."""
    rule = rule_of(op, slot)
    blind = argument(nans, which)(rule, slot)
    for g, out, params in applications(op, slot):
        try:
            with np.errstate(all="ignore"):
                true, other = (np.asarray(r(g, out.data, *arrays_of(out), **params)) for r in (rule, blind))
        except np.linalg.LinAlgError:  # the decomposition of NaN
            return True
        if true.tobytes() != other.tobytes():
            return True
    return False


def records(op, slot, which):
    """Whether the recorded rule has a graph that leads to an argument."""
    rule = rule_of(op, slot)
    for g, out, params in applications(op, slot):
        inputs = [Tensor(x) if isinstance(x, np.ndarray) else x for x in arrays_of(out)]
        given = dict(enumerate([Tensor(out.data), *inputs]))
        tensor = given.get(0 if which == "out" else which + 1)
        if isinstance(tensor, Tensor) and tensor.dtype.kind == "f":
            tensor.requires_grad = True
            recorded = rule(Tensor(g), *given.values(), **params)
            if isinstance(recorded, Tensor) and recorded.requires_grad:
                return True
    return False


def broadcasts(op, slot):
    rule = rule_of(op, slot)
    return any(
        stretched(np.asarray(rule(g, out.data, *arrays_of(out), **params)), out.inputs[params.get("position", slot)])
        for g, out, params in applications(op, slot)
    )


# --- the hunt ---------------------------------------------------------------------------------------------------------


def fails(case):
    """Whether the suite would notice: by its verdict, or because the rule breaks down in whatever way."""
    try:
        check(case)
    except Exception:
        return True
    return False


@functools.cache
def passes_uncorrupted(name, place):
    most, i = place
    return not fails(cases(name, most)[i])


def killer(op):
    """Return the first case that fails, of a few or, where none of them does, of many; by its number."""
    return next(((most, i) for most in (60, 400) for i, case in enumerate(cases(op.name, most)) if fails(case)), None)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_corrupted_rule_is_caught(part, capsys):
    planted_by_kind: Counter[str] = Counter()
    excused: Counter[str] = Counter()
    survivors, killers = [], set()
    for op in DIFFERENTIABLE[part::PARTS]:
        for slot in slots(op):
            for name, rule, excuse in mutants(op, slot):
                if excuse:
                    excused[excuse] += 1
                    continue
                planted_by_kind[name] += 1
                with planted(op, slot, rule):
                    i = killer(op)
                if i is None:
                    survivors.append(f"{op.name}, rule of input {slot}: {name}")
                else:
                    killers.add((op.name, i))
    total = planted_by_kind.total()
    with capsys.disabled():
        print(
            f"\n{total - len(survivors)} of {total} mutants killed; {excused.total()} more would have changed nothing"
        )
    assert not survivors
    assert total > 12 * len(DIFFERENTIABLE) // PARTS
    assert all(passes_uncorrupted(*killer) for killer in killers)


@pytest.mark.parametrize(
    "corrupted",
    [
        lambda part, shape, op: part.mean(range_of(part, shape), keepdims=True).reshape(shape),
        lambda part, shape, op: part[(0,) * (part.ndim - len(shape))][tuple(slice(0, n) for n in shape)],
        lambda part, shape, op: part.max(range_of(part, shape), keepdims=True).reshape(shape),
        lambda part, shape, op: part.sum(range_of(part, shape), keepdims=True).reshape(shape) * 0.999,
        lambda part, shape, op: part.sum(range_of(part, shape)[:1], keepdims=True).reshape(shape),
    ],
    ids=["mean", "first", "max", "factor", "one axis only"],
)
@pytest.mark.parametrize("name", ["add", "mul", pytest.param("matmul", marks=pytest.mark.slow), "where"])
def test_broadcasting_undone_in_a_wrong_way_is_caught(name, corrupted, monkeypatch):
    monkeypatch.setattr(sys.modules["tinygrad_mnist.backward"], "_unbroadcast", corrupted)
    assert killer(OPS[name]) is not None


def range_of(part, shape):
    """The axes to sum over."""
    new = part.ndim - len(shape)
    return (*range(new), *(new + i for i, n in enumerate(shape) if n != part.shape[new + i]))
