"""The classical MNIST networks of Michael Nielsen's book, built on tinygrad_mnist.

network: stochastic gradient descent. network1: momentum. network2: Nesterov momentum and a learning rate that steps
down. network3: L2 regularization. `python -m zoo` trains all four on the same data.
"""

import os
import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a command begins, Ctrl-C ends it without a traceback

# One thread for NumPy's matrix products, where nobody asked for another number: two give other bits, and for matrices
# as small as these wait for each other: an epoch of network1 took up to ten times as long on a busy machine.
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
for name in THREADS:
    os.environ.setdefault(name, "1")  # read when NumPy is imported
