"""Hypothesis profiles, and what several files share.

`ci` (the default) repeats the same cases; `explore` draws 2,000 new ones a property:

    pytest --hypothesis-profile=explore
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tinygrad_mnist import OPS
from tinygrad_mnist.op import Op
from tinygrad_mnist.testing.cases import own_operands

pytest.register_assert_rewrite("tests.helpers")  # so that its assertions show what they compared

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=50)
settings.register_profile(
    "explore", derandomize=False, deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")


@pytest.fixture
def table() -> Iterator[dict[str, Op]]:
    """The table of derivatives, out of which the ops of this test are taken again."""
    before = set(OPS)
    yield OPS
    for name in set(OPS) - before:
        del OPS[name]
        own_operands.pop(name, None)
