"""The chain rule in a few lines, as backward.py's docstring tells it, against the driver that does the work."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, backward, grad
from tinygrad_mnist.backward import fitted
from tinygrad_mnist.testing import compositions


def told() -> Any:
    """The function in the docstring."""
    lines = (inspect.getdoc(backward) or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    def chain_rule"))
    text = textwrap.dedent("\n".join(lines[start:]))
    assert len(text.splitlines()) <= 15
    names: dict[str, Any] = {"np": np, "Tensor": Tensor, "fitted": fitted}
    exec(text, names)
    return names["chain_rule"]


@given(compositions(), st.booleans())
def test_the_chain_rule_as_told_gives_the_bits_of_the_real_one(composition, in_float32):
    arrays = [x.astype(np.float32) if in_float32 else x for x in composition.inputs]
    inputs = [Tensor(x, requires_grad=True) for x in arrays]
    output = composition(*inputs)
    if not output.requires_grad:
        return
    output = (output * output).sum()
    gradients = told()(output)
    for x, expected in zip(inputs, grad(output, inputs), strict=True):
        given_by_telling = gradients.get(x, np.zeros_like(x.data))
        assert (given_by_telling.dtype, given_by_telling.tobytes()) == (expected.dtype, expected.data.tobytes())


def test_the_chain_rule_of_a_leaf_is_1():
    x = Tensor([2.0], requires_grad=True)
    assert told()(x)[x].tolist() == grad(x, x).tolist() == [1]
