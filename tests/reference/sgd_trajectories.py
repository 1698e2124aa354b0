"""Make `sgd_trajectories.json`: what torch.optim.SGD does, step by step, in float64.

Two parameter groups, weights of shape (3, 2) and biases of shape (2,), go through the same 8 gradients under
40 settings of learning rate, momentum, Nesterov's momentum, weight decay (of the weights alone) and StepLR.
In two of the steps the biases have no gradient, so that PyTorch leaves them and their velocity alone.
After each optimizer.step() comes one scheduler.step(), if there is a schedule; then the weights, the biases
and the learning rates, which are those of the *next* step, are recorded.

The tests read only the JSON. Making it anew needs PyTorch (`pip install torch`); from the repository's top:

    python -m tests.reference.sgd_trajectories

The stored file was made by PyTorch 2.13.0 on a CPU; it names that version too. Another processor or version
may round a last bit differently.
"""

import importlib
import json
from itertools import product
from pathlib import Path

import numpy as np

SEED = 1847
STEPS = 8
STEPS_WITHOUT_BIAS_GRADIENT = (2, 5)  # counted from 0
MOMENTUM_AND_NESTEROV = [(0.0, False), (0.5, False), (0.5, True), (0.9, False), (0.9, True)]
HALVE_EVERY_3 = {"step_size": 3, "gamma": 0.5}
TENTH_EVERY_2 = {"step_size": 2, "gamma": 0.1}


def settings(lr_weights, lr_biases, weight_decay, schedule):
    """Give the settings of five cases, one for each kind of momentum."""
    return [
        {
            "lr": {"weights": lr_weights, "biases": lr_biases},
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "schedule": schedule,
        }
        for momentum, nesterov in MOMENTUM_AND_NESTEROV
    ]


def all_settings():
    """Give every combination at lr 0.1, then a larger lr, then an lr of its own for the biases."""
    cases = []
    for weight_decay, schedule in product((0.0, 0.01), (None, HALVE_EVERY_3, TENTH_EVERY_2)):
        cases += settings(0.1, 0.1, weight_decay, schedule)
    cases += settings(0.7, 0.7, 0.01, HALVE_EVERY_3)
    cases += settings(0.1, 0.03, 0.01, TENTH_EVERY_2)
    return cases


def draw_inputs():
    """Draw the starting parameters and the gradients of every step, as nested lists.

    The parameters start far enough from 0 that none comes near it: there the subtraction of two close numbers
    would magnify a difference in the last bit, and a relative tolerance would mean nothing.
    """
    rng = np.random.default_rng(SEED)
    shapes = {"weights": (3, 2), "biases": (2,)}
    start = {n: (rng.choice((-1, 1), shape) * rng.uniform(8, 10, shape)).tolist() for n, shape in shapes.items()}
    gradients = [{n: rng.uniform(-1, 1, shape).tolist() for n, shape in shapes.items()} for _ in range(STEPS)]
    for step in STEPS_WITHOUT_BIAS_GRADIENT:
        gradients[step]["biases"] = None
    return start, gradients


def trajectory(torch, case, start, gradients):
    """Run one case in PyTorch and record weights, biases and learning rates after every step."""
    names = ("weights", "biases")
    parameters = {name: torch.tensor(start[name], dtype=torch.float64, requires_grad=True) for name in names}
    decay = {"weights": case["weight_decay"], "biases": 0.0}
    optimizer = torch.optim.SGD(
        [{"params": [parameters[n]], "lr": case["lr"][n], "weight_decay": decay[n]} for n in names],
        momentum=case["momentum"],
        nesterov=case["nesterov"],
    )
    schedule = case["schedule"]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, **schedule) if schedule else None

    values: dict[str, list] = {name: [] for name in names}
    rates: dict[str, list] = {name: [] for name in names}
    for gradient in gradients:
        for name in names:
            value = gradient[name]
            parameters[name].grad = None if value is None else torch.tensor(value, dtype=torch.float64)
        optimizer.step()
        if scheduler:
            scheduler.step()
        for name, group in zip(names, optimizer.param_groups, strict=True):
            values[name].append(parameters[name].tolist())
            rates[name].append(group["lr"])
    return {**values, "lr": rates}


def lines(rows):
    """Write a list as JSON with one line for each of its items."""
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]"


def main():
    torch = importlib.import_module("torch")  # not an import statement: mypy then asks for no PyTorch
    start, gradients = draw_inputs()
    cases = [{"settings": case, "after": trajectory(torch, case, start, gradients)} for case in all_settings()]
    entries = {
        "torch": json.dumps(str(torch.__version__)),
        "seed": json.dumps(SEED),
        "start": json.dumps(start),
        "gradients": lines(gradients),
        "cases": lines(cases),
    }
    text = "{\n" + ",\n".join(f'"{name}": {value}' for name, value in entries.items()) + "\n}\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
