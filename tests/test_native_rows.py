"""The rows whose form in C is a function of libm: within a few ulp of NumPy's, and the same at special values."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import OPS, Tensor, compile
from tinygrad_mnist.replay.compiled import Compiled

from .helpers import needs_compiler

ROWS = [name for name, op in OPS.items() if "M_LIBM" in op.c or name in ("square", "reciprocal")]
SPECIAL = [0.0, -0.0, 1e-40, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 1e30, -1e30, np.inf, -np.inf, np.nan]


def test_there_are_rows():
    assert len(ROWS) == 29


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_numpys_within_a_few_ulp(dtype, caplog):
    """All of them in one program, of all pairs of special values and of others."""
    needs_compiler()
    rng = np.random.default_rng(5)
    pairs = np.array([(x, y) for x in SPECIAL for y in SPECIAL] + rng.uniform(-4, 4, (2000, 2)).tolist(), dtype)
    x, y = np.ascontiguousarray(pairs.T)

    def step(x: Any, y: Any) -> Any:
        x, y = x * 1, y * 1
        return tuple(OPS[name].function(*[x, y][: OPS[name].arity]) for name in ROWS)

    compiled: Compiled = compile(step, backend="c", audit=1000)
    with np.errstate(all="ignore"), caplog.at_level(logging.WARNING):
        expected = step(Tensor(x), Tensor(y))
        for _ in range(3):
            found = compiled(x, y)
    assert compiled.replays > 0
    assert compiled.source.count("M_LIBM") > len(ROWS) - 2
    assert not caplog.records
    for name, a, b in zip(ROWS, found, expected, strict=True):
        a, b = a.data, b.data
        finite = np.isfinite(b)
        assert np.array_equal(a[~finite], b[~finite], equal_nan=True), name
        apart = np.abs(a[finite] - b[finite]) / np.spacing(np.maximum(np.abs(b[finite]), np.finfo(dtype).tiny))
        assert apart.max() <= 4, (name, apart.max())
