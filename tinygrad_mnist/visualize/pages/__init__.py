"""Pages for a browser: one training step to walk through, in a file that needs no network.

`walk.py` computes the step, and `formulas.py` sees the optimizer's formula; `statements.py` has what compile makes of
it, `legend.py` what the names in that stand for, and `sources.py` the user's lines. `layout.py` places the nodes,
`arrays.py`, `tables.py` and `contents.py` write numbers down. `events.py` tells it step by step, those of the backward
pass by `passing.py`, the update and what follows by `updating.py`; `document.py` makes one file of it. The style sheets
and scripts beside them are plain CSS and JavaScript modules, without a build step.
"""
