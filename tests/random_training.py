"""Random training programs: a network, an optimizer and a step drawn from a seed, and what happens between calls."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, losses, nn, optim
from tinygrad_mnist.tensor import values
from zoo.custom import Adam

F = np.float32
ACTIVATIONS = [tg.sigmoid, tg.relu, tg.tanh, nn.Sigmoid(), tg.exp]


class Centred(nn.Module):
    """Subtracts a running mean, of which it is told how slow it is."""

    def __init__(self, n: int) -> None:
        self.mean = nn.Buffer(np.zeros(n, F))
        self.options = {"slowness": 0.9}

    def forward(self, x: Any) -> Any:
        k = self.options["slowness"]
        if self.training:
            self.mean.assign(k * self.mean + (1 - k) * x.mean(0))
        return x - self.mean


class Training:
    """A network, its optimizer and a step, drawn from a seed; and ways to change them between calls."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        sizes = [6, *self.rng.integers(2, 6, self.rng.integers(0, 3)).tolist(), 3]
        layers: list[Any] = []
        for a, b in itertools.pairwise(sizes):
            layers.append(nn.Linear(a, b, rng=self.rng, bias=self.pick(["zeros", "normal", False])))
            layers.append(self.pick(ACTIVATIONS))
            if self.rng.random() < 0.3:
                layers.append(nn.Dropout(0.4, rng=np.random.default_rng(self.rng.integers(99))))
            if self.rng.random() < 0.3:
                layers.append(Centred(b))
        self.network: Any = nn.Sequential(*layers)
        self.cost: Any = self.pick([losses.quadratic_cost, losses.softmax_cross_entropy])
        self.optimizer = self.new_optimizer()
        self.schedule = optim.StepLR(self.optimizer, int(self.rng.integers(1, 4)), 0.7)
        self.clears_first = bool(self.rng.random() < 0.7)
        self.form: Any = self.pick([tuple, list, dict])

    def pick(self, things: Any) -> Any:
        return things[self.rng.integers(len(things))]

    def new_optimizer(self) -> optim.Optimizer:
        p = self.network.parameters()
        groups: Any = self.pick([p, [{"params": p[:1], "lr": 0.01}, {"params": p[1:], "weight_decay": 0.01}]])
        if len(p) == 1:
            groups = p
        make: Any = self.pick([optim.SGD, optim.Momentum, optim.Nesterov, Adam])
        return make(groups, lr=0.02)

    def step(self, x: Any, y: Any) -> Any:
        out = self.network(x)
        loss = self.cost(out, y)
        if self.clears_first:
            self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if not self.clears_first:
            self.optimizer.zero_grad()
        return loss, out

    def grouped(self, batch: Any) -> Any:
        loss, out = self.step(*(batch.values() if isinstance(batch, dict) else batch))
        return {"loss": loss, "out": [out]}

    # --- what happens between calls ---

    def lower_the_rate(self) -> None:
        self.schedule.step()

    def set_an_option(self) -> None:
        group = self.pick(self.optimizer.groups)
        name = self.pick([name for name in group if name != "params"])
        group[name] = group[name] * 0.5

    def freeze(self) -> None:
        p = self.pick(self.optimizer._members())
        if len([q for q in self.optimizer._members() if q.requires_grad]) > 1 or not p.requires_grad:
            p.requires_grad = not p.requires_grad

    def swap_an_activation(self) -> None:
        places = [i for i, layer in enumerate(self.network.layers) if layer in ACTIVATIONS]
        if places:  # else all are copies
            self.network.layers[self.pick(places)] = self.pick(ACTIVATIONS)

    def append_a_layer(self) -> None:
        self.network.layers.append(self.pick(ACTIVATIONS))

    def set_an_attribute(self) -> None:
        for module in self.network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.2
            if isinstance(module, Centred):
                module.options["slowness"] = 0.5

    def load(self) -> None:
        self.network.load_state_dict({name: 0.5 * array for name, array in self.network.state_dict().items()})

    def load_the_optimizer(self) -> None:
        if all(p.requires_grad for p in self.optimizer._members()):  # others are refused
            self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))

    def clear_the_state(self) -> None:
        self.optimizer.state.clear()

    def assign(self) -> None:
        p = self.pick(self.tensors())
        p.data = self.pick([p.data * F(0.5), np.asfortranarray(p.data)])

    def write(self) -> None:
        self.pick(self.tensors()).data[...] *= F(0.5)

    def look_at_gradients(self) -> None:
        (self.network(Tensor(np.ones((2, 6), F))) ** 2).sum().backward()

    def evaluate(self) -> None:
        self.network.eval()
        self.network(Tensor(np.ones((2, 6), F)))
        self.network.train(self.rng.random() < 0.8)

    def replace_a_layer(self) -> None:
        places = [i for i, layer in enumerate(self.network.layers) if isinstance(layer, nn.Linear)]
        i = self.pick(places)
        n, m = self.network.layers[i].weight.shape
        self.network.layers[i] = nn.Linear(n, m, rng=np.random.default_rng(7))
        self.optimizer = self.new_optimizer()

    def copy_all(self) -> None:
        self.network, self.optimizer = copy.deepcopy((self.network, self.optimizer))
        self.schedule = optim.StepLR(self.optimizer, 2, 0.7)

    def nothing(self) -> None:
        pass

    def tensors(self) -> list[Tensor]:
        return [t for _, t in self.network._state()]

    def left(self) -> Any:
        """All that a training leaves behind, as bytes."""
        tensors = [(t.requires_grad, t.data.tobytes("A")) for t in self.tensors()]
        states = [
            {name: x.tobytes("A") for name, x in self.optimizer.state.get(p, {}).items()}
            for p in self.optimizer._members()
        ]
        chance = [str(m.rng.bit_generator.state) for m in self.network.modules() if isinstance(m, nn.Dropout)]
        return tensors, states, chance


EVENTS = [name for name, item in vars(Training).items() if name[0] != "_" and callable(item)][4:-2]
TAKES_EFFECT_AT_AN_AUDIT = {"replace_a_layer", "copy_all"}
"""These set attributes of the `Training`, which is no Module: the step is compiled anew after them."""


def run(seed: int, wrap: Callable[[Any], Any]) -> tuple[list[Any], list[Any]]:
    """What each call returns and leaves behind; and the compiled steps."""
    training = Training(seed)
    rng = np.random.default_rng([seed, 1])
    steps = [wrap(training.step), wrap(training.grouped)]
    used, course = [*steps], []
    for _ in range(int(rng.integers(8, 26))):
        event = EVENTS[rng.integers(len(EVENTS))] if rng.random() < 0.4 else "nothing"
        getattr(training, event)()
        if event in TAKES_EFFECT_AT_AN_AUDIT:
            steps = [wrap(training.step), wrap(training.grouped)]
            used += steps
        for _ in range(int(rng.integers(1, 6))):
            n = int(rng.choice([5, 5, 5, 3]))
            batch = rng.random((n, 6), dtype=F), np.eye(3, dtype=F)[rng.integers(0, 3, n)]
            as_tensors, flat = rng.random(2) < [0.5, 0.7]
            x, y = map(Tensor, batch) if wrap is plain or as_tensors else batch
            if flat:
                loss, out = steps[0](x, y)
            else:
                result = steps[1]({"x": x, "y": y} if training.form is dict else training.form((x, y)))
                loss, (out,) = result["loss"], result["out"]
            course.append((values(loss).tobytes(), values(out).tobytes("A"), training.left()))
            if training.clears_first or wrap is not plain:
                assert wrap is plain or all(p.grad is None for p in training.optimizer._members())
                training.optimizer.zero_grad()  # compiled steps leave no gradients
    return course, used


def plain(step: Any) -> Any:
    return step
