"""The classical MNIST networks of Michael Nielsen's book, built on tinygrad_mnist.

network: stochastic gradient descent. network1: momentum. network2: Nesterov momentum and a learning rate that steps
down. network3: L2 regularization. `python -m zoo` trains all four on the same data.
"""

import tinygrad_mnist as tinygrad_mnist  # first, as it sees to Ctrl-C while NumPy is imported
