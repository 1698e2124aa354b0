"""The live page: draw a digit, see all that a network makes of it, and watch it learn. `python -m zoo.sketch`.

__main__.py     the command
serving.py      the server: its address, its end; `show`, for a model of one's own
application.py  what it answers, and whom
session.py      the network in training: one thread, one lock, which several windows look at
subjects.py     what is trained: a network of the zoo with its settings, or any Module
seeing.py       what the network makes of a digit: activations, slopes, the gradient of the cost with respect to
                the pixels; what a step changed
measuring.py    what is measured of it while it trains: the points of the curves, and what it makes of each class
breaking.py     "Break it": a wrong rule in a process of its own, and the property test that finds it
static/         the page itself: plain JavaScript modules, canvas and SVG
"""

from .serving import show as show
