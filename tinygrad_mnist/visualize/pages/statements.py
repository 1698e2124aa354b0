"""What compile makes of a step: the statements of the program, by what they compute."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tinygrad_mnist.mode import enable_grad
from tinygrad_mnist.optim import SGD, Optimizer, State
from tinygrad_mnist.optim.group import Group
from tinygrad_mnist.optim.state import States
from tinygrad_mnist.replay.numpy_text import NumPyText, comment, writes
from tinygrad_mnist.replay.program import Buffer, Instruction, Program, improve
from tinygrad_mnist.replay.recording import Recorder
from tinygrad_mnist.tensor import Tensor
from tinygrad_mnist.visualize.tracing import observing

from .legend import legend
from .walk import LR, applied_again, forward_formula

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"


class Statements(NamedTuple):
    """The program's function in lines, and which of them belong to what.

    `at` has the numbers of the lines for (phase, Tensor), and in the backward pass for (phase, result, input) too;
    `legend` tells what the names stand for; `problem` is why there is no program.
    """

    lines: list[str]
    at: dict[tuple[Any, ...], list[int]]
    legend: dict[str, str]
    problem: str = ""


class _Recorder(Recorder):
    """A recorder that is told what runs, where others look at the running line of the user's code."""

    at = ""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.complete: dict[Tensor, Buffer] = {}  # the gradients, all parts together

    def passing(self, gradient: Any, result: Tensor) -> None:
        super().passing(gradient, result)
        self.complete[result] = self._buffer(gradient)

    def arrived(self, gradient: Any, leaf: Tensor) -> None:
        super().arrived(gradient, leaf)
        self.complete[leaf] = self._buffer(gradient)

    def _line(self) -> str:
        if self.node is not None and id(self.node) in self.lines:
            return f"gradient of {self.lines[id(self.node)][1]}"
        return self.at

    def _change(self, optimizer: Optimizer, group: dict[str, Any], p: Tensor, gradient: Tensor) -> None:
        self.at = f"{type(optimizer).__name__}.step() of {self.names[id(p)]}"
        super()._change(optimizer, group, p, gradient)


def statements(
    tensors: Sequence[Tensor], output: Tensor, names: Mapping[Tensor, str], optimizer: Optimizer | None
) -> Statements:
    """The program of the step that these Tensors are the forward pass of, compiled from copies of them."""
    if output.op is None:
        return Statements([], {}, {}, "nothing is computed here")
    own = {t: Tensor(t.data.copy(), t.requires_grad, name=names[t]) for t in tensors if t.op is None}
    trained = {t: copy for t, copy in own.items() if copy.requires_grad}
    learns = bool(trained) and output.requires_grad and output.size == 1
    twin = (_twin(optimizer, trained) if optimizer is not None else SGD(list(trained.values()), LR)) if learns else None
    given = [(names[t], copy.data) for t, copy in own.items() if t not in trained]
    recorder = _Recorder(_nothing, given, [copy for t, copy in own.items() if t not in trained])
    recorder.names |= {id(copy): names[t] for t, copy in own.items()}
    buffers: dict[Tensor, Tensor] = {}

    def forward(text: Callable[[str], None]) -> Tensor:
        made: dict[Tensor, Tensor] = dict(own)
        for t in tensors:
            if t.op is not None:
                text(f"{names[t]} = {forward_formula(t, names)}")
                buffers[t] = made[t] = applied_again(t, made)
        return made[output]

    def step(text: Callable[[str], None]) -> Tensor:
        made = forward(text)
        if twin is not None:
            twin.zero_grad()
            made.backward(retain_graph=True)
            text(f"{type(twin).__name__}.step()")
            twin.step()
        return made

    def told(text: str) -> None:
        recorder.at = text

    with observing(None), enable_grad():
        step(lambda text: None)  # once before, as the first step of an optimizer is not like the others
        result = recorder.run(lambda: step(told))
        for t, made in buffers.items():
            if recorder._known(made) and recorder._buffer(made).kind == "result":
                recorder._buffer(made).name = names[t]
        _, tree = recorder.finish(result)
    if recorder.failed:
        return Statements([], {}, {}, f"compile would run it eagerly, as it {recorder.failed}")
    program = recorder.program(tree)
    improve(program, writes)
    whose = {made: t for t, made in (*own.items(), *buffers.items())}
    gradients = {whose[made]: b for made, b in recorder.complete.items() if made in whose}
    texts = _by_purpose(program, tensors, names, gradients)
    texts |= {comment(f"{type(twin).__name__}.step() of {names[t]}"): (UPDATE, t) for t in trained}
    python = NumPyText(program, "")
    written = "\n".join(python.function).split("\n")
    known = {recorder._buffer(result): f"the value of {names[t]}" for t, result in buffers.items()}
    for t, b in gradients.items():  # of several where a rule passes on what it got
        known[b] = f"{known[b]} and ∂{names[t]}, the same array" if known.get(b, "").startswith("∂") else f"∂{names[t]}"
    return Statements(written, _found(written, texts), legend(python, known))


def _by_purpose(
    program: Program, tensors: Sequence[Tensor], names: Mapping[Tensor, str], gradients: Mapping[Tensor, Buffer]
) -> dict[str, tuple[Any, ...]]:
    """What the comments in the program's text are of; instructions of the backward pass are told of their input."""
    texts: dict[str, tuple[Any, ...]] = {}
    for t in tensors:
        if t.op is not None:
            text = f"{names[t]} = {forward_formula(t, names)}"
            texts[comment(text)] = FORWARD, t
            for x, instructions in _by_input(program, f"gradient of {text}", t, gradients).items():
                for i in instructions:
                    i.line += f", to {names[x]}"
                texts[comment(f"gradient of {text}, to {names[x]}")] = BACKWARD, t, x
    return texts


def _by_input(
    program: Program, line: str, node: Tensor, gradients: Mapping[Tensor, Buffer]
) -> dict[Tensor, list[Instruction]]:
    """The instructions of the backward pass through a result, by the input whose gradient they compute.

    Those are what the gradient is computed from, up to other gradients that are complete. What belongs to several
    inputs is told of the first.
    """
    made = {i.output: i for i in program.instructions}
    complete = set(gradients.values())
    found: dict[Tensor, list[Instruction]] = {}
    taken: set[Buffer] = set()
    for x in dict.fromkeys(x for x in node.inputs if isinstance(x, Tensor)):
        stack = [gradients[x]] if x in gradients else []
        seen = set(stack)
        while stack:
            b = stack.pop()
            if b in made and made[b].line == line and b not in taken:
                taken.add(b)
                found.setdefault(x, []).append(made[b])
            for other in made[b].buffers if b in made else ():
                if other not in seen and other not in complete:
                    seen.add(other)
                    stack.append(other)
    return found


def _found(lines: Sequence[str], texts: Mapping[str, tuple[Any, ...]]) -> dict[tuple[Any, ...], list[int]]:
    """The lines that stand below each comment, by what the comment is of."""
    at: dict[tuple[Any, ...], list[int]] = {}
    section = None
    for number, line in enumerate(lines):
        if line.strip().startswith("#"):
            section = texts.get(line.strip())
        elif not line.strip() or line.startswith("def "):
            section = None
        if section is not None:
            at.setdefault(section, []).append(number)
            if len(section) > 2:
                at.setdefault(section[:2], []).append(number)
    return at


def _nothing() -> None:
    """Stands for the step, whose surroundings a recorder looks at."""


def _twin(optimizer: Optimizer, copies: Mapping[Tensor, Tensor]) -> Optimizer:
    """An optimizer with the same options, of copies of the parameters."""
    twin, taken = copying.copy(optimizer), set[Tensor]()
    twin._taken = taken
    twin._groups = tuple(
        Group(
            type(optimizer).__name__,
            taken,
            optimizer.kinds,
            {name: value for name, value in group.items() if name != "params"},
            [copies[p] for p in group["params"] if p in copies],
        )
        for group in optimizer.groups
    )
    twin.state = States()
    for p, kept in optimizer.state.items():
        if p in copies:
            twin.state[copies[p]] = State(p.dtype)
            twin.state[copies[p]].update({name: array.copy() for name, array in kept.items()})
    return twin
