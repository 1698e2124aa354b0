"""replay/numpy_text.py: the text is what runs, from a file too, and nothing of the user's gets into it unescaped."""

from __future__ import annotations

import builtins
import enum
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, compile, losses, nn, op
from tinygrad_mnist.replay import Compiled
from tinygrad_mnist.tensor import values
from zoo.custom import Adam

F = np.float32
X = np.arange(1, 7, dtype=F).reshape(2, 3)


def replayed(step: Any, *args: Any, calls: int = 4) -> Any:
    """The last of some results, which is a replay's."""
    compiled: Compiled = compile(step)
    for _ in range(calls - 1):
        compiled(*args)
    replays = compiled.replays
    result = compiled(*args) if calls == 3 else (compiled(*args), compiled(*args))[1]
    assert compiled.replays > replays
    return result, compiled.source


def test_the_text_runs_from_a_file_and_gives_the_same_bits(tmp_path: Path) -> None:
    """Its memory below the function holds the parameters, which whoever runs it fills in."""
    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Linear(20, 6, rng=rng), nn.Sigmoid(), nn.Linear(6, 4, rng=rng))
    optimizer = Adam(network.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = losses.softmax_cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    compiled: Compiled = compile(step)
    x, y = rng.random((5, 20), dtype=F), np.eye(4, dtype=F)[[0, 1, 2, 3, 0]]
    for _ in range(5):
        compiled(x, y)
    arrays = {f"layers_{i}_{kind}": getattr(network.layers[i], kind) for i in (0, 2) for kind in ("weight", "bias")}
    held = {name: p.data.copy() for name, p in arrays.items()}
    for name, p in arrays.items():
        held |= {f"{kept}_{name}": array.copy() for kept, array in optimizer.state[p].items()}
    np.savez(tmp_path / "held.npz", x=x, y=y, **held)
    (tmp_path / "saved.py").write_text(compiled.source)
    (tmp_path / "run.py").write_text(
        "import inspect, numpy, saved\n"
        "held = numpy.load('held.npz')\n"
        "for name in held.files:\n"
        "    if name not in 'xy':\n"
        "        getattr(saved, name)[...] = held[name]\n"
        "numbers = {'lr': 0.01, 'beta1': 0.9, 'beta2': 0.999, 'eps': 1e-8}\n"
        "asked = list(inspect.signature(saved.step).parameters)[2:]\n"
        "loss = saved.step(held['x'], held['y'], *(numbers.get(name, 0.0) for name in asked))\n"
        "print(loss.tobytes().hex(), saved.layers_0_weight.tobytes().hex())\n"
    )
    run = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    replays = compiled.replays
    loss = compiled(x, y)
    assert compiled.replays == replays + 1
    weight = network.layers[0].weight  # type: ignore[attr-defined]
    assert run.stdout.split() == [values(loss).tobytes().hex(), weight.data.tobytes().hex()]


def test_the_program_comes_first_and_its_memory_after_it() -> None:
    _, source = replayed(lambda x: tg.exp(x @ x.T).sum(), X)
    lines = source.splitlines()
    assert lines[0].startswith("# <lambda>(x float32 (2, 3))")
    function = lines.index("def step(x):")
    assert all(not line.startswith(("memory", "exp", "matmul")) for line in lines[:function])
    assert any(line.startswith("memory = ") for line in lines[function:])
    assert source.count("def ") == 1


def layouts() -> list[Any]:
    base = np.arange(24, dtype=F)
    return [
        base.reshape(4, 6),
        base.reshape(4, 6).T,
        base.reshape(4, 6)[::2, ::-1],
        base.reshape(2, 3, 4).transpose(1, 2, 0),
        np.broadcast_to(base[:6], (4, 6)),
        base[:1].reshape(()),
        base[:0],
        base.astype(np.float64),
        base.astype(np.float16),
        base > 3,
        base.astype(np.int64),
    ]


@pytest.mark.parametrize("outside", range(len(layouts())))
def test_whatever_is_outside_the_step_the_text_can_be_run(outside: int) -> None:
    t, table = Tensor(layouts()[outside], name="t"), layouts()[outside]
    (a, b, c), source = replayed(lambda: (t * 2 + table, t.T * 1, Tensor(table).sum()))
    space: dict[str, Any] = {}
    exec(builtins.compile(source, "saved", "exec"), space)
    assert space["t"].shape == t.shape
    assert space["t"].strides == t.data.strides or 0 in t.data.strides or 0 in t.shape
    assert [values(x).tolist() for x in (a, b, c)] == [
        (layouts()[outside] * F(2) + table if t.dtype.kind == "f" else t.data * 2 + table).tolist(),
        (t.data.T * 1).tolist(),
        table.sum().tolist(),
    ]


# --- kernels are chosen by what they are ---


def test_an_op_called_like_one_of_ours_is_not_taken_for_it(table: Any) -> None:
    names = ("sum", "copy", "pow", "where", "transpose")
    tables: list[dict[Any, Any]] = [tg.OPS, op.FUNCTIONS, op.NUMPY]
    before, members = [dict(each) for each in tables], dict(vars(Tensor))
    try:
        for name in names:
            del tg.OPS[name]
        total = tg.unary("sum", lambda x: np.asarray(x.sum() * 100), lambda g, out, x: g * 100 + 0 * x, domain=None)
        copy = tg.unary("copy", lambda x: x + 1, lambda g, out, x: g)
        power = tg.binary("pow", lambda x, y: x + y, lambda g, out, x, y: g, lambda g, out, x, y: g)
        choice = tg.ternary("where", lambda c, x, y: x - y, None, None, None)
        turned = tg.unary("transpose", lambda x: x[::-1] * 1, None, domain=None)
        result, _ = replayed(lambda x: (total(x), copy(x), power(x, 2), choice(x > 2, x, 1.0), turned(x)), X)
        expected = (X.sum() * 100, X + 1, X + 2, X - 1, X[::-1])
        assert [values(t).tolist() for t in result] == [np.asarray(x).tolist() for x in expected]
    finally:
        for each, was in zip(tables, before, strict=True):
            each.clear()
            each.update(was)
        for name, member in members.items():
            if vars(Tensor)[name] is not member:
                setattr(Tensor, name, member)


def test_a_ufunc_called_like_one_of_numpys_is_called_as_it_is(table: Any) -> None:
    """np.clip is a function, and the ufunc of that name is another thing; _ones_like is no name of NumPy's."""
    umath: Any = importlib.import_module("numpy._core.umath")
    clip = tg.ternary("clip_in_a_test", umath.clip, None, None, None)
    ones = tg.unary("ones_in_a_test", umath._ones_like, None)
    (clipped, twos), source = replayed(lambda x: (clip(x, 2.0, 3.0), ones(x) * 2), X)
    assert values(clipped).tolist() == np.clip(X, 2, 3).tolist()
    assert values(twos).tolist() == np.full_like(X, 2).tolist()
    assert "forward_clip_in_a_test(x, " in source


# --- what the user has written ---


class Axis(enum.IntEnum):
    ROWS = 0


EVIL = "evil\nraise SystemExit('run')\n#'\"\\\x0c\x85\u2028raise SystemExit('run')"


def test_nothing_of_the_users_gets_into_the_text_unescaped(table: Any) -> None:
    space: dict[str, Any] = {"axis": Axis.ROWS}
    exec(builtins.compile("def total(x):\n    return x.sum(axis=axis) * 2\n", EVIL, "exec"), space)
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True, name=EVIL)
    double = tg.unary(EVIL, lambda x: x * 2, lambda g, out, x: g * 2)

    def step(x: Any) -> Any:
        return space["total"](x) * w + double(x).sum(Axis.ROWS)

    step.__name__ = EVIL
    result, source = replayed(step, X)
    assert values(result).tolist() == (X.sum(0) * 2 * [1, 2, 3] + (X * 2).sum(0)).tolist()
    exec(builtins.compile(source, "saved", "exec"), {})
    assert "\nraise" not in source
    assert all(c.isprintable() for line in source.split("\n") for c in line)


@pytest.mark.parametrize("name", ["a\nb", "π", "ﬁle", "class", "1st", "", "step", "float32", "memory", "x"])
def test_any_name_of_a_parameter_becomes_a_name(name: str) -> None:
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True, name=name)
    result, source = replayed(lambda x: tg.exp(x * w) - w, X)
    assert values(result).tolist() == (np.exp(X * w.data) - w.data).tolist()
    exec(builtins.compile(source, "saved", "exec"), {})


def test_a_step_of_several_programs_shows_them_all() -> None:
    compiled: Compiled = compile(lambda x: x * 2)
    for x in (X, X[:1], X.astype(np.float64)):
        for _ in range(3):
            compiled(x)
    assert compiled.source.count("def step(") == 3
    assert compiled.replays == 3
