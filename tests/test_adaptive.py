"""optim/adaptive.py and clipping.py: PyTorch's trajectories, compiled steps, states, and options that change."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, compile, mnist, nn, sigmoid, train
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.optim import SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RMSProp, StepLR, clip_grad_norm

from .helpers import needs_compiler, refused

REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("adaptive_trajectories.json").read_text("utf-8"))
CHANGED_AT = 6
KINDS: dict[str, Any] = {"Adagrad": Adagrad, "RMSprop": RMSProp, "Adam": Adam, "AdamW": AdamW}
EACH = pytest.mark.parametrize(
    "make",
    [
        lambda p: Adagrad(p, 0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5),
        lambda p: Adagrad(p, 0.1),
        lambda p: RMSProp(p, momentum=0.5, centered=True),
        lambda p: RMSProp(p, weight_decay=0.1),
        lambda p: Adam([{"params": p[:1], "betas": (0.8, 0.99)}, {"params": p[1:]}], weight_decay=0.1),
        lambda p: AdamW(p, 0.01, amsgrad=True),
    ],
    ids=["Adagrad", "Adagrad plain", "RMSProp centered", "RMSProp", "Adam", "AdamW"],
)


# ---- As PyTorch


@pytest.mark.parametrize("number", range(len(REFERENCE["cases"])))
def test_trajectories_are_those_of_torch_optim(number: int) -> None:
    case = REFERENCE["cases"][number]
    parameters = {name: Tensor(np.array(values), requires_grad=True) for name, values in case["start"].items()}
    groups = [{"params": [parameters["weights"]]}, {"params": [parameters["biases"]], **case["biases"]}]
    optimizer = KINDS[case["kind"]](groups, **case["options"])
    for step, gradients in enumerate(case["gradients"]):
        if step == CHANGED_AT:
            for group in optimizer.groups:
                group.update(case["later"])
        for name, p in parameters.items():
            p.grad = None if gradients[name] is None else Tensor(np.array(gradients[name]))
        if case["max_norm"]:
            norm = clip_grad_norm(parameters.values(), case["max_norm"])
            assert norm.item() == pytest.approx(case["after"]["norm"][step], rel=1e-14)
        optimizer.step()
        for name, p in parameters.items():
            np.testing.assert_allclose(p.data, case["after"][name][step], rtol=1e-10, atol=1e-10)


def test_the_reference_covers_what_it_should() -> None:
    cases = REFERENCE["cases"]
    for kind in KINDS:
        own = [case for case in cases if case["kind"] == kind]
        assert len(own) >= 10
        assert any(case["later"].keys() - {"lr"} for case in own)
        assert any(gradients["biases"] is None for case in own for gradients in case["gradients"])
    for name, kind in (("amsgrad", "AdamW"), ("amsgrad", "Adam"), ("centered", "RMSprop")):
        assert {case["options"].get(name, False) for case in cases if case["kind"] == kind} == {True, False}
    assert any(not case["options"].get("betas", [1, 1])[1] for case in cases)
    assert any(case["options"].get("momentum") for case in cases)
    assert any(case["options"].get("lr_decay") for case in cases)
    assert any(case["max_norm"] and max(case["after"]["norm"]) > 1 > min(case["after"]["norm"]) for case in cases)


def test_defaults_are_those_of_torch_optim() -> None:
    p = [Tensor([1.0], requires_grad=True)]
    found: dict[Any, dict[str, Any]] = {kind: dict(kind(p).groups[0], params=None) for kind in KINDS.values()}
    shared = {"params": None, "lr": 0.001, "eps": 1e-8, "betas": (0.9, 0.999), "amsgrad": False}
    assert found == {
        Adagrad: {
            "params": None, "lr": 0.01, "lr_decay": 0, "weight_decay": 0, "initial_accumulator_value": 0, "eps": 1e-10
        },
        RMSProp: {
            "params": None, "lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0, "momentum": 0, "centered": False
        },
        Adam: {**shared, "weight_decay": 0},
        AdamW: {**shared, "weight_decay": 0.01},
    }  # fmt: skip


def test_the_variance_of_equal_gradients_is_not_made_negative_by_rounding() -> None:
    p = Tensor(np.full(50, 1.0), requires_grad=True)
    gradients = np.random.default_rng(0).standard_normal(50)
    optimizer = RMSProp([p], alpha=0.5, centered=True)
    for _ in range(100):
        p.grad = Tensor(gradients)
        optimizer.step()
    assert np.isfinite(p.data).all()


def test_the_first_steps_in_float32_have_the_digits_of_float32() -> None:
    single, double = (Tensor(np.zeros(1), dtype=kind, requires_grad=True) for kind in (np.float32, np.float64))
    for p in (single, double):
        optimizer = Adam([p], 1.0)
        for gradient in (1.0, -2.0, 3.0):
            p.grad = Tensor([gradient], dtype=p.dtype)
            optimizer.step()
    np.testing.assert_allclose(single.data, double.data, rtol=2e-6)
    assert all(array.dtype == np.float32 for array in optimizer.state[single].values())


# ---- Compiled


def network() -> nn.Module:
    rng = np.random.default_rng(7)
    return nn.Sequential(nn.Linear(6, 5, rng=rng), sigmoid, nn.Linear(5, 3, rng=rng))


def trained(make: Callable[..., Optimizer], backend: str | None, change: Callable[..., None], **more: Any) -> Any:
    """The bits of parameters and states after 40 steps, between which something changes; and the step."""
    model, rng = network(), np.random.default_rng(1)
    optimizer = make(model.parameters())

    def step(images: Any, targets: Any) -> Any:
        loss = quadratic_cost(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm(model.parameters(), **more) if more else loss
        optimizer.step()
        return loss, norm

    run: Any = step if backend is None else compile(step, backend=backend)
    returned = []
    for k in range(40):
        change(k, optimizer.groups)
        values = run(rng.standard_normal((4, 6)).astype("f"), rng.standard_normal((4, 3)).astype("f"))
        returned.append([value.item() for value in values])
    arrays = [a.copy() for p in model.parameters() for a in (p.data, *optimizer.state[p].values())]
    return arrays, returned, run


def other_options(k: int, groups: Any) -> None:
    """A new rate at every step, and all other options once."""
    for group in groups:
        group["lr"] *= 0.99
        if k == 20:
            options = {"betas": (0.5, 0.9), "alpha": 0.5, "momentum": 0.25, "eps": 1e-3, "weight_decay": 0.03,
                       "lr_decay": 0.01}  # fmt: skip
            group.update({name: value for name, value in options.items() if name in group})


@EACH
def test_compiled_steps_are_eager_ones_whatever_options_change(make: Any) -> None:
    expected, losses, _ = trained(make, None, other_options)
    found, others, step = trained(make, "numpy", other_options)
    assert all(map(np.array_equal, found, expected))
    assert others == losses
    assert step.replays >= 28  # a new rate records nothing anew, the other options once
    assert "eagerly" not in step.source


@EACH
def test_steps_in_c_agree_within_rounding(make: Any) -> None:
    needs_compiler()
    expected, _, _ = trained(make, None, other_options)
    found, _, step = trained(make, "c", other_options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert step.replays >= 28
    assert "void piece" in step.source


# ---- Options and states


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"betas": (0.9, 1.0)}, ["Adam: expected 0 <= betas[1] < 1, got 1.0"]),
        ({"betas": (-0.1, 0.9)}, ["0 <= betas[0] < 1, got -0.1"]),
        ({"betas": 0.9}, ["Adam: expected two numbers as betas, (0.9, 0.999), got 0.9"]),
        ({"betas": (0.9, 0.99, 0.9)}, ["two numbers as betas"]),
        ({"betas": "ab"}, ["two numbers as betas"]),
        ({"betas": (True, 0.9)}, ["betas[0]"]),
        ({"amsgrad": 1}, ["Adam: expected amsgrad to be True or False, got 1"]),
        ({"eps": -1}, ["0 <= eps < inf"]),
        ({"eps": True}, ["0 <= eps < inf"]),
    ],
    ids=str,
)
def test_options_are_checked_whenever_they_are_set(options: Any, words: list[str]) -> None:
    p = Tensor([1.0], requires_grad=True)
    with refused(ValueError, *words):
        Adam([p], **options)
    with refused(ValueError, *words):
        Adam([{"params": [p], **options}])
    group = Adam([p]).groups[0]
    before = dict(group)
    with refused(ValueError, *words):
        group.update(options)
    assert group == before


def test_alpha_is_a_share_of_rmsprop_and_any_number_elsewhere() -> None:
    p = Tensor([1.0], requires_grad=True)
    with refused(ValueError, "RMSProp: expected 0 <= alpha < 1, got 2"):
        RMSProp([p], alpha=2)
    assert Optimizer([p], 0.1, options={"alpha": 2.0}).groups[0]["alpha"] == 2


def test_betas_become_plain_numbers() -> None:
    p = Tensor([1.0], requires_grad=True)
    group = Adam([p], betas=[np.float64(0.5), np.float32(0.25)]).groups[0]  # type: ignore[arg-type]
    assert group["betas"] == (0.5, 0.25)
    assert [type(beta) for beta in group["betas"]] == [float, float]
    group["amsgrad"] = np.True_
    assert group["amsgrad"] is True


@EACH
def test_a_restored_optimizer_goes_on_to_the_same_bits(make: Any, tmp_path: Path) -> None:
    def go(model: Any, optimizer: Optimizer, seeds: range) -> None:
        for seed in seeds:
            for p in model.parameters():
                p.grad = Tensor(np.random.default_rng(seed).standard_normal(p.shape).astype("f"))
            optimizer.step()

    model, other = network(), network()
    optimizer, fresh = make(model.parameters()), make(other.parameters())
    go(model, optimizer, range(3))
    train.save(tmp_path / "m.npz", model, optimizer)
    train.load(tmp_path / "m.npz").restore(other, fresh)
    twin = copy.deepcopy((model, optimizer))
    go(model, optimizer, range(3, 6))
    for again, its in ((other, fresh), twin):
        go(again, its, range(3, 6))
        assert all(np.array_equal(p.data, q.data) for p, q in zip(model.parameters(), again.parameters(), strict=True))
        assert its.state_dict()["groups"] == optimizer.state_dict()["groups"]


def test_what_an_optimizer_is_made_of_is_shown() -> None:
    p, q, r = (Tensor([1.0], requires_grad=True) for _ in range(3))
    groups: list[dict[str, Any]] = [{"params": [p, q]}, {"params": [r], "lr": 0.5}]
    assert repr(AdamW([p])) == (
        "AdamW(lr=0.001, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-08, amsgrad=False, 1 parameter)"
    )
    assert repr(Momentum(groups, lr=0.1)).splitlines() == [
        "Momentum(",
        "  group 0: lr=0.1, weight_decay=0.0, momentum=0.9, 2 parameters",
        "  group 1: lr=0.5, weight_decay=0.0, momentum=0.9, 1 parameter",
        ")",
    ]
    schedule = StepLR(Momentum(groups, lr=0.1), 2)
    for shown in (schedule, schedule.optimizer):
        assert str(shown) == repr(shown)


# ---- Clipping


def clipped(gradients: list[Any], max_norm: float) -> tuple[float, list[Any]]:
    parameters = [Tensor(np.zeros_like(g), requires_grad=True) for g in gradients]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = Tensor(g)
    norm = clip_grad_norm(parameters, max_norm).item()
    return norm, [p.grad.numpy() for p in parameters if p.grad is not None]


def test_gradients_are_scaled_together_and_only_if_they_are_too_long() -> None:
    gradients = [np.array([[3.0]]), np.array([0.0, 4.0])]
    norm, scaled = clipped(gradients, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in scaled]), [0.6, 0, 0.8], rtol=1e-6)
    for max_norm in (5.1, np.inf):
        norm, kept = clipped(gradients, max_norm)
        assert norm == 5.0
        assert all(map(np.array_equal, kept, gradients))
    assert gradients[0].tolist() == [[3.0]]  # the caller's


def test_clipping_leaves_dtypes_and_what_has_no_gradient_and_takes_one_parameter_once() -> None:
    norm, scaled = clipped([np.array([3.0], np.float32), np.array([4.0])], 1.0)
    assert norm == 5.0
    assert [g.dtype for g in scaled] == [np.float32, np.float64]
    p, without = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    p.grad = Tensor([4.0])
    assert clip_grad_norm([p, p, without], 2.0).item() == 4.0
    np.testing.assert_allclose(p.grad.numpy(), [2.0], rtol=1e-6)
    assert without.grad is None
    assert clip_grad_norm([without], 1.0).item() == clip_grad_norm([], 1.0).item() == 0.0
    assert clip_grad_norm(p, 1.0).item() == pytest.approx(2.0)


@pytest.mark.parametrize("max_norm", [1, np.float32(1), np.float64(1), np.int64(1)])
def test_the_longest_norm_may_be_a_number_of_numpy(max_norm: Any) -> None:
    p = Tensor([1.0], requires_grad=True)
    p.grad = Tensor([4.0])
    assert clip_grad_norm([p], max_norm).item() == 4.0
    np.testing.assert_allclose(p.grad.numpy(), [1.0], rtol=1e-6)
    assert p.grad.dtype == np.float32


def test_where_the_norm_is_infinite_finite_gradients_become_0_as_in_pytorch() -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        norm, scaled = clipped([np.array([np.inf, 2.0])], 1.0)
        assert norm == np.inf
        np.testing.assert_array_equal(scaled[0], [np.nan, 0.0])
        _, scaled = clipped([np.array([np.nan, 2.0])], 1.0)
        np.testing.assert_array_equal(scaled[0], [np.nan, np.nan])


@pytest.mark.parametrize("max_norm", [-1.0, np.nan, None, "1", True])
def test_a_norm_that_is_no_number_is_refused(max_norm: Any) -> None:
    with refused(ValueError, "clip_grad_norm: expected a number max_norm >= 0, got"):
        clip_grad_norm([Tensor([1.0], requires_grad=True)], max_norm)


def test_clipping_of_something_else_is_refused() -> None:
    with refused(TypeError, "clip_grad_norm: expected parameters, got", ".parameters()"):
        clip_grad_norm(network(), 1.0)  # type: ignore[arg-type]
    with refused(TypeError, "clip_grad_norm: expected Tensors"):
        clip_grad_norm([np.ones(2)], 1.0)  # type: ignore[list-item]


@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_clipping_stays_in_the_replay(backend: str) -> None:
    if backend == "c":
        needs_compiler()

    def steady(k: int, groups: Any) -> None:
        pass

    arguments = (lambda p: Momentum(p, 0.1), None, steady)
    expected, returned, _ = trained(*arguments, max_norm=1.0)
    found, others, step = trained(arguments[0], backend, steady, max_norm=1.0)
    norms = [norm for _, norm in returned]
    assert min(norms) < 1 < max(norms)
    assert step.replays >= 30
    assert "eagerly" not in step.source
    if backend == "numpy":
        assert all(map(np.array_equal, found, expected))
        assert others == returned
    else:
        np.testing.assert_allclose(others, returned, rtol=1e-5)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["eager", "numpy"])
def test_fit_clips_before_every_step(backend: str) -> None:
    rng = np.random.default_rng(0)
    split = mnist.Split(rng.random((20, 4)).astype("f"), np.arange(20) % 3)
    data = mnist.Dataset(split, split, None, 3, (2, 2), Path("here"))
    model = nn.Linear(4, 3, rng=rng)
    before = [p.data.copy() for p in model.parameters()]
    settings: dict[str, Any] = {"optimizer": SGD(model.parameters(), lr=1.0), "epochs": 1, "batch_size": 20, "rng": rng}
    list(train.fit(model, data, cost=quadratic_cost, max_norm=0.01, backend=backend, **settings))
    moved = [p.data - was for p, was in zip(model.parameters(), before, strict=True)]
    assert np.sqrt(sum((change**2).sum() for change in moved)) == pytest.approx(0.01, rel=1e-3)
    with refused(ValueError, "expected a number max_norm >= 0, got -1"):
        list(train.fit(model, data, cost=quadratic_cost, max_norm=-1, **settings))
