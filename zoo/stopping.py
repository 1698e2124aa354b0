"""Which epoch was the best, and when to stop: "no improvement in n epochs", as Nielsen's chapter 3 has it.

Both follow from the records alone, so that a run that is resumed stops where one that was not interrupted does.
"""

from collections.abc import Sequence

from tinygrad_mnist import mnist
from tinygrad_mnist.train import Epoch

from .words import counted, percent


def best_of(history: Sequence[Epoch]) -> Epoch | None:
    """The epoch with the highest validation accuracy, of several the first; None if there is none."""
    known = [epoch for epoch in history if epoch.validation is not None]
    return max(known, key=lambda epoch: epoch.validation or 0.0, default=None)


def stands_still(history: Sequence[Epoch], patience: int | None) -> bool:
    """Whether the last `patience` epochs were no better than the best before them; never with a patience of None."""
    best = best_of(history)
    return patience is not None and best is not None and history[-1].epoch - best.epoch >= patience


def check_validation(data: mnist.Dataset, patience: int | None, keep_best: bool) -> None:
    """Raise a ValueError if there is no validation data to go by."""
    if (patience is not None or keep_best) and not len(data.validation):
        option = "--keep-best" if patience is None else "--patience"
        raise ValueError(f"{option}: goes by the validation accuracy, and there are no validation images; leave it out")


def why_stopped(history: Sequence[Epoch], patience: int) -> str:
    """What is said of a training that has stopped early."""
    best = best_of(history)
    assert best is not None
    last = "the last was not" if patience == 1 else f"none of the last {patience} was"
    return (
        f"stopped after {counted(len(history), 'epoch')}: {last} better than epoch "
        f"{best.epoch}, with {percent(best.validation)} of the validation images"
    )


def what_is_kept(history: Sequence[Epoch]) -> str:
    """What is said of the weights that are kept."""
    best = best_of(history)
    assert best is not None
    return (
        f"kept the weights of the best epoch, {best.epoch}: validation {percent(best.validation)}  "
        f"test {percent(best.test)}"
    )
