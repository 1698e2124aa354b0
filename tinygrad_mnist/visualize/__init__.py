"""Looking at things: computation graphs as pictures and as text, the first NaN, and a digit as text.

    with visualize.trace():
        loss = quadratic_cost(network(x), y)
    visualize.save(visualize.graph(loss), "net.svg")

Graphs are drawn by graphviz, which is imported when it is first used.
"""

from tinygrad_mnist.digits import digit as digit

from .explanation import explain as explain
from .picture import graph as graph
from .render import save as save
from .tracing import detect_anomaly as detect_anomaly
from .tracing import trace as trace
from .watching import live as live
