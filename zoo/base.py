"""What all networks of the zoo share: settings, each of which is an option of the command line too, and their meaning.

A network is a file in this directory, which holds all that it adds. In zoo/network4.py,

    @dataclass(frozen=True, kw_only=True)
    class Network4(Network1):
        dropout: float = setting(0.1, "the share of hidden neurons left out at each step", number(0, 1), "P")

with a `model` of its own, and the last lines of network1.py, has the option --dropout, with its help; checkpoints and
pictures tell it. (README shows the whole file.)
"""

import itertools
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_mnist import Tensor, nn, ops
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.losses import cross_entropy_cost, quadratic_cost, softmax_cross_entropy
from tinygrad_mnist.optim import Optimizer, Schedule

from .limits import Limit, number, one_of, whole_number

COSTS: dict[str, Callable[[Any, Any], Tensor]] = {
    "quadratic": quadratic_cost,
    "cross-entropy": cross_entropy_cost,
    "softmax": softmax_cross_entropy,
}
"""The costs by name. With "softmax" the network's outputs are the weighted inputs of its last layer.

One of your own is added where your network is, `COSTS["huber"] = huber`; its rate is that of the network's `lr` or
`RATES`, or given with --lr.
"""


@dataclass(frozen=True)
class Option:
    """What a field made by `setting` is as an option."""

    default: Any
    help: str
    limit: Limit | None = None
    metavar: str | None = None
    book: str | None = None
    instead_of: str | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise a ValueError if the setting of this name cannot have this value."""
        if self.limit is None:
            expected, good = "True or False", isinstance(value, bool)
        elif isinstance(self.default, tuple):
            expected = f"a tuple, each in it {self.limit.expected}"
            good = isinstance(value, tuple) and all(map(self.limit.allows, value))
        else:
            expected = self.limit.expected
            good = self.limit.allows(value) or value is self.default is None
        if not good:
            raise ValueError(f"{name}: expected {expected}, got {in_one_line(value)}")


def setting(default: Any, help: str, limit: Limit | None = None, metavar: str | None = None, **more: str) -> Any:
    """A field of a network that is an option too: of a field lr_step, --lr-step. All that is said of it is here.

    A subclass that only changes the default writes `init: str = "scaled"`, and inherits the rest.

    Args:
        default: a tuple, where several values may be given; None, where none need be.
        help: what it does, in words; the default is added to them.
        limit: which values it may have, from `zoo.limits`. All others are a ValueError, or the exit status 2. None is
            for what is only given, --eager, with a default of False; with another default it is a TypeError.
        metavar: stands for its value in the help.
        **more: `book`, the option by the book's name, "--eta"; `instead_of`, another setting, which says the same in
            another way, and is None where this one is not.
    """
    if not (default is False if limit is None else isinstance(limit, Limit)):
        given = "no limit" if limit is None else f"the limit {in_one_line(limit)}"
        raise TypeError(
            f"setting({in_one_line(default)}, {in_one_line(help)}): got {given}; say which values it may have, with "
            "number(0, 1), whole_number(1), one_of(names) or file_name() of zoo.limits (none: for False alone)"
        )
    return field(default=default, metadata={"option": Option(default, help, limit, metavar, **more)})


def options_of(kind: type) -> dict[str, Option]:
    """The fields of a dataclass that are options, in their order, with the defaults of this class."""
    found = {}
    for own in fields(kind):
        ancestors = (vars(each).get("__dataclass_fields__", {}).get(own.name) for each in kind.__mro__)
        declared = next((each for each in ancestors if each and "option" in each.metadata), None)
        if declared:
            found[own.name] = replace(declared.metadata["option"], default=own.default)
    return found


@dataclass(frozen=True, kw_only=True)
class BaseNetwork:
    """The settings of a network and of its training, and what they mean: model, optimizer, schedule.

    With one seed and the same `hidden` and `init`, all networks start alike: weights and order have a generator each.

    Attributes:
        lr: the learning rate η; None takes the cost's rate in `RATES` (for the non-quadratic costs the best of
            0.25, 0.5, 1 and 2 after 12 epochs on the validation digits, or as good as it).
        per_example: update after every digit with η / batch_size, as the networks in `original()` did.

    Raises:
        ValueError: a setting has none of the values that it may have.
    """

    hidden: tuple[int, ...] = setting((30,), "neurons in each hidden layer", whole_number(1), "N")
    init: str = setting(
        "normal",
        "how weights start: normal is N(0, 1), chapter 1; scaled N(0, 1/fan_in), chapter 3; xavier and he as in "
        "Glorot and Bengio, 2010, and He et al., 2015",
        one_of(nn.INITIALIZERS),
    )
    cost: str = setting(
        "quadratic", "chapter 1's, chapter 3's, or softmax outputs with chapter 3's log-likelihood cost", one_of(COSTS)
    )
    epochs: int = setting(30, "how often to go through all training digits", whole_number(0), "N")
    batch_size: int = setting(10, "digits in a mini-batch, the book's m", whole_number(1), "M")
    lr: float | None = setting(None, "learning rate, the book's η (eta)", number(0, open_low=True), "ETA", book="--eta")
    seed: int = setting(0, "of the first weights, and of the order of the digits", whole_number(0), "N")
    per_example: bool = False

    RATES: ClassVar[dict[str, float]] = {"quadratic": 3.0, "cross-entropy": 0.5, "softmax": 0.5}
    ORIGINAL: ClassVar[dict[str, object]] = {}

    def __post_init__(self) -> None:
        kind = type(self)
        if any(isinstance(value, Field) for value in vars(kind).values()):
            raise TypeError(f"{kind.__name__}: decorate the class with @dataclass(frozen=True, kw_only=True)")
        options = options_of(kind)
        if (own := options["cost"].default) not in COSTS:
            raise ValueError(
                f"cost: there is no function for {kind.__name__}'s {own!r}; write COSTS[{own!r}] = ... where the class "
                "is, with COSTS of zoo.base"
            )
        said = {name: getattr(self, name) for name in options}
        replaced = {option.instead_of for name, option in options.items() if said[name] is not None}
        for name, option in options.items():
            if name in replaced:
                object.__setattr__(self, name, None)
            else:
                option.check(name, said[name])
        if not isinstance(self.per_example, bool):
            raise ValueError(f"per_example: expected True or False, got {in_one_line(self.per_example)}")
        if self.lr is None:
            if self.cost not in self.RATES:
                raise ValueError(
                    f"lr: there is none for the cost {self.cost!r} in {kind.__name__}; pass one (--lr), or write "
                    f"`lr: float = 0.5` or RATES = {{{self.cost!r}: 0.5}} into the class"
                )
            object.__setattr__(self, "lr", self.RATES[self.cost])

    @classmethod
    def original(cls, **settings: object) -> Self:
        """The network with the settings that it was first published with, as it really computed them.

        What it called a batch only divided the learning rate: the weights were changed after every single digit.
        """
        return cls(**{**cls.ORIGINAL, "per_example": True, **settings})  # type: ignore[arg-type]

    @property
    def digits_a_step(self) -> int:
        """How many digits a step of training sees."""
        return 1 if self.per_example else self.batch_size

    @property
    def rate(self) -> float:
        """The learning rate of a step."""
        assert self.lr is not None
        return self.lr / self.batch_size if self.per_example else self.lr

    @property
    def shorter_steps(self) -> str:
        """Which options make the steps of training shorter, in words."""
        return "a smaller --lr"

    def model(self, n_in: int, n_out: int, rng: np.random.Generator) -> nn.Module:
        """Layers of sigmoid neurons: n_in pixels, the hidden layers, n_out classes."""
        bias = "normal" if self.init in ("normal", "scaled") else "zeros"  # the book's; with the papers' weights, at 0
        layers: list[Callable[[Any], Any]] = []
        for fan_in, fan_out in itertools.pairwise((n_in, *self.hidden, n_out)):
            layers += [nn.Linear(fan_in, fan_out, init=self.init, bias=bias, rng=rng), ops.sigmoid]
        return nn.Sequential(*(layers[:-1] if self.cost == "softmax" else layers))

    def optimizer(self, model: nn.Module, n: int) -> Optimizer:
        """What changes the parameters, to be defined by every network; `n` is the number of training digits."""
        raise TypeError(f"{type(self).__name__}: define optimizer(self, model, n), which changes the parameters")

    def schedule(self, optimizer: Optimizer) -> Schedule | None:
        """How the learning rate changes from epoch to epoch; None if it stays."""
        return None
