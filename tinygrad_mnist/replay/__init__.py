"""compile(step): record what a training step does, then replay it as straight-line NumPy.

While a step is recorded it runs as it always does, and every op that is called on Tensors is noted. The backward pass
is ops of the same table, since its rules are called with Tensors, and so is the optimizer's formula. What comes out is
one list of instructions: forward, backward and update (`recording.py`); `program.py` makes a program of it,
`numpy_text.py` Python text of that, and `binding.py` a function that runs it (`compiled.py` has the overview).

What a replay promises is little, and checked. Numbers that optimizers read are read at each replay (`formula.py`);
what else the step is a function of must be as it was, which is looked at in every call (`guards.py`, `reading.py`); and
every so often the step itself runs beside the replay (`audit.py`), which finds what nobody looks at.
"""

from .compiled import BACKENDS as BACKENDS
from .compiled import Compiled as Compiled
from .compiled import compile as compile
