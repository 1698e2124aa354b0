"""The learning rate of the book's chapter 3, which is lowered where training stands still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from tinygrad_mnist.convert import in_one_line, is_real, is_whole

from .optimizer import Optimizer
from .schedule import Schedule


class ReduceLROnPlateau(Schedule):
    """Lower the rate where training stands still: lr = max(first lr * factor^reductions, min_lr).

    The rate is reduced after more than `patience` epochs in a row that were not better than the best before them.
    Nielsen's chapter 3: hold the learning rate constant until the validation accuracy starts to get worse, then
    decrease it, say by a factor of 2 or 10; many times, until it is 1024 times lower than at first (`min_lr`).
    It needs the records, or numbers: `schedule.step(epoch)`.

    Args:
        optimizer: whose groups' "lr" it sets.
        mode: "max" if larger is better, "min" if smaller is; None for what the metric needs, "min" for the cost.
        factor: what the rate is multiplied by, > 0 and < 1.
        patience: for how many epochs nothing need improve, >= 0.
        threshold: what is better by less than this does not count, >= 0.
        threshold_mode: "rel" for a share of the best, "abs" for a difference.
        cooldown: for how many epochs after a reduction nothing is counted, >= 0.
        min_lr: no rate is made lower than this, >= 0.
        metric: what is looked at: "validation", the accuracy, or another number of the record: "training", "cost".
    """

    modes: ClassVar = {"validation": "max", "training": "max", "test": "max", "cost": "min"}
    keeps = ("best", "bad_epochs", "cooling", "reductions")

    mode: str | None
    factor: float
    patience: int
    threshold: float
    threshold_mode: str
    cooldown: int
    min_lr: float
    metric: str

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str | None = None,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        metric: str = "validation",
    ) -> None:
        self.best: float | None = None
        self.bad_epochs = self.cooling = self.reductions = 0
        super().__init__(
            optimizer,
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            threshold_mode=threshold_mode,
            cooldown=cooldown,
            min_lr=min_lr,
            metric=metric,
        )

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings, if they are what they should be."""
        choices = {"mode": (None, "min", "max"), "threshold_mode": ("rel", "abs"), "metric": tuple(self.modes)}
        for name, known in choices.items():
            if settings[name] not in known:
                raise ValueError(
                    f"{self._kind}: expected {name} to be one of {known}, got {in_one_line(settings[name])}"
                )
        return {
            **settings,
            "factor": self._number(settings, "factor", below=1),
            "threshold": self._number(settings, "threshold", least=0),
            "min_lr": self._number(settings, "min_lr", least=0),
            "patience": self._whole(settings, "patience", 0),
            "cooldown": self._whole(settings, "cooldown", 0),
        }

    def rate(self, first: float, epoch: int) -> float:
        """The learning rate after the reductions that there were, whatever the epoch."""
        return max(first * self.factor**self.reductions, min(self.min_lr, first))

    def step(self, record: Any = None) -> None:
        """Go on to the next epoch, and reduce the rate if it is time.

        Args:
            record: of the epoch that is over, a `train.Epoch`; or a number, if `mode` was given.
        """
        value, best = self._value(record), self.best
        better = best is None or self._is_better(value, best)
        cooling = max(self.cooling - 1, 0)
        bad_epochs = 0 if better or self.cooling else self.bad_epochs + 1
        reduces = bad_epochs > self.patience
        self._change(
            {
                "epoch": self.epoch + 1,
                "first": self._all_first(),
                "best": value if better else best,
                "bad_epochs": 0 if reduces else bad_epochs,
                "cooling": self.cooldown if reduces else cooling,
                "reductions": self.reductions + reduces,
            },
            apply=reduces,  # until then a rate that was set by hand stays
        )

    def _value(self, record: Any) -> float:
        value = getattr(record, self.metric, None)
        if is_real(record) and self.mode is not None:
            value = record
        elif is_real(record):
            raise ValueError(
                f"{self._kind}: got the number {in_one_line(record)}; say mode='min' or 'max', or pass the Epoch record"
            )
        elif not hasattr(record, self.metric):
            raise TypeError(
                f"{self._kind}: step() needs the record of the epoch, got {in_one_line(record)}; write step(epoch)"
            )
        if value is None:
            raise ValueError(
                f"{self._kind}: the epoch has no {self.metric}, as there is no data for it; choose metric='cost'"
            )
        if math.isnan(value):
            raise ValueError(f"{self._kind}: {'the value' if is_real(record) else self.metric} is not a number")
        return float(value)

    def _is_better(self, value: float, best: float) -> bool:
        margin = self.threshold * (abs(best) if self.threshold_mode == "rel" else 1.0)
        return value > best + margin if (self.mode or self.modes[self.metric]) == "max" else value < best - margin

    def _kept(self, name: str, value: Any) -> Any:
        if not is_real(value) if name == "best" and value is not None else name != "best" and not is_whole(value, 0):
            raise ValueError(f"{self._kind}: the saved schedule is damaged: {name} {in_one_line(value)}")
        return value
