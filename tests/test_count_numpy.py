"""README's number of NumPy's functions that work on Tensors is counted."""

import re
from pathlib import Path

import numpy as np

from tinygrad_mnist import OPS

from .count_numpy import working, works

README = Path(__file__).parent.parent / "README.md"


def test_as_many_functions_of_numpy_work_as_readme_says():
    names = working()
    (said,) = re.findall(r"(\d+) of NumPy's functions work on Tensors", README.read_text(encoding="utf-8"))
    assert len(names) >= int(said) >= 100
    assert {"np.exp", "np.vstack", "np.einsum", "np.split", "np.linalg.norm", "np.bincount"} <= set(names)
    assert not {"np.linalg.cross", "np.absolute", "np.argmax", "np.sign", "np.linalg.eig", "np.fft"} & set(names)


def test_a_function_that_loses_its_op_is_counted_no_more():
    assert works(np.tanh)
    tanh = OPS.pop("tanh")
    try:
        assert not works(np.tanh)
    finally:
        OPS["tanh"] = tanh
