"""The backward driver: order, memory, freeing, changes in place, no_grad; by the names of what goes wrong elsewhere."""

from __future__ import annotations

import copy
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad, nn, no_grad, unary

from .helpers import FLOATS, constant, refused, variable


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the cyclic collector: what is still there has a reference cycle, or something that holds it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def counted() -> Iterator[Any]:
    """An op, y = 2 x, that counts how often its rule is called."""

    def rule(g: Any, out: Any, x: Any) -> Any:
        double.calls += 1
        return 2 * g

    double: Any = unary("counted_double", lambda x: 2 * x, rule)
    double.calls = 0
    yield double
    del OPS["counted_double"]


# --- order: every node once ---


def test_diamond_adds_both_paths():
    """Propagating before all uses have arrived gives too little, or the first path twice."""
    a = variable(1.0)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad.item() == 4


def test_uneven_diamond_waits_for_the_longer_path(counted):
    a = variable(3.0)
    b = counted(a)
    c = b
    for _ in range(5):
        c = counted(c)
    (b * c).backward()
    assert a.grad.item() == 2 * 2 * 64 * 3
    assert counted.calls == 6


@pytest.mark.parametrize("create_graph", [False, True])
def test_sixty_doublings_visit_sixty_nodes(counted, create_graph):
    """Enumerating paths instead of nodes would take 2 to the 60 steps."""
    x = y = variable(1.0)
    for _ in range(60):
        y = counted(y) / 2
        y = y + y
    y.backward(create_graph=create_graph)
    assert x.grad.item() == 2.0**60
    assert counted.calls == 60


def test_chain_of_100_000_runs_backward_visiting_each_node_once(counted):
    """A recursive driver ends in a RecursionError, and so would a recursive release of the graph."""
    x = y = variable([1.0, 2.0])
    for _ in range(50_000):
        y = counted(y) * 0.5
    y.sum().backward()
    assert_array_equal(x.grad.data, [1, 1])
    assert counted.calls == 50_000
    del y


def test_chain_of_100_000_without_backward_can_be_deleted(no_collector):
    x = y = variable(1.0)
    for _ in range(100_000):
        y = y * 1.0
    gone = weakref.ref(y)
    del y
    assert gone() is None
    assert x.grad is None


def test_chain_of_10_000_can_be_differentiated_twice():
    x = y = variable(1.0)
    for _ in range(10_000):
        y = y * 1.0
    assert grad(grad(y * y, x, create_graph=True), x).item() == 2


def test_wide_graph_of_many_uses_of_one_tensor():
    x = variable(1.0)
    sum(x * float(i) for i in range(2000)).backward()
    assert x.grad.item() == 1999 * 1000


def test_same_tensor_as_both_operands():
    x = variable([3.0])
    (x * x + x - x / x).sum().backward()
    assert x.grad.item() == 7


# --- the graph's end: freed, retained, refused ---


def test_second_backward_is_refused_with_the_remedy_and_adds_nothing():
    """Stale gradients of results in between would make it 3 times the gradient, not 2."""
    a, b = variable([1.0]), variable([2.0])
    e = ((a + b) * 1.0).sum()
    e.backward()
    with pytest.raises(RuntimeError) as caught:
        e.backward()
    assert str(caught.value) == (
        "backward: the graph of this sum was freed by an earlier backward pass; pass retain_graph=True to the first "
        "one, or compute it again (a graph built before a loop can be used only once)"
    )
    assert (a.grad.item(), b.grad.item()) == (1, 1)


def test_two_losses_over_a_freed_part_are_refused_before_anything_is_added():
    x, w = variable([1.0]), variable([1.0])
    shared = x * 2
    (shared * 3).sum().backward()
    other = (shared * w).sum() + w.sum()
    with refused(RuntimeError, "freed", "mul", "retain_graph=True"):
        other.backward()
    assert w.grad is None
    with refused(RuntimeError, "freed"):
        grad(other, w)


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("keep", ["retain_graph", "create_graph"])
def test_retained_graph_doubles_exactly(passes, keep):
    x = variable([1.5, -2.0])
    y = ((x + x) * x).exp().sum()
    y.backward()
    once = x.grad.data.copy()
    x.zero_grad()
    y = ((x + x) * x).exp().sum()
    for _ in range(passes):
        y.backward(**{keep: True})
    assert_array_equal(x.grad.data, passes * once)


def test_grad_frees_the_graph_too_unless_told_to_retain_it():
    x = variable([1.0])
    y = (x * x).sum()
    grad(y, x, retain_graph=True)
    grad(y, x)
    with refused(RuntimeError, "freed"):
        grad(y, x)


def test_backward_from_what_needs_no_gradient():
    with no_grad():
        untracked = variable([1.0]).sum()
    for output in (Tensor([1.0]), untracked, variable([1.0]).detach(), variable([1.0]).astype(np.int64)):
        with refused(RuntimeError, "nothing here requires gradients", "no_grad()", "detached"):
            output.backward()


def test_backward_of_several_elements_needs_a_gradient():
    y = variable([1.0, 2.0]) * 2
    with pytest.raises(ValueError, match="backward") as caught:
        y.backward()
    assert str(caught.value) == (
        "backward: an output of shape (2,) needs a gradient of that shape; "
        "reduce it to a scalar first, as with .sum(), or pass gradient="
    )
    for wrong in (np.ones(3), np.ones((1, 2)), 1.0):
        with refused(ValueError, "(2,)", str(np.shape(wrong))):
            y.backward(wrong)


@pytest.mark.parametrize("gradient", [np.array([3, 4]), np.array([3, 4], np.float32), constant([3.0, 4.0])], ids=repr)
@pytest.mark.parametrize("create_graph", [False, True])
def test_given_gradient_of_any_kind_of_number(gradient, create_graph):
    x = variable([1.0, 2.0])
    (x * x).backward(gradient, create_graph=create_graph)
    assert_array_equal(x.grad.data, [6, 16])
    assert x.grad.dtype == np.float64


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_of_any_shape_and_a_leaf_are_outputs_too(shape):
    x = variable(np.full(shape, 3.0))
    x.backward()
    assert_array_equal(x.grad.data, np.ones(shape))
    (x * x).backward()
    assert_array_equal(x.grad.data, np.full(shape, 7))


def test_only_leaves_keep_a_gradient():
    x = variable([1.0])
    y = x * 2
    y.sum().backward()
    assert y.grad is None
    assert x.grad is not None


def test_failing_rule_leaves_every_grad_as_it_was():
    def fail(g: Any, out: Any, x: Any) -> Any:
        raise ZeroDivisionError

    broken = unary("broken", lambda x: -x, fail)
    try:
        x, w = variable([1.0]), variable([1.0])
        with pytest.raises(ZeroDivisionError):
            (broken(x) * w).sum().backward()
        assert x.grad is None
        assert w.grad is None
    finally:
        del OPS["broken"]


def test_freezing_a_leaf():
    x, w = variable([2.0]), variable([3.0])
    w.requires_grad = False
    (x * w).sum().backward()
    assert x.grad.item() == 3
    assert w.grad is None


# --- whose memory is it ---


def test_gradients_of_a_sum_do_not_alias():
    """The first gradient stored uncopied would be one array in two places."""
    a, b = variable([1.0, 2.0]), variable([3.0, 4.0])
    (a + b).sum().backward()
    a.grad += 100
    assert_array_equal(b.grad.data, [1, 1])
    a.grad.data += 100
    assert_array_equal(b.grad.data, [1, 1])


VIEWS: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x + 1,
    "reshape": lambda x: x.reshape(4),
    "transpose": lambda x: x.T,
    "slice": lambda x: x[:, ::-1],
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2)),
    "sum": lambda x: x.sum(axis=(), keepdims=True),
    "copy": lambda x: x.copy(),
    "astype": lambda x: x.astype(np.float64),
    "concatenate": lambda x: tg.concatenate([x, x]),
    "stack": lambda x: tg.stack([x]),
    "itself": lambda x: x,
}


@pytest.mark.parametrize("function", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradient_has_memory_of_its_own(function, create_graph):
    """Whoever writes into a gradient, or into the gradient that was passed in, must change nothing else."""
    x = variable([[1.0, 2.0], [3.0, 4.0]])
    y = function(x)
    gradient = np.ones(y.shape)
    y.backward(gradient, retain_graph=True, create_graph=create_graph)
    first = x.grad.data
    assert first.flags.writeable
    assert not np.shares_memory(first, gradient)
    assert not np.shares_memory(first, x.data)
    kept, values = x.grad, first.copy()
    y.backward(gradient)
    assert_array_equal(kept.data, values)
    assert_array_equal(x.grad.data, 2 * values)
    assert_array_equal(gradient, np.ones(y.shape))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_rule_may_return_an_array_where_a_graph_is_made(dtype, table):
    """Of constants, as np.zeros(x.shape), of the dtype of x or of another."""
    two = unary("two_test", lambda x: 2 * x, lambda g, out, x: np.full(x.shape, 2, dtype))
    x = variable([1.0, 3.0])
    for inside, curvature in ((lambda x: x * x, 4.0), (lambda x: x, 0.0)):
        slope = grad((two(inside(x)) + x**3).sum(), x, create_graph=True)
        assert_array_equal(grad(slope.sum(), x).data, 6 * x.data + curvature)
    (two(x) + x**3).sum().backward(create_graph=True)
    assert_array_equal(x.grad.data, 2 + 3 * x.data**2)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_rule_that_returns_its_operand_hands_out_a_copy(table, create_graph):
    """As may the rule of a cost that is the last op, where g is 1."""
    half_square = unary("half_square", lambda x: x * x / 2, lambda g, out, x: x)
    x = variable([1.0, 2.0])
    gradient = grad(half_square(x), x, np.ones(2), create_graph=create_graph)
    assert_array_equal(gradient.data, [1, 2])
    assert not np.shares_memory(gradient.data, x.data)
    half_square(x).backward(np.ones(2), create_graph=create_graph)
    assert not np.shares_memory(x.grad.data, x.data)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_asked_for_together_share_no_memory(create_graph):
    x = variable([1.0, 2.0])
    y = x + 0
    z = y.reshape(2, 1).T
    gradients = grad(z.sum(), [x, y, z, x], create_graph=create_graph)
    for i, a in enumerate(gradients):
        assert_array_equal(a.data.ravel(), [1, 1])
        for b in gradients[:i]:
            assert not np.shares_memory(a.data, b.data)


def test_gradient_that_is_changed_after_the_pass_leaves_its_graph_right():
    x, gradient = variable([1.0, 2.0]), np.ones(2)
    slope = grad(x**3, x, gradient, create_graph=True)
    gradient[:] = 0
    assert_array_equal(grad(slope.sum(), x).data, [6, 12])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, a: x * a,
        lambda x, a: a / x,
        lambda x, a: x**a,
        lambda x, a: a @ x,
        lambda x, a: np.where(a > 2, x * a, a),
        lambda x, a: tg.linear(x, a, a[0]),
        lambda x, a: np.maximum(x, a) * np.clip(x, a, 4),
        lambda x, a: x[(a > 1)],
        lambda x, a: x[a.astype(int) - 1],
        lambda x, a: tg.concatenate([x, a]) * 2,
    ],
)
@pytest.mark.parametrize("kind", ["array", "memory map"])
def test_array_operand_changed_after_the_forward_pass_leaves_the_gradient_right(function, kind, tmp_path):
    """The graph would otherwise hold the caller's array, and read in it what is there by then."""
    values = np.array([[1.0, 2.0], [2.0, 1.0]])
    array = np.memmap(tmp_path / "m", np.float64, "w+", shape=(2, 2)) if kind == "memory map" else np.empty((2, 2))
    gradients = []
    for change in (False, True):
        array[:] = values
        x = variable([[1.5, 2.5], [3.5, 4.5]])
        y = function(x, array)
        if change:
            array[:] = 9
        y.sum().backward()
        gradients.append(x.grad.data)
    assert_array_equal(*gradients)


def test_index_array_changed_after_the_forward_pass_leaves_the_gradient_right():
    x, index = variable([1.0, 2.0, 3.0]), np.array([0, 0, 2])
    y = x[index]
    index[:] = 1
    y.sum().backward()
    assert_array_equal(x.grad.data, [2, 0, 1])


def test_list_of_axes_changed_after_the_forward_pass_leaves_the_gradient_right():
    x, axes = variable(np.arange(8.0).reshape(2, 2, 2)), [1, 2, 0]
    y = tg.transpose(x, axes)
    axes[:] = [0, 1, 2]
    y.backward(y.data)
    assert_array_equal(x.grad.data, x.data)


def test_matrix_subclass_of_ndarray_multiplies_elementwise_in_both_passes():
    """np.matrix means the matrix product by *: a rule that were given one would compute another function's gradient."""
    x = variable([[1.0, 2.0], [3.0, 4.0]])
    array = np.array([[1.0, 2.0], [3.0, 4.0]]).view(np.matrix)
    (x * array).sum().backward()
    assert_array_equal(x.grad.data, np.asarray(array))


# --- changes in place between forward and backward ---


def step(p: Any) -> None:
    p.data -= 0.5


def rebind(p: Any) -> None:
    p.data = p.data - 0.5


CHANGES: dict[str, Callable[[Any], None]] = {
    "step": step,
    "assigned": rebind,
    "through detach": lambda p: step(p.detach()),
    "through an element of detach": lambda p: p.detach().__setitem__(0, 5.0),
    "through a view of detach": lambda p: step(p.detach()[0]),
    "through a view without a graph": lambda p: step(no_grad(lambda: p.T)()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "use",
    [lambda p: p, lambda p: p.T, lambda p: p.reshape(4), lambda p: p[1:], lambda p: p.detach(), lambda p: p.mT[0]],
)
def test_step_between_forward_and_backward_is_refused(change, use):
    """The derivative of the older loss needs values that are gone: it would silently be another point's."""
    p, x = variable([[1.0, 2.0], [3.0, 4.0]]), variable(2.0)
    loss = (use(p) * x).sum()
    change(p)
    with refused(RuntimeError, "changed in place after mul used it", "before optimizer.step()"):
        loss.backward()
    assert (p.grad, x.grad) == (None, None)
    loss = (use(p) * x).sum()
    loss.backward()
    assert x.grad.item() == use(p).data.sum()


def test_changed_tensor_is_named():
    p = variable([[1.0, 2.0]], name="weight")
    loss = p.exp().sum()
    step(p)
    with pytest.raises(RuntimeError) as caught:
        loss.backward()
    assert str(caught.value) == (
        "backward: weight of shape (1, 2) was changed in place after exp used it; "
        "call backward() before optimizer.step(), or compute the output again"
    )


def test_changed_result_is_refused():
    """exp'(x) is read off its result."""
    y = variable([1.0]).exp()
    y.data += 1
    with refused(RuntimeError, "changed in place"):
        y.sum().backward()


def test_a_change_of_what_an_own_op_hands_on_is_refused(table):
    """It returns its operand, and is no view by its own account."""
    handed_on = unary("handed_on", lambda x: x, lambda g, out, x: g)
    x, w = constant([1.0, 2.0]), variable([3.0, 4.0])
    loss = (handed_on(x) * w).sum()
    x.data += 1
    with refused(RuntimeError, "changed in place"):
        loss.backward()
    assert w.grad is None


def test_change_of_a_copy_made_by_the_copy_module_or_the_constructor_is_refused_or_harmless():
    """These share the array with the original, so they must share the knowledge of its changes."""
    p = constant([1.0, 2.0])
    for clone in (copy.copy(p), Tensor(p)):
        w = variable([1.0, 1.0])
        before = clone.data.copy()
        loss = (clone * w).sum()
        p.data += 1
        try:
            loss.backward()
        except RuntimeError:
            continue
        assert_array_equal(w.grad.data, before)


def test_change_before_the_forward_pass_and_in_the_other_parameters_is_fine():
    p, q = variable([1.0]), variable([2.0])
    step(p)
    loss = (p * p).sum()
    step(q)
    loss.backward()
    assert p.grad.item() == 1


def test_view_op_of_a_user_shares_the_knowledge_of_changes():
    flip = unary("turned_round", lambda x: x[::-1], lambda g, out, x: g[::-1], view=True)
    try:
        p, x = variable([1.0, 2.0]), variable(1.0)
        loss = (flip(p) * x).sum()
        step(p)
        with refused(RuntimeError, "changed in place"):
            loss.backward()
    finally:
        del OPS["turned_round"]


# --- who keeps what alive ---


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("passes", [0, 1])
def test_graph_of_a_dropped_loss_is_gone_without_the_collector(no_collector, passes, create_graph):
    """A reference cycle in the graph would keep every activation until a collection."""
    x = variable(np.ones((3, 3)))
    hidden = tg.softmax((x @ x.T + x).exp())
    loss = hidden[0].mean()
    for _ in range(passes):
        slope = grad(loss, x, create_graph=create_graph)
        del slope
    gone = [weakref.ref(t) for t in (hidden, hidden.inputs[0] if hidden.inputs else hidden, loss)]
    del hidden, loss
    assert [r() for r in gone] == [None] * 3


def test_backward_frees_activations_while_the_loss_lives(no_collector):
    """Adding up losses for a report would otherwise keep every graph: `total = total + loss`."""
    x, total, gone = variable([1.0]), constant(0.0), []
    for _ in range(3):
        hidden = x * 2
        loss = hidden.exp().sum()
        loss.backward()
        total = total + loss
        gone.append(weakref.ref(hidden))
        del hidden, loss
    assert [r() for r in gone] == [None] * 3


def test_no_grad_leaves_no_graph(no_collector):
    x = variable([1.0])
    with no_grad():
        hidden = x * 2
        y = hidden.exp()
    assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
    gone = weakref.ref(hidden)
    del hidden
    assert gone() is None


def test_constants_leave_no_graph():
    y = constant([1.0]) * constant([2.0])
    assert (y.requires_grad, y.op, y.inputs) == (False, None, ())


# --- no_grad ---


def records() -> bool:
    return (variable([1.0]) * 2).requires_grad


def test_no_grad_nests_and_is_reusable():
    """Leaving an inner block must not switch recording back on in the outer one."""
    off = no_grad()
    with off:
        with off:
            assert not records()
        assert not records()
        with no_grad():
            assert not records()
        assert not records()
    assert records()


def test_no_grad_is_restored_after_an_exception():
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert records()
    with no_grad():
        with pytest.raises(ZeroDivisionError), no_grad():
            raise ZeroDivisionError
        assert not records()


@pytest.mark.parametrize("decorate", [no_grad, no_grad()])
def test_no_grad_decorates_without_touching_the_mode_outside(decorate):
    """Decorating must not switch anything by itself, and calls may nest and fail."""

    @decorate
    def evaluate(depth: int) -> bool:
        """Documented."""
        return evaluate(depth - 1) if depth else records()

    assert records()
    assert evaluate(3) is False
    assert records()
    assert (evaluate.__name__, evaluate.__doc__) == ("evaluate", "Documented.")
    with pytest.raises(RecursionError):
        evaluate(10**9)
    assert records()


def test_no_grad_is_local_to_its_thread():
    answers = []
    with no_grad():
        thread = threading.Thread(target=lambda: answers.append(records()))
        thread.start()
        thread.join()
        assert not records()
    assert answers == [True]


def test_no_grad_in_another_thread_does_not_reach_this_one():
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with no_grad():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(10)
    try:
        assert records()
    finally:
        leave.set()
        thread.join()


def test_no_grad_refuses_what_would_be_suspended_inside():
    """A generator would leak the mode into its caller between two items, a coroutine would run outside it."""

    def generate() -> Any:
        yield records()

    async def wait() -> bool:
        return records()

    async def generate_async() -> Any:
        yield records()

    for function in (generate, wait, generate_async):
        for decorate in (no_grad, no_grad()):
            with refused(TypeError, function.__name__):
                decorate(function)


def test_backward_works_under_no_grad():
    x = variable([2.0])
    y = (x**3).sum()
    with no_grad():
        slope = grad(y, x, create_graph=True)
        assert not records()
        y.backward()
    assert slope.requires_grad
    assert x.grad.item() == 12
    assert grad(slope, x).item() == 12


# --- grad and create_graph ---


def test_grad_touches_no_grad_and_answers_in_the_order_asked():
    x, w, unused = variable([2.0]), variable([3.0], np.float32), variable([[1.0]], np.float32)
    loss = (x * w).sum()
    slopes = grad(loss, (w, unused, x))
    assert [s.item() for s in slopes] == [2, 0, 3]
    assert [s.dtype for s in slopes] == [np.float32, np.float32, np.float64]
    assert slopes[1].shape == (1, 1)
    assert (x.grad, w.grad, unused.grad) == (None, None, None)


def test_grad_of_results_in_between_and_of_the_output_itself():
    x = variable([2.0])
    y = x * x
    z = (y * 3).sum()
    assert [s.item() for s in grad(z, [z, y, x], retain_graph=True)] == [1, 3, 12]
    assert grad(x.sum(), x).item() == 1


def test_grad_asks_for_inputs_that_require_gradients():
    y = variable([1.0]).sum()
    wrongs: list[Any] = [constant([1.0]), np.ones(1), [None]]
    for wrong in wrongs:
        with refused(ValueError, "grad", "requires_grad=True"):
            grad(y, wrong)


def test_derivatives_to_the_fourth_order():
    x = variable([2.0])
    y = (x**5).sum()
    for expected in (80, 160, 240, 240):
        y = grad(y, x, create_graph=True)
        assert y.item() == expected


def test_backward_adds_to_a_gradient_that_has_a_graph_and_the_other_way_round():
    x = variable([3.0])
    for first, second in ((True, False), (False, True)):
        x.zero_grad()
        (x**2).sum().backward(create_graph=first)
        (x**3).sum().backward(create_graph=second)
        assert x.grad.item() == 6 + 27
        assert x.grad.requires_grad is second
    x.zero_grad()


# --- types of gradients ---


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x,
        lambda x: x + x,
        lambda x: x,
        lambda x: x / np.float64(3),
        lambda x: x.mean(),
        lambda x: x.astype(np.float64) * x,
        lambda x: x * np.ones((2, 2)),
        lambda x: tg.sigmoid(x) + x.max() + tg.where(x > 0, x, 1.0),
    ],
)
def test_0d_gradient_is_an_array_of_the_inputs_dtype(function, dtype, create_graph):
    """NumPy's arithmetic of 0-d arrays decays to scalars, and mixed dtypes promote: neither may reach a gradient."""
    x = variable(2.0, dtype)
    for _ in range(2):
        y = function(x)
        y.backward(np.ones(y.shape), create_graph=create_graph)
        assert type(x.grad.data) is np.ndarray
        assert x.grad.shape == ()
        assert x.grad.dtype == np.dtype(dtype)
    slope = grad(function(x).sum(), x, create_graph=create_graph)
    assert type(slope.data) is np.ndarray
    x.zero_grad()


@pytest.mark.parametrize("left", FLOATS)
@pytest.mark.parametrize("right", FLOATS)
def test_each_gradient_has_its_own_inputs_dtype(left, right):
    x, y = variable([[1.0, 2.0]], left), variable([[3.0], [4.0]], right)
    (x * y + x / y - tg.maximum(x, y)).sum().backward()
    (x @ y).sum().backward()
    tg.concatenate([x.T, y]).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (left, right)
    assert (x.grad.shape, y.grad.shape) == (x.shape, y.shape)


def test_what_is_no_tensor_and_no_function_is_named():
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="grad: expected a Tensor as the output, got 5"):
        grad(5, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no_grad: expected a function to decorate, or nothing, got 3"):
        no_grad(3)


def test_a_leaf_that_began_to_require_gradients_after_its_use_is_refused():
    """Its gradient would lack what was computed of it before: 3 in place of 18."""
    a, w = Tensor([2.0]), variable([3.0])
    y = a * 5 * w + a * w
    a.requires_grad = True
    with pytest.raises(RuntimeError, match="began to require gradients after mul used it"):
        y.backward()


def test_a_detached_twin_that_requires_gradients_does_not_disturb_the_graph_of_the_first():
    w = variable([3.0])
    y = w * 2
    twin = w.detach()
    twin.requires_grad = True
    (twin * 5).backward()
    y.backward()
    assert (w.grad.item(), twin.grad.item()) == (2, 5)


def test_threads_that_add_to_one_gradient_lose_nothing():
    w = variable([3.0])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [(w * 1.0).sum().backward() for _ in range(200)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert w.grad.item() == 800


def test_a_module_in_place_of_its_parameters_is_refused():
    layer = nn.Linear(1, 1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"pass its \.parameters\(\)"):
        grad(layer(np.ones((1, 1), "f")), layer)  # type: ignore[arg-type]


# --- derivatives of derivatives that have become constant ---


def test_a_derivative_that_has_become_constant_has_the_derivative_zero():
    x = variable(3.0)
    y = x**2
    derivatives = []
    for _ in range(4):
        y = grad(y, x, create_graph=True)
        derivatives.append(y.item())
    assert derivatives == [6, 2, 0, 0]


CONSTANT_SLOPES: dict[str, Any] = {
    "sum": lambda x: x.sum(),
    "linear": lambda x: (3 * x - 1).mean(),
    "kinks": lambda x: (tg.relu(x) + abs(x)).sum(),
    "choice": lambda x: x.max(),
    "taken": lambda x: x[1] * 2,
}


@pytest.mark.parametrize("name", CONSTANT_SLOPES)
def test_what_is_made_of_a_constant_derivative_can_be_differentiated(name):
    x, w = variable([1.0, 2.0, 4.0]), variable([0.5, 1.0, 1.0])
    slope = grad(CONSTANT_SLOPES[name](x), x, create_graph=True)
    for made, by_x, by_w in (
        (slope.sum(), 0 * x.data, 0 * w.data),
        ((slope * slope - 1).sum(), 0 * x.data, 0 * w.data),
        ((slope * w).sum(), 0 * x.data, slope.data),
        ((slope * x).sum(), slope.data, 0 * w.data),
    ):
        first = grad(made, [x, w], create_graph=True)
        assert_array_equal(first[0].data, by_x)
        assert_array_equal(first[1].data, by_w)
        assert_array_equal(grad(first[0].sum(), x).data, [0, 0, 0])
    penalty = (x * x).sum() + (slope * slope).sum()
    assert_array_equal(grad(penalty, x).data, 2 * x.data)
    stored = variable([1.0, 2.0, 4.0])
    CONSTANT_SLOPES[name](stored).backward(create_graph=True)
    assert_array_equal(grad(stored.grad.sum(), stored).data, [0, 0, 0])


def test_what_was_computed_without_a_graph_is_still_told_from_a_constant():
    x = variable(3.0)
    with tg.no_grad():
        y = x**2
    for lost in (y, (x**2).detach(), grad(x**2, x)):
        with pytest.raises(RuntimeError, match="nothing here requires gradients"):
            grad(lost, x)


def test_enable_grad_nests_in_no_grad_and_restores():
    x = variable(3.0)
    with tg.no_grad():
        with tg.enable_grad():
            y = x * x
            with tg.no_grad():
                assert not (x * x).requires_grad
            with pytest.raises(ZeroDivisionError), tg.enable_grad():
                raise ZeroDivisionError
            assert (x * x).requires_grad
        assert not (x * x).requires_grad
        assert grad(y, x).item() == 6
    for decorate in (tg.enable_grad, tg.enable_grad()):
        with tg.no_grad():
            assert decorate(lambda: x * x)().requires_grad
            assert not (x * x).requires_grad
    with pytest.raises(TypeError, match="enable_grad: expected a function"):
        tg.enable_grad(x)
    with pytest.raises(TypeError, match=r"enable_grad: .*is suspended"):

        @tg.enable_grad
        def batches():
            yield x * x
