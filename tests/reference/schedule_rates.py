"""Make `schedule_rates.json`: the learning rates of torch.optim.lr_scheduler's schedules, epoch by epoch.

Two groups begin with rates of 0.8 and 0.05. ReduceLROnPlateau is given random walks, in whose middle nothing happens.
The cosine is recorded up to its T_max, as ours ends there.

The tests read only the JSON. Making it anew needs PyTorch (`pip install torch`); from the repository's top:

    python -m tests.reference.schedule_rates

The stored file was made by PyTorch 2.13.0.
"""

import importlib
import json
from pathlib import Path

import numpy as np

from .sgd_trajectories import lines

SEED = 907
FIRST = [0.8, 0.05]


def walk(rng, upwards):
    """Numbers that get better, for a while not, and better again."""
    steps = rng.uniform(-0.02, 0.06, 40)
    steps[12:28] = rng.uniform(-0.01, 0.004, 16)
    return np.clip(0.5 + np.cumsum(steps if upwards else -steps), 0.01, None).tolist()


def all_cases():
    """Each kind of schedule with its settings, and the epochs or the numbers that it is given."""
    rng = np.random.default_rng(SEED)
    cases = [{"kind": "StepLR", "settings": {"step_size": 3, "gamma": 0.3}, "epochs": 12}]
    cases += [{"kind": "CosineAnnealingLR", "settings": {"T_max": n, "eta_min": 0.01}, "epochs": n} for n in (1, 7, 20)]
    cases += [{"kind": "LinearLR", "settings": {}, "epochs": 9}]
    cases += [
        {
            "kind": "LinearLR",
            "settings": {"start_factor": 0.01, "end_factor": 0.7, "total_iters": 6},
            "epochs": 9,
        }
    ]
    cases += [{"kind": "LambdaLR", "settings": {"base": 0.9}, "epochs": 9}]
    cases += [{"kind": "SequentialLR", "settings": {"total_iters": 4, "T_max": 9, "milestones": [4]}, "epochs": 12}]
    for _ in range(12):
        settings = {
            "mode": str(rng.choice(["min", "max"])),
            "factor": float(rng.uniform(0.1, 0.9)),
            "patience": int(rng.integers(0, 5)),
            "threshold": float(rng.choice([0.0, 1e-4, 0.05])),
            "threshold_mode": str(rng.choice(["rel", "abs"])),
            "cooldown": int(rng.integers(0, 4)),
            "min_lr": float(rng.choice([0.0, 0.02])),
        }
        cases.append({"kind": "ReduceLROnPlateau", "settings": settings, "given": walk(rng, settings["mode"] == "max")})
    return cases


def made(schedulers, kind, optimizer, settings):
    """A schedule of PyTorch, or of a module with the same names."""
    if kind == "LambdaLR":
        return schedulers.LambdaLR(optimizer, lambda epoch: settings["base"] ** epoch)
    if kind == "SequentialLR":
        warm_up = schedulers.LinearLR(optimizer, total_iters=settings["total_iters"])
        cosine = schedulers.CosineAnnealingLR(optimizer, T_max=settings["T_max"])
        return schedulers.SequentialLR(optimizer, [warm_up, cosine], milestones=settings["milestones"])
    return getattr(schedulers, kind)(optimizer, **settings)


def rates(torch, case):
    """The rates of both groups before and after every epoch."""
    parameters = [torch.zeros(1, requires_grad=True) for _ in FIRST]
    optimizer = torch.optim.SGD([{"params": [p], "lr": lr} for p, lr in zip(parameters, FIRST, strict=True)])
    schedule = made(torch.optim.lr_scheduler, case["kind"], optimizer, case["settings"])
    found = [[group["lr"] for group in optimizer.param_groups]]
    for value in case.get("given") or [None] * case["epochs"]:
        optimizer.step()
        schedule.step(*([] if value is None else [value]))
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def main():
    torch = importlib.import_module("torch")  # not an import statement: mypy then asks for no PyTorch
    rows = lines([{**case, "rates": rates(torch, case)} for case in all_cases()])
    text = f'{{\n"torch": {json.dumps(str(torch.__version__))},\n"seed": {SEED},\n"cases": {rows}\n}}\n'
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
