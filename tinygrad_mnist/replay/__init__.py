"""compile(step): record what a training step does, then replay it as straight-line NumPy.

While a step is recorded it runs as it always does, and every op that is called on Tensors is noted. The backward pass
is ops of the same table, since its rules are called with Tensors, and so is the optimizer's formula. What comes out is
one list of instructions: forward, backward and update (`recording.py`); `program.py` makes a program of it,
`numpy_text.py` Python text of that, and `binding.py` a function that runs it (`compiled.py` has the overview).

A replay must never be wrong. So whatever is not an op is looked after too: numbers that change between steps are read
at each replay (`formula.py`); what the step refers to is watched, and a change means a new recording
(`watching.py`); a value that is read while recording makes the step run eagerly (`Recorder.read`); and two recordings
must agree (`agreement.py`).
"""

from .compiled import Compiled as Compiled
from .compiled import compile as compile
