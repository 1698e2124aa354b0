"""Pages for a browser: one training step to walk through, in a file that needs no network.

`walk.py` computes the step, `statements.py` what compile makes of it, `sources.py` finds the user's lines, `layout.py`
places the nodes, `arrays.py` and `contents.py` write all that down, and `document.py` makes one file of it. The style
sheets and scripts beside them are plain CSS and JavaScript modules, without a build step.
"""
