"""What the names in a compiled program stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tinygrad_mnist.op import Op
from tinygrad_mnist.replay.formula import Slot
from tinygrad_mnist.replay.numpy_text import NumPyText
from tinygrad_mnist.replay.program import Buffer, Number
from tinygrad_mnist.tensor import Tensor
from tinygrad_mnist.visualize.notation import printable, shape_text, value_text

SYMBOLS = {"lr": "η", "momentum": "μ"}
"""What the book's formulas call an optimizer's options."""


def legend(text: NumPyText, known: Mapping[Buffer, str]) -> dict[str, str]:
    """For each name in the text that is not NumPy's: what it stands for. Of some buffers that is `known`."""
    told = dict(_of_values(text))
    told |= {b.name: known.get(b) or _of_buffer(b, text) for b in text.buffers if not _updates(b, text)}
    for b in text.buffers:
        if b.offset is not None and b.base is not None:
            told[b.base.name], told[b.name] = _of_part(b, b.base, text, known)
    return {name: printable(words) for name, words in told.items()}


def _updates(b: Buffer, text: NumPyText) -> bool:
    """Whether it is a parameter after its update, in the memory of the one before."""
    return b in text.made and text.made[b].update


def _of_values(text: NumPyText) -> Iterator[tuple[str, str]]:
    for number in text.numbers:
        letter = f", {SYMBOLS[number.key]} in formulas" if number.key in SYMBOLS else ""
        yield number.name, f"the optimizer's {number.key}{letter}, which is read at each call"
    for key, entry in text.values.items():
        match key:
            case (Number() as number, dtype):
                yield entry.name, f"the number {number.key} as a {dtype}"
            case (str() as digits, dtype):
                yield entry.name, f"the number {digits} as a {dtype}"
            case Op():
                yield entry.name, f"what computes the op {key.name}"


def _of_buffer(b: Buffer, text: NumPyText) -> str:
    for kept, place in text.program.stores:
        if kept is b:
            over = ", in the memory of the old one" if text.plan.places.get(b) is place else ""
            return f"the new {place.source.name}, kept for the next step{over}"
    if isinstance(b.source, Slot):
        return f"the {b.source.name} that {type(b.source.optimizer).__name__} has kept for {b.source.key.name}"
    if isinstance(b.source, Tensor) and b.source.name:
        return f"the array of {b.source.name} itself"
    if b.kind == "constant":
        value = value_text(b.value) or f"an array of shape {shape_text(b.value)}"
        return f"{value}, computed once, when the step was recorded, as it never changes"
    if b not in text.made:
        return "an array from outside of the step"
    made = text.made[b]
    names = [x.name if isinstance(x, Buffer | Number) else str(x) for x in made.inputs]
    if b.base is not None:
        how = "with rows and columns exchanged" if made.op.name == "transpose" and len(b.shape) == 2 else made.op.name
        return f"{names[0]}, {how}: a view of the same memory"
    return f"memory for {made.op.name}({', '.join(names)})"


def _of_part(b: Buffer, whole: Buffer, text: NumPyText, known: Mapping[Buffer, str]) -> tuple[str, str]:
    """What an array of parts is that one call multiplies all at once, and what this part of it is."""
    if whole not in text.made:
        return "all gradients, one behind the other in memory", known.get(b, "a gradient")
    number, gradients = text.made[whole].inputs
    same = (known[other] for other in known if other.base is gradients and other.offset == b.offset)
    return (
        f"{number.name} times all gradients, by one call",
        f"{number.name} times {next(same, 'a gradient')}, its part of {whole.name}",
    )
