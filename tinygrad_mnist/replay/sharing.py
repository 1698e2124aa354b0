"""Which buffers of a program lie in the same memory, once their places are planned, and which are read later."""

from collections.abc import Mapping, Sequence

from .formula import Slot
from .program import Buffer, Instruction, Plan, Program


class Sharing:
    """Answers for the buffers of one program.

    Args:
        program: the program.
        plan: where its buffers lie.
        made: the instruction that makes each.
    """

    def __init__(self, program: Program, plan: Plan, made: Mapping[Buffer, Instruction]) -> None:
        self.plan, self.made = plan, made
        self.kept = {b.root for b in program.results} | {b for pair in program.stores for b in pair}
        self.readers: dict[Buffer, list[Instruction]] = {}
        for i in program.instructions:
            for b in i.buffers:
                self.readers.setdefault(b.root, []).append(i)

    def memory(self, b: Buffer) -> Buffer:
        """The buffer whose memory it lies in."""
        return self.plan.places.get(b.root, b.root).root

    def meets(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers may share memory: as what is outside the step may, but for the states of optimizers."""
        one, other = self.memory(a), self.memory(b)
        apart = any(x.kind != "outside" or isinstance(x.source, Slot) for x in (one, other))
        return one is other or not apart

    def is_same(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers are the same memory, element by element."""
        return self.memory(a) is self.memory(b) and self._is_whole(a) and self._is_whole(b) and a.layout == b.layout

    def _is_whole(self, b: Buffer) -> bool:
        """Whether it is all of its memory, and not a view of some of it."""
        while b in self.made and self.made[b].update and b.base is not None:
            b = b.base
        return b.base is None

    def overlaps(self, i: Instruction) -> bool:
        """Whether an instruction writes into memory that it reads, but for the same element."""
        return any(self.meets(b, i.output) and not self.is_same(b, i.output) for b in i.buffers)

    def is_needed_after(self, loop: Sequence[Instruction], i: Instruction) -> bool:
        """Whether anything needs what an instruction of a loop computes when the loop is over."""
        out = i.output
        if i.update or out.base is not None or out in self.kept or out in self.plan.places:
            return True
        return any(reader not in loop for reader in self.readers.get(out, []))
