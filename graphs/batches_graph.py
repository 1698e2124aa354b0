"""What the size of the mini-batch changes: 10, 30 and 100 digits, with the same η 2.5, in the first network.

With η left as it is, a larger batch means fewer steps of the same length: 95.4, 94.9 and 93.8 % on the validation
digits after 30 epochs, and at the start 88, 84 and 65 %. A larger batch is not worse in itself; it wants a larger η.

The original's picture has its batch-30 curve begin at 95 %, above the others. Two things were wrong with it: its curves
were drawn one after the other with one network, so that each began with what the one before had learned; and its batch
only divided η. Here every curve and seed begins anew, and a batch is one step along the mean gradient.
"""

import sys

from .commandline import command
from .figure import Figure

FIGURE = Figure(
    title="With the same η, larger mini-batches learn less in an epoch",
    settings={f"batch {n}": {"network": "network", "batch_size": n, "lr": 2.5, "epochs": 30} for n in (10, 30, 100)},
    caption="network: 784-30-10, quadratic cost, N(0, 1), η 2.5, 50,000 digits.",
)

if __name__ == "__main__":
    sys.exit(command("batches_graph"))
