"""A recorded step as data: instructions over buffers, the passes that improve them, and where the buffers live.

`recording.py` records a step as a list of instructions, each an op of the table with its inputs, its output and the
line of the step that it belongs to. Here that list is improved (`improve`) and given memory (`plan`); `numpy_text.py`
writes it as Python text. Only that knows NumPy's functions: another back end would read the same instructions and plan.

What the passes may do is bounded by one promise: the program computes the same bits as the step. So every buffer keeps
the strides it had when it was recorded (another order of the elements changes the bits of sums), copies stay copies (a
matrix product `A @ A.T` is computed in another way than `A @ B` with equal numbers), and nothing changes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_mnist.op import OPS, Op
from tinygrad_mnist.tensor import Array


def is_ours(op: Op) -> bool:
    """Whether an op is one of this package's own, of which it is known how it is made."""
    return str(op.function.__module__).partition(".")[0] == __name__.partition(".")[0]


def layout(x: Array) -> tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]:
    """What two arrays must have in common for the same statements to give the same bits: shape, dtype and strides."""
    return x.shape, x.dtype, x.strides


def identical(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits."""
    if a.dtype.char in "gG":  # has bytes that mean nothing
        return np.array_equal(a, b, equal_nan=True)
    return a.tobytes() == b.tobytes()


@dataclass(eq=False, slots=True)
class Buffer:
    """An array of the program.

    Attributes:
        kind: "argument" of the step; "outside", a Tensor or array that exists before the step, as parameters do;
            "constant"; or "result" of an instruction.
        shape, dtype, strides: as they were when recorded.
        base: the buffer whose memory it shares, for views and for parameters that were changed in place.
        offset: for a part of its base that instructions write to: the place of its first element. None for a view.
        source: where the array of an "outside" buffer is found at each replay: a Tensor, an array, or a Slot.
        value: the array it was when recorded.
        tracked: of an "outside" buffer: whether its Tensor requires gradients.
        fresh: made anew at each replay, since the caller gets it.
        name: what the text calls it.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]
    value: Array
    base: Buffer | None = None
    offset: int | None = None
    source: Any = None
    tracked: bool = False
    fresh: bool = False
    name: str = ""

    @property
    def root(self) -> Buffer:
        """The buffer that owns the memory."""
        buffer = self
        while buffer.base is not None:
            buffer = buffer.base
        return buffer

    @property
    def layout(self) -> tuple[Any, ...]:
        """As that of an array: shape, dtype and strides."""
        return self.shape, self.dtype, self.strides


@dataclass(eq=False, slots=True, repr=False)  # of an option the text would be that of all parameters
class Number:
    """A number that is read at each replay, such as a learning rate: `owner[key]`. It had this value when recorded.

    Of an option that is several numbers, as Adam's betas are, it is the one at `place`.
    """

    owner: dict[str, Any]
    key: str
    value: Any = None
    name: str = ""
    place: int | None = None

    @property
    def now(self) -> Any:
        """The number that is there now."""
        held = self.owner[self.key]
        return held if self.place is None else held[self.place]

    def text(self, owner: str) -> str:
        """How it is read, in Python; the owner has this name."""
        return f"{owner}[{self.key!r}]{'' if self.place is None else f'[{self.place}]'}"


@dataclass(eq=False, slots=True)
class Instruction:
    """One op of the program: `output = op(*inputs, **params)`.

    Attributes:
        op: of the table.
        inputs: buffers, numbers that are read at each replay, and Python's numbers.
        output: where the result goes.
        params: the op's parameters.
        line: of the step, and its text.
        update: the output overwrites its base: a parameter, or a Buffer of a Module.
    """

    op: Op
    inputs: tuple[Any, ...]
    output: Buffer
    params: Mapping[str, Any]
    line: str = ""
    update: bool = False

    @property
    def buffers(self) -> list[Buffer]:
        """The inputs that are buffers."""
        return [x for x in self.inputs if isinstance(x, Buffer)]

    @property
    def impure(self) -> bool:
        """Whether it draws random numbers, as a user's op may, and so is done even if nothing reads its result."""
        return not is_ours(self.op) or any(isinstance(value, np.random.Generator) for value in self.params.values())

    @property
    def elementwise(self) -> bool:
        """Whether NumPy computes it element by element, so that the output may overwrite an input."""
        return (isinstance(self.op.forward, np.ufunc) and self.op.forward.signature is None) or squares(self)


_MUL, _POW = (OPS[name] for name in ("mul", "pow"))


def squares(i: Instruction) -> bool:
    """Whether it is x ** 2, which NumPy computes as x x."""
    return i.op is _POW and isinstance(i.inputs[0], Buffer) and type(i.inputs[1]) is int and i.inputs[1] == 2


@dataclass(eq=False, slots=True)
class Program:
    """A step as straight-line code.

    Attributes:
        arguments: the step's arrays, in order.
        instructions: in the order of the step.
        results: the buffers that the step returns.
        stores: (buffer, place) for each array that an optimizer keeps from step to step: the buffer's values end up in
            the place, an "outside" buffer.
        gradients: the buffer whose gradient another one is, for names.
    """

    arguments: list[Buffer]
    instructions: list[Instruction]
    results: list[Buffer]
    stores: list[tuple[Buffer, Buffer]]
    gradients: dict[Buffer, Buffer]

    def outside(self) -> list[Buffer]:
        """The buffers that exist before the step, each once."""
        used = [b.root for i in self.instructions for b in (*i.buffers, i.output)]
        used += [b.root for b in self.results] + [place for _, place in self.stores]
        return [b for b in dict.fromkeys(used) if b.kind == "outside"]


# ----------------------------------------------------------------------------------------------------------------------
# Passes


def improve(program: Program, writes: Callable[[Instruction], bool], *, join: bool = True) -> None:
    """Compute once what no replay can change, share what is computed twice, and remove what nothing reads.

    `writes` tells of an instruction whether the back end can let it write into given memory.
    """
    _fold(program)
    _share(program)
    _remove_dead(program)
    if join:
        _join(program, writes)


def _fold(program: Program) -> None:
    """Results of constants alone are constants: 1/n, and the 1 that backpropagation starts with."""
    kept = []
    for i in program.instructions:
        if i.update or i.impure or not all(_is_constant(x) for x in i.inputs):
            kept.append(i)
        else:
            i.output.kind, i.output.base = "constant", None
    program.instructions = kept


def _is_constant(x: Any) -> bool:
    return x.kind == "constant" if isinstance(x, Buffer) else not isinstance(x, Number)


def _share(program: Program) -> None:
    """Compute only once what is elementwise and equal, such as a - y in a cost and in its gradient.

    Only if no matrix product reads it: equal numbers in the same memory can give other bits there than in two.
    """
    readers: dict[Buffer, bool] = {}
    for i in program.instructions:
        for b in i.buffers:
            readers[b] = readers.get(b, True) and i.elementwise
    held = {b.root for b in program.results} | {b for b, _ in program.stores}
    viewed = {i.output.base for i in program.instructions}
    seen: dict[Any, Buffer] = {}
    same: dict[Buffer, Buffer] = {}
    updates = 0
    kept = []
    for i in program.instructions:
        i.inputs = tuple(same.get(x, x) if isinstance(x, Buffer) else x for x in i.inputs)
        if i.update:
            updates += 1  # of a parameter, of which an argument or a detached Tensor may be a view
        elif i.elementwise and readers.get(i.output) and i.output not in held and i.output not in viewed:
            outside = any(isinstance(x, Buffer) and x.root.kind in ("argument", "outside") for x in i.inputs)
            inputs = (x if isinstance(x, Buffer | Number) else repr(x) for x in i.inputs)
            key = (i.op, updates * outside, *inputs)
            earlier = seen.setdefault(key, i.output)
            if earlier is not i.output and earlier.layout == i.output.layout:
                same[i.output] = earlier
                continue
        kept.append(i)
    program.instructions = kept


def _remove_dead(program: Program) -> None:
    needed = set(program.results) | {b for b, _ in program.stores}
    kept = []
    for i in reversed(program.instructions):
        if i.update or i.impure or i.output in needed:
            kept.append(i)
            needed.update(i.buffers)
    program.instructions = kept[::-1]


def _join(program: Program, writes: Callable[[Instruction], bool]) -> None:
    """Multiply all gradients by the learning rate at once: they become parts of one buffer.

    One call for four arrays saves 3 % of a step at batch 10. What multiplies them is the same, element by element.
    """
    made = {i.output: i for i in program.instructions}
    uses: dict[Buffer, int] = {}
    for i in program.instructions:
        for b in i.buffers:
            uses[b.root] = uses.get(b.root, 0) + 1
    for b in (*program.results, *(b for pair in program.stores for b in pair)):
        uses[b.root] = 2
    groups: dict[Any, list[Instruction]] = {}
    for i in program.instructions:
        if i.op is _MUL and len(i.buffers) == 1 and isinstance(i.inputs[0], Number):
            g, scaled = i.inputs[1], i.output
            once = g.base is None and g in made and uses[g] == uses.get(scaled) == 1 and writes(made[g])
            if once and in_order(g) and in_order(scaled) and g.dtype == scaled.dtype:
                groups.setdefault((i.inputs[0], g.dtype), []).append(i)
    at = {i: n for n, i in enumerate(program.instructions)}
    joined: dict[Instruction, Instruction | None] = {}
    for (number, dtype), group in groups.items():
        first = min(group, key=lambda i: at[i])
        group = [i for i in group if at[made[i.inputs[1]]] < at[first]]
        if len(group) < 2:
            continue
        group.sort(key=lambda i: -math.prod(i.output.shape))
        size = sum(math.prod(i.output.shape) for i in group)
        whole, scaled = (
            Buffer("result", (size,), dtype, (dtype.itemsize,), group[0].output.value, name=name)
            for name in ("gradients", f"{number.key}_gradients")
        )
        offset = 0
        for i in group:
            for part, base in ((i.inputs[1], whole), (i.output, scaled)):
                part.base, part.offset = base, offset
            i.output.name = f"{number.key}_{i.inputs[1].name}"
            offset += math.prod(i.output.shape)
        joined.update(dict.fromkeys(group))
        joined[first] = Instruction(first.op, (number, whole), scaled, {}, group[0].line)
    kept = (joined.get(i, i) for i in program.instructions)
    program.instructions = [i for i in kept if i is not None]


def in_order(b: Buffer) -> bool:
    """Whether its elements lie one after the other in the order of its axes."""
    return b.strides == np.empty(b.shape, b.dtype).strides


@dataclass(eq=False, slots=True)
class Block:
    """A piece of memory, which buffers use one after the other."""

    size: int
    until: int


@dataclass(eq=False, slots=True)
class Plan:
    """Where the buffers live.

    Attributes:
        blocks: the block of each result that has memory of its own in the program.
        places: results computed straight into an "outside" buffer, as a velocity into its former values.
        copies: the stores that remain to be copied at the end.
    """

    blocks: dict[Buffer, Block]
    places: dict[Buffer, Buffer]
    copies: list[tuple[Buffer, Buffer]]


def plan(program: Program, writes: Callable[[Instruction], bool], *, reuse: bool = True) -> Plan:
    """Give memory to the results of those instructions that can write into given memory.

    A block is used again once its last reader is done; an elementwise instruction may write over an input that it is
    the last to read. Everything else allocates before it frees.
    """
    last: dict[Buffer, int] = {}
    for n, i in enumerate(program.instructions):
        for b in (*i.buffers, i.output):
            last[b.root] = n  # a buffer of parts lives from the first part that is written
    for b in (*program.results, *(b for b, _ in program.stores)):
        last[b.root] = len(program.instructions)
    made = Plan({}, {}, [])
    at = {i.output: (n, i) for n, i in enumerate(program.instructions)}
    for b, place in program.stores:
        if b not in made.places and b in at and _fits(*at[b], place, writes, last.get(place, -1)):
            made.places[b] = place
        else:
            made.copies.append((b, place))
    blocks: list[Block] = []
    for n, i in enumerate(program.instructions):
        b = i.output if i.output.offset is None else i.output.root
        if b in made.blocks or b.base is not None or b.fresh or b in made.places or not writes(i) or not _dense(b):
            continue
        block = None
        if i.elementwise and reuse:
            for x in i.buffers:
                if x in made.blocks and last[x] == n and x.layout == b.layout and _alone(x, i):
                    block = made.blocks[x]
        if block is None:
            size = _extent(b)
            free = [k for k in blocks if k.until < n and reuse]
            roomy = [k for k in free if k.size >= size]
            block = min(roomy, key=lambda k: k.size) if roomy else max(free, key=lambda k: k.size, default=None)
            if block is None:
                block = Block(0, 0)
                blocks.append(block)
            block.size = max(block.size, size)
        block.until = last[b]
        made.blocks[b] = block
    return made


def _alone(x: Buffer, i: Instruction) -> bool:
    """Whether the instruction reads the memory of x as x only, not through a view as well."""
    return all(other is x or other.root is not x for other in i.buffers)


def _fits(n: int, i: Instruction, place: Buffer, writes: Callable[[Instruction], bool], last: int) -> bool:
    """Whether the n-th instruction can write right into the place: nobody reads its former values afterwards."""
    before = last < n or (last == n and i.elementwise and _alone(place, i))
    b = i.output
    return before and b.base is None and not b.fresh and b.layout == place.layout and writes(i)


def _dense(b: Buffer) -> bool:
    """Whether its elements fill a piece of memory without gaps, in whatever order of the axes."""
    size = math.prod(b.shape) * b.dtype.itemsize
    return all(s > 0 for n, s in zip(b.shape, b.strides, strict=True) if n > 1) and _extent(b) == size


def _extent(b: Buffer) -> int:
    """The bytes from its first element to the end of its last."""
    if 0 in b.shape:
        return 0
    return b.dtype.itemsize + sum((n - 1) * s for n, s in zip(b.shape, b.strides, strict=True) if n > 1)
