"""Looking at things: a training step as a page, graphs as pictures and as text, the first NaN, a digit as text.

    with visualize.trace():
        loss = quadratic_cost(network(x), y)
    visualize.page(loss).save("step.html")
    visualize.save(visualize.graph(loss), "net.svg")

Graphs are drawn by graphviz, which is imported when it is first used.
"""

from tinygrad_mnist.digits import digit as digit

from .explanation import explain as explain
from .pages.document import Page as Page
from .pages.making import page as page
from .picture import graph as graph
from .render import save as save
from .tracing import detect_anomaly as detect_anomaly
from .tracing import trace as trace
from .watching import live as live
