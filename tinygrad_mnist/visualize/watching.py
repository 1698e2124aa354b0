"""Watching a training: in a notebook a table and curves that grow with every epoch, in a terminal a line for each."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_mnist.checkpoint import Epoch
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.display import in_notebook


def live(epochs: Iterable[Epoch]) -> Iterator[Epoch]:
    """Show every epoch as soon as it is done, and hand it on.

        history = list(visualize.live(train.fit(network, data, ...)))

    In a notebook, one output grows: a table with a row for each epoch, and the curves beside it. Elsewhere each epoch
    is printed as a line. It trains as far as it is iterated over, as `train.fit` does.

    >>> done = list(live([Epoch(1, 0.5, 0.75, 0.5, None, 3.0, None, 0.1)]))
    epoch 1  cost 0.5000  training 75.00 %  validation 50.00 %
    """
    if not isinstance(epochs, Iterable):
        raise TypeError(f"live: expected a training, as live(train.fit(...)), got {in_one_line(epochs)}")
    shown = History()
    handle: Any = None
    for epoch in epochs:
        if not isinstance(epoch, Epoch):
            raise TypeError(f"live: expected Epochs, as live(train.fit(...)) gets, got {in_one_line(epoch)}")
        shown.append(epoch)
        if not in_notebook():
            print(_line(epoch), flush=True)
        elif handle is None:
            from IPython.display import display

            show: Any = display
            handle = show(shown, display_id=True)
        else:
            handle.update(shown)
        yield epoch


class History(list[Epoch]):
    """Epochs that a notebook shows as a table with their curves."""

    def __str__(self) -> str:
        return "\n".join(map(_line, self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("epoch", "cost", "training", "validation", "test", "s"))
        rows = "".join(
            f"<tr><td>{epoch.epoch}</td><td>{epoch.cost:.4g}</td>"
            + "".join(f"<td>{_percent(getattr(epoch, name))}</td>" for name in ("training", "validation", "test"))
            + f"<td>{epoch.seconds:.1f}</td></tr>"
            for epoch in self
        )
        table = f"<table><tr>{head}</tr>{rows}</table>"
        return f'<div style="display:flex;gap:2em;align-items:flex-start">{table}{self._curves()}</div>'

    def _curves(self) -> str:
        """Cost and accuracies against epochs, as SVG."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(6, 2.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        numbers = [epoch.epoch for epoch in self]
        left.plot(numbers, [epoch.cost for epoch in self], color="black", marker=".")
        left.set(xlabel="epoch", ylabel="cost")
        # Of Okabe and Ito's colours, which colour-blind people can tell apart; dashes tell the curves apart in grey.
        for name, colour, dashes in (
            ("training", "#0072B2", ":"),
            ("validation", "#D55E00", "-"),
            ("test", "#009E73", "--"),
        ):
            shares = [getattr(epoch, name) for epoch in self]
            if None not in shares:
                right.plot(numbers, [100 * s for s in shares], dashes, color=colour, marker=".", label=name)
        right.set(xlabel="epoch", ylabel="accuracy (%)")
        right.legend(fontsize="small")
        for axes in (left, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.grid(alpha=0.3)
        file = io.StringIO()
        figure.savefig(file, format="svg")
        return file.getvalue()[file.getvalue().index("<svg") :]


def _line(epoch: Epoch) -> str:
    shares = [(name, getattr(epoch, name)) for name in ("training", "validation", "test")]
    known = [f"{name} {_percent(share)}" for name, share in shares if share is not None]
    return "  ".join([f"epoch {epoch.epoch}", f"cost {epoch.cost:.4f}", *known])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"
