"""tracing.py: where Tensors were made, and the first NaN or infinity."""

import gc
import re
import threading
import weakref

import numpy as np
import pytest

from tinygrad_mnist import Tensor, exp, grad, log, nn, no_grad, sigmoid, sqrt
from tinygrad_mnist.mode import mode
from tinygrad_mnist.visualize.tracing import calls_around, detect_anomaly, trace

from .helpers import named


class Doubled(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2, rng=np.random.default_rng(0))

    def forward(self, x):
        return self.layer(x) * 2


class Tripled(Doubled):
    def forward(self, x):
        return super().forward(x) * 1.5


def test_an_origin_has_the_calls_of_modules_and_the_line_of_code():
    network = Doubled()
    with trace():
        y = network(np.ones((1, 2), np.float32))
    assert [call.module for call in y.origin.calls] == [network]
    assert [call.module for call in calls_around(y.inputs[0])] == [network, network.layer]
    assert str(y.origin).endswith("in forward: return self.layer(x) * 2")
    assert str(y.origin).startswith(f"{__file__}:")


def test_two_calls_are_two_and_a_call_of_super_is_none():
    network = Tripled()
    with trace():
        one, other = network(np.ones((1, 2))), network(np.ones((1, 2)))
    assert len(one.origin.calls) == 1
    assert one.origin.calls == one.inputs[0].origin.calls
    assert one.origin.calls != other.origin.calls


def test_outside_of_the_block_nothing_is_noted():
    network = Doubled()
    with trace():
        pass
    assert calls_around(network(np.ones((1, 2)))) == ()
    with pytest.raises(ZeroDivisionError), trace():
        1 / (mode.observer is None)
    assert mode.observer is None


def test_trace_keeps_nothing_alive():
    with trace():
        y = Doubled()(np.ones((1, 2)))
        watched = weakref.ref(y)
        del y
        Doubled()(np.ones((1, 2)))
        gc.collect()
        assert watched() is None


def test_trace_is_a_decorator_nests_and_holds_for_its_thread_alone():
    @trace()
    def compute():
        return sigmoid(named(1.0, "w"))

    assert "compute" in str(compute().origin)
    with trace(), detect_anomaly():
        y = Doubled()(np.ones((1, 2)))
        others = []
        thread = threading.Thread(target=lambda: others.append(sigmoid(named(1.0, "w"))))
        thread.start()
        thread.join()
    assert len(y.origin.calls) == 1
    assert not hasattr(others[0], "origin")


# --- detect_anomaly ---


def test_the_first_bad_value_of_the_forward_pass_is_refused_with_op_shapes_and_line():
    @detect_anomaly()
    def compute(x):
        y = sigmoid(x) + 1
        y = log(x)  # here
        return y * 2

    with pytest.raises(FloatingPointError) as error:
        compute(named([4.0, 0.0, -1.0], "x"))
    assert re.fullmatch(
        r"log gave -inf and nan in 2 of 3 values, from x \(3,\) float32; called at \S+test_tracing.py:\d+ "
        r"in compute: y = log\(x\)  # here",
        str(error.value),
    )
    assert mode.observer is None


def test_the_first_bad_gradient_of_the_backward_pass_is_refused():
    x = named([4.0, 0.0], "x")
    with detect_anomaly():
        y = sqrt(x)
        z = (y * 2).sum()
        with pytest.raises(FloatingPointError) as error:
            z.backward()
    assert re.fullmatch(
        r"backward through sqrt: the gradient of x became inf in 1 of 2 values, from x \(2,\) float32; "
        r"called at \S+:\d+ in test_\w+: y = sqrt\(x\)",
        str(error.value),
    )
    assert x.grad is None


def test_gradients_that_are_bad_from_the_start_or_in_a_sum_are_refused():
    x = named([1.0, 2.0], "x")
    with detect_anomaly():
        y = x * 2
    with pytest.raises(FloatingPointError, match=r"^the gradient of the result of mul became nan in 1 of 2 values"):
        y.backward(np.array([1.0, np.nan]))
    small = named(np.array([1e-3], np.float32), "small")
    with detect_anomaly():
        middle = small * 1.0
        y = (middle * 3e38 + middle * 3e38 * 0.9).sum()
    with (
        pytest.raises(FloatingPointError, match=r"^the gradient of the result of mul became inf"),
        np.errstate(all="ignore"),
    ):
        y.backward(gradient=np.array(1.0))


def test_bad_data_is_told_from_bad_arithmetic():
    with (
        pytest.raises(
            FloatingPointError, match=r"^add gave nan .*, from x \(2,\) float32 \(which was not finite already\) and 1;"
        ),
        detect_anomaly(),
    ):
        named([1.0, np.nan], "x") + 1


def test_it_sees_what_is_not_recorded_too():
    with detect_anomaly(), no_grad(), pytest.raises(FloatingPointError, match=r"^exp gave inf"):
        exp(named([1000.0], "x"))
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"^exp gave inf"):
        exp(Tensor([1000.0]))


def test_gradients_of_gradients_are_checked():
    x = named([0.0], "x")
    with detect_anomaly():
        slope = grad((x**1.5).sum(), x, create_graph=True)
        with pytest.raises(FloatingPointError, match=r"^backward through pow: the gradient of x became inf"):
            grad(slope.sum(), x)


def test_right_results_are_the_same_with_it():
    network = Doubled()
    x = np.ones((3, 2), np.float32)
    sigmoid(network(x)).sum().backward()
    expected = [np.array(p.grad) for p in network.parameters()]
    network.zero_grad()
    with detect_anomaly():
        loss = sigmoid(network(x)).sum()
        loss.backward()
    for p, g in zip(network.parameters(), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(p.grad), g)
    with pytest.raises(RuntimeError, match="freed"):
        loss.backward()


def test_a_sum_of_finite_gradients_that_overflows_is_found():
    x = Tensor([0.5], requires_grad=True, name="x")
    with detect_anomaly(), pytest.raises(FloatingPointError, match=r"the sum of the gradients of x became inf"):
        (x * 3e38 - x * -3e38).sum().backward()
