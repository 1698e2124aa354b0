"""What lambda changes: λ 0.1, 1.5 and 3 in network3, with η 2.5 and batch 10.

With all 50,000 digits there is little overfitting to be cured. λ 0.1 and 1.5 end alike, at 96.2 % on the validation
digits, 1.5 with wider swings; λ 3 is too strong: 95.6 %. With η 2.5, decay and steps are both long: at η 1.5, the
default of network3, λ 1 comes to 96.5 %. Where there are few digits, decay does help: see `graphs.overfitting`.

The original applied the decay once a digit, so that its λ was ten times the book's; and its curves were drawn with one
network that went on learning. Here λ is the book's, and every run begins anew.
"""

import sys

from .commandline import command
from .figure import Figure

FIGURE = Figure(
    title="L2 weight decay at η 2.5: λ 0.1 and 1.5 end alike, λ 3 is too strong",
    settings={
        f"λ {lmbda}": {"network": "network3", "batch_size": 10, "lr": 2.5, "lmbda": lmbda, "epochs": 30}
        for lmbda in (0.1, 1.5, 3.0)
    },
    caption="network3: 784-30-10, quadratic cost, N(0, 1/fan_in), η 2.5, batch 10, 50,000 digits.",
)

if __name__ == "__main__":
    sys.exit(command("L2_graph"))
