"""Make `adaptive_trajectories.json`: what torch.optim's Adagrad, RMSprop, Adam and AdamW do, step by step, in float64.

As in `sgd_trajectories`: two groups, weights of shape (3, 2) and biases of shape (2,), the biases with a learning rate
and a weight decay of their own and without a gradient in some steps. Every case has options drawn at random, gradients
of widely different sizes, and at step 6 other options are set by hand. Half of the cases clip the gradients to a norm;
the norms that clip_grad_norm_ returns are recorded too.

The tests read only the JSON. Making it anew needs PyTorch (`pip install torch`); from the repository's top:

    python -m tests.reference.adaptive_trajectories

The stored file was made by PyTorch 2.13.0 on a CPU.
"""

import importlib
import json
from pathlib import Path

import numpy as np

from .sgd_trajectories import lines

SEED = 2711
STEPS = 10
CHANGED_AT = 6
CASES = 10  # of each optimizer
LATER = ("lr", "eps", "weight_decay", "lr_decay", "alpha", "momentum", "betas")  # the rest PyTorch cannot change
SHAPES = {"weights": (3, 2), "biases": (2,)}


def draw_options(rng, kind, flag):
    """Options of an optimizer, at random, but for the one that is True or False; some are left out."""
    options: dict = {"lr": float(10 ** rng.uniform(-3, -1)), "eps": float(10 ** rng.uniform(-10, -2))}
    options["weight_decay"] = float(rng.choice([0.0, rng.uniform(0, 0.5)]))
    if kind == "Adagrad":
        options["lr_decay"] = float(rng.choice([0.0, rng.uniform(0, 0.5)]))
        options["initial_accumulator_value"] = float(rng.choice([0.0, rng.uniform(0, 2)]))
    elif kind == "RMSprop":
        options["alpha"] = float(rng.choice([0.0, 0.9, rng.uniform(0.5, 1)]))
        options["momentum"] = float(rng.choice([0.0, rng.uniform(0.1, 0.99)]))
        options["centered"] = flag
        if options["centered"]:
            options["alpha"] = max(options["alpha"], 0.5)  # with 0 the variance is rounding alone
    else:
        options["betas"] = [float(rng.choice([0.0, usual, rng.uniform()])) for usual in (0.9, 0.999)]
        options["amsgrad"] = flag
    return {
        name: value for name, value in options.items() if name in ("lr", "centered", "amsgrad") or rng.random() < 0.8
    }


def draw_case(rng, kind, flag):
    """An optimizer's options, those of its biases, what is set at step 6, and the gradients."""
    options = draw_options(rng, kind, flag)
    later = {
        k: v for k, v in draw_options(rng, kind, flag).items() if k in LATER and (k != "momentum" or options.get(k))
    }
    gradients = []
    for _ in range(STEPS):
        scale = 10 ** rng.uniform(-3, 1)
        gradients.append({name: (scale * rng.standard_normal(shape)).tolist() for name, shape in SHAPES.items()})
        if rng.random() < 0.2:
            gradients[-1]["biases"] = None
    return {
        "kind": kind,
        "options": options,
        "biases": {"lr": options["lr"] / 3, "weight_decay": 0.125},
        "later": later,
        "max_norm": float(rng.choice([0.0, 1.0])) or None,
        "start": {name: rng.standard_normal(shape).tolist() for name, shape in SHAPES.items()},
        "gradients": gradients,
    }


def trajectory(torch, case):
    """Run one case in PyTorch and record weights, biases and the norm of the gradient at every step."""
    parameters = {n: torch.tensor(case["start"][n], dtype=torch.float64, requires_grad=True) for n in SHAPES}
    groups = [{"params": [parameters["weights"]]}, {"params": [parameters["biases"]], **case["biases"]}]
    optimizer = getattr(torch.optim, case["kind"])(groups, **case["options"])
    after: dict[str, list] = {name: [] for name in (*SHAPES, "norm")}
    for step, gradients in enumerate(case["gradients"]):
        if step == CHANGED_AT:
            for group in optimizer.param_groups:
                group.update(case["later"])
        for name in SHAPES:
            value = gradients[name]
            parameters[name].grad = None if value is None else torch.tensor(value, dtype=torch.float64)
        if case["max_norm"]:
            after["norm"].append(torch.nn.utils.clip_grad_norm_(parameters.values(), case["max_norm"]).item())
        optimizer.step()
        for name in SHAPES:
            after[name].append(parameters[name].tolist())
    return after


def main():
    torch = importlib.import_module("torch")  # not an import statement: mypy then asks for no PyTorch
    rng = np.random.default_rng(SEED)
    kinds = ("Adagrad", "RMSprop", "Adam", "AdamW")
    cases = [draw_case(rng, kind, bool(number % 2)) for kind in kinds for number in range(CASES)]
    rows = lines([{**case, "after": trajectory(torch, case)} for case in cases])
    text = f'{{\n"torch": {json.dumps(str(torch.__version__))},\n"seed": {SEED},\n"cases": {rows}\n}}\n'
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
