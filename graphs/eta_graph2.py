"""What the learning rate changes with Nesterov's momentum and step decay: η 0.025, 0.25 and 2.5 in network2.

η 0.25 and 2.5 end alike, at 96.2 % on the validation digits: halving η every ten epochs takes from the larger one what
harms it in `graphs.eta_graph1`, where it stays. η 0.025 is at 93.9 % after 30 epochs, and halving makes it slower
still.

In the original, the learning rate never stepped down (it compared a list with itself), and
each curve began with the network that the one before had trained. Weights are from N(0, 1/fan_in) here, not N(0, 1).
"""

import sys

from .commandline import command
from .figure import Figure

FIGURE = Figure(
    title="Nesterov with step decay: η 0.25 and 2.5 end alike, 0.025 stays behind",
    settings={
        f"η {lr}": {"network": "network2", "batch_size": 10, "lr": lr, "momentum": 0.5, "epochs": 30}
        for lr in (0.025, 0.25, 2.5)
    },
    caption="network2: 784-30-10, quadratic cost, N(0, 1/fan_in), μ 0.5, batch 10, η halved every 10 epochs, "
    "50,000 digits.",
)

if __name__ == "__main__":
    sys.exit(command("eta_graph2"))
