"""Checkpoints: all that training needs to go on to the same bits, in a file that is whole or not there.

    save("model.npz", model, optimizer, schedule=schedule, rng=rng, history=history)
    checkpoint = load("model.npz")
    checkpoint.restore(model, optimizer, schedule=schedule, rng=rng)

Files are .npz: arrays, and all else as JSON. What an optimizer keeps for a parameter is found again by the name that
the model has for it, so that parameters may come in another order. Parameters that the model does not have are known
by their group and their place in it. A file may come from anywhere: reading it takes no more memory than it is large.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .convert import in_one_line
from .files import whole
from .nn import Module, named
from .optim import Optimizer, Schedule
from .tensor import Array, Tensor

_FORMAT = "tinygrad_mnist checkpoint 2"
_ALONE = "a model alone is saved by np.savez(path, **model.state_dict())"
_FORMER = "tinygrad_mnist checkpoint 1"
"""In which an optimizer kept one array for a parameter, its velocity, and was saved without names."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training came to. Accuracies are shares, from 0 to 1.

    Attributes:
        epoch: its number, from 1.
        cost: the mean over its examples, each measured just before its mini-batch's update.
        training: the accuracy on the first `train.SAMPLE` training examples.
        validation: the accuracy on the validation examples; None if there are none.
        test: the accuracy on the test examples; None if there are none.
        lr: the learning rate, that of the optimizer's first group.
        saturated: the share of the sample's outputs within 0.01 of 0 or 1, where a sigmoid hardly learns (with
            `softmax_cross_entropy`, of their softmax); None if some are outside [0, 1], as without a last sigmoid.
        seconds: how long training and measuring took.
    """

    epoch: int
    cost: float
    training: float
    validation: float | None
    test: float | None
    lr: float
    saturated: float | None
    seconds: float

    def __repr__(self) -> str:
        """With as many digits as say something: Epoch(epoch=1, cost=0.05124, training=0.9312, ...)."""
        told = (f"{f.name}={v:.4g}" if isinstance(v := getattr(self, f.name), float) else f"{f.name}={v}"
                for f in fields(self))  # fmt: skip
        return f"Epoch({', '.join(told)})"


class _ArraysAloneError(ValueError):
    """A file of arrays without what a checkpoint says of them."""


class CheckpointError(ValueError):
    """A file is not the checkpoint it should be: one line says which, what is wrong, and a remedy."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """What `load()` returns: all that training needs to go on to the same bits.

    Attributes:
        path: the file.
        model, optimizer, schedule, rng: the state of each; None for a schedule or generator that was not saved. That of
            the optimizer is as from `state_dict()`, with the "names" of each group's parameters in the model, and its
            "kind", the name of its class (None in older files).
        history: a record for every epoch done.
        settings: what else the caller of `save()` wanted kept.
        best: a second state of the model, as of its best epoch; None if there is none.
    """

    path: Path
    model: Mapping[str, Array]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any] | None
    rng: Mapping[str, Any] | None
    history: Sequence[Epoch]
    settings: Mapping[str, Any]
    best: Mapping[str, Array] | None = None

    def __repr__(self) -> str:
        """Which file it is, and how large: Checkpoint('model.npz': 4 arrays of 23,860 numbers, 5 epochs)."""
        numbers = sum(array.size for array in self.model.values())
        what = f"{_count(len(self.model), 'array')} of {_count(numbers, 'number')}"
        return f"Checkpoint({str(self.path)!r}: {what}, {_count(len(self.history), 'epoch')})"

    def restore(
        self,
        model: Module,
        optimizer: Optimizer | None = None,
        *,
        schedule: Schedule | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Put the saved state into what is given; if it does not fit, a CheckpointError, and nothing is changed.

        What Momentum kept means something else to Nesterov: an optimizer of another class is refused, too.
        """
        parts: dict[str, tuple[Any, type]] = {
            "optimizer": (optimizer, Optimizer),
            "schedule": (schedule, Schedule),
            "rng": (rng, np.random.Generator),
        }
        if not isinstance(model, Module):
            raise TypeError(f"restore: expected the model, a Module, got {in_one_line(model)}; make it anew, as it was")
        for what, (part, kind) in parts.items():
            _check_kind(f"restore: {what}", part, kind, "make it anew, as it was")
        for what, asked, saved in (("schedule", schedule, self.schedule), ("generator", rng, self.rng)):
            if asked is not None and saved is None:
                raise CheckpointError(f"{self.path}: was saved without a {what}; restore it without one")
        with contextlib.ExitStack() as undo:
            try:
                if rng is not None:
                    _check_position(self.rng or {})
                    undo.callback(setattr, rng.bit_generator, "state", rng.bit_generator.state)
                    rng.bit_generator.state = dict(self.rng or {})
                undo.callback(model.load_state_dict, model.state_dict())
                model.load_state_dict(self.model)
                if optimizer is not None:
                    before = optimizer.state_dict()
                    optimizer.load_state_dict(_placed(self.optimizer, _names(model, optimizer)))
                    undo.callback(optimizer.load_state_dict, before)
                    _check_class(optimizer, self.optimizer.get("kind"))
                if schedule is not None:
                    schedule.load_state_dict(self.schedule or {})
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
                raise CheckpointError(
                    f"{self.path}: does not fit: {error!s:.500}; restore into what it was saved from"
                ) from None
            if optimizer is not None and schedule is not None:  # a rate that was set by hand is not the schedule's
                for group, saved in zip(optimizer.groups, self.optimizer["groups"], strict=True):
                    group["lr"] = saved["lr"]
            undo.pop_all()


def _check_class(optimizer: Optimizer, saved: object) -> None:
    """Raise if what an optimizer of another class has kept is restored: Nesterov would read Momentum's velocity."""
    if saved not in (None, kind := type(optimizer).__name__):
        raise ValueError(
            f"the optimizer was of the class {in_one_line(saved)}, not {kind} (if you mean it, restore the model, "
            "then optimizer.load_state_dict(checkpoint.optimizer))"
        )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _check_position(state: Mapping[str, Any]) -> None:
    """Raise if a generator's next number is not in its memory: NumPy takes such a state, and reads what is beyond."""
    name, size = {"MT19937": ("pos", 624), "Philox": ("buffer_pos", 4)}.get(state["bit_generator"], ("", 0))
    place = (state["state"] if name == "pos" else state)[name] if name else 0
    if not 0 <= place <= size:
        raise ValueError(f"the generator's {name} is {place}, not one of 0 to {size}")


def _names(model: Module, optimizer: Optimizer) -> list[list[str | None]]:
    """The model's names for the parameters of each of the optimizer's groups; None for what the model does not have."""
    names = {id(t): name for name, t in named(model, Tensor)}
    return [[names.get(id(p)) for p in group["params"]] for group in optimizer.groups]


def _placed(saved: Mapping[str, Any], names: list[list[str | None]]) -> Mapping[str, Any]:
    """An optimizer's saved state with the places that its parameters have now, under these names."""
    if "names" not in saved:
        return saved
    before, now = ({key: i for i, key in enumerate(_keys(groups))} for groups in (saved["names"], names))
    for group, name in before.keys() ^ now.keys():
        what = repr(name) if isinstance(name, str) else f"parameter {name} of those that the model does not have"
        has, had = ("has no", "one") if (group, name) in before else ("has a", "none")
        raise ValueError(f"group {group} of the optimizer {has} {what}, and was saved with {had}")
    places = [now[key] for key in before]
    return {
        "groups": saved["groups"],
        "shapes": [shape for _, shape in sorted(zip(places, saved["shapes"], strict=True))],
        "state": {places[i]: entries for i, entries in saved["state"].items()},
    }


def _keys(names: Iterable[Iterable[str | None]]) -> Iterable[tuple[int, str | int]]:
    """What tells parameters apart: the group, and the name or else the number among those without."""
    for number, group in enumerate(names):
        unnamed = itertools.count()
        yield from ((number, next(unnamed) if name is None else name) for name in group)


def save(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer | None = None,
    *,
    schedule: Schedule | None = None,
    rng: np.random.Generator | None = None,
    history: Sequence[Epoch] = (),
    settings: Mapping[str, Any] | None = None,
    best: Mapping[str, Array] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: of the file, which is replaced.
        model, optimizer, schedule, rng: whose states are kept. Without an optimizer it is no checkpoint: a model alone
            is saved by `np.savez(path, **model.state_dict())`.
        history: a record for every epoch done.
        settings: whatever JSON can hold.
        best: another `model.state_dict()`, as of its best epoch.

    Raises:
        TypeError: something else in the place of the path, the model or the optimizer, or in the settings.
        ValueError: `best` is of another model, or a parameter has a name that no file can keep.
    """
    optimizer = _checked(path, model, optimizer)
    state = optimizer.state_dict()
    entries = state.pop("state")
    _check_kind("save: schedule", schedule, Schedule, "pass that of the optimizer")
    _check_kind("save: rng", rng, np.random.Generator, "np.random.default_rng(0) makes one")
    if not isinstance(history, list | tuple) or not all(isinstance(epoch, Epoch) for epoch in history):
        raise TypeError(f"save: history: expected a list of Epochs, as train.fit gives, got {in_one_line(history)}")
    for what, mapping in (("settings", settings), ("best", best)):
        _check_kind(f"save: {what}", mapping, Mapping, "it is a dict")
    notes = {
        "format": _FORMAT,
        "optimizer": {
            **state,
            "kind": type(optimizer).__name__,
            "names": _names(model, optimizer),
            "state": {i: list(arrays) for i, arrays in entries.items()},
        },
        "schedule": schedule.state_dict() if schedule is not None else None,
        "rng": rng.bit_generator.state if rng is not None else None,
        "history": [asdict(epoch) for epoch in history],
        "settings": {} if settings is None else dict(settings),
    }
    arrays = {f"model/{name}": array for name, array in model.state_dict().items()}
    if best is not None:
        if {f"model/{name}": np.shape(array) for name, array in best.items()} != {
            k: a.shape for k, a in arrays.items()
        }:
            raise ValueError("save: best: expected another state_dict() of the model, got other names or shapes")
        arrays |= {f"best/{name}": np.asarray(array) for name, array in best.items()}
    for name in arrays:  # what the members of a .npz cannot be told apart by
        if name.endswith(".npy") or not name.isprintable():
            name = name.partition("/")[2]
            raise ValueError(f"save: a parameter cannot be named {name!r}; name it without .npy and control characters")
    for i, kept in entries.items():  # numbered, as their names may be any text
        arrays |= {f"state/{i}/{k}": array for k, array in enumerate(kept.values())}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"save: {name}: expected an array of real numbers, got dtype {array.dtype}")
    members: dict[str, Any] = {"notes": np.array(json.dumps(notes, default=_as_lists)), **arrays}
    with whole(path) as part, open(part, "wb") as file:
        # Without allow_pickle=False, of which NumPy 2.0 makes an array of that name: no array here has objects.
        np.savez(file, **members)


def _checked(path: Any, model: Any, optimizer: Any) -> Optimizer:
    """The optimizer; a TypeError if one of them is something else, as in torch.save(model, path)."""
    if not isinstance(path, str | os.PathLike) or not isinstance(model, Module):
        given = ", ".join(in_one_line(x)[:30] for x in (path, model))
        raise TypeError(f"save: expected save(path, model, optimizer), got ({given}, ...); {_ALONE}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"save: expected an optimizer after the model, got {in_one_line(optimizer)}; {_ALONE}")
    return optimizer


def _as_lists(value: Any) -> Any:
    """The arrays in the state of some random number generators, as lists, which their setters take too."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"save: settings are what JSON can hold, got {type(value).__name__} {str(value)[:40]!r}")


def _check_kind(what: str, given: Any, kind: type, remedy: str) -> None:
    if given is not None and not isinstance(given, kind):
        raise TypeError(f"{what}: expected a {kind.__name__}, got {in_one_line(given)}; {remedy}")


def _epoch(record: Mapping[str, Any]) -> Epoch:
    """A record of the history, of which all but what could not be measured are numbers."""
    epoch = Epoch(**record)
    missing = ("validation", "test", "saturated")
    numbers = {key: value for key, value in record.items() if value is not None or key not in missing}
    if type(epoch.epoch) is not int or any(type(value) not in (int, float) for value in numbers.values()):
        raise ValueError(record)
    for value in numbers.values():
        float(value)  # an OverflowError, if it has too many digits
    return epoch


def _by_name(optimizer: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The state of an optimizer, with its arrays under their names; a ValueError if it contradicts itself."""
    names = [name for group in optimizer["names"] for name in group]
    shapes = [tuple(shape) for shape in optimizer["shapes"]]
    state = {
        int(i): {str(name): arrays[f"state/{i}/{k}"] for k, name in enumerate(kept)}
        for i, kept in optimizer["state"].items()
    }
    if (
        (len(optimizer["names"]), len(names)) != (len(optimizer["groups"]), len(shapes))
        or any(name is not None and arrays[f"model/{name}"].shape != shapes[i] for i, name in enumerate(names))
        or not all(0 <= i < len(names) for i in state)
        or sum(map(len, state.values())) != sum(name.startswith("state/") for name in arrays)
    ):
        raise ValueError(optimizer)
    kept = {key: optimizer[key] for key in ("groups", "shapes", "names")}
    return {**kept, "kind": optimizer.get("kind"), "state": state}


def _best(arrays: Mapping[str, Array]) -> dict[str, Array] | None:
    """The second state of the model, of the same names and shapes; None if there is none."""
    best = {name[5:]: array for name, array in arrays.items() if name.startswith("best/")}
    if best and {n: a.shape for n, a in best.items()} != {
        n[6:]: a.shape for n, a in arrays.items() if n[:6] == "model/"
    }:
        raise ValueError(list(best))
    return best or None


def _former(notes: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The same of the former format."""
    velocity = {int(name[9:]): array for name, array in arrays.items() if name.startswith("velocity/")}
    return {"groups": notes.pop("groups"), "velocity": velocity}


def _read(file: BinaryIO) -> dict[str, Array]:
    """The arrays of a checkpoint by name. Nothing that the file says is believed before it is seen to be there."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        # As `save` writes them, members are as large as they say: one that is packed may be a thousand times as large.
        if (
            any(member.compress_type != zipfile.ZIP_STORED for member in members)
            or sum(member.file_size for member in members) > file.seek(0, os.SEEK_END)
            or len({member.filename for member in members}) < len(members)
        ):
            raise ValueError(members)
        if "notes.npy" not in archive.namelist():
            raise _ArraysAloneError
        arrays = {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    arrays.pop("allow_pickle", None)  # in files of a former version with NumPy 2.0
    if any(name != "notes" and name.partition("/")[0] not in ("model", "best", "state", "velocity") for name in arrays):
        raise ValueError(list(arrays))
    return arrays


def _array(content: bytes) -> Array:
    """An array in NumPy's format, of the size that its header says."""
    file = io.BytesIO(content)
    header = np.lib.format.read_array_header_2_0 if content[6] == 2 else np.lib.format.read_array_header_1_0
    np.lib.format.read_magic(file)
    shape, _, dtype = header(file)
    if dtype.kind not in "biufU" or dtype.itemsize * math.prod(shape) != len(content) - file.tell():
        raise ValueError(shape)
    return np.load(io.BytesIO(content), allow_pickle=False)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint; a CheckpointError if it is damaged or something else. Pickled objects are never loaded.

    `load(path).restore(model, optimizer, schedule=schedule, rng=rng)` puts it into what it was saved from, made anew:
    training goes on to the same bits, with `train.fit(..., done=len(checkpoint.history))`.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"load: expected the path of a checkpoint, got {in_one_line(path)}")
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError(f"{path}: is a directory, or no file; name a checkpoint")
    try:
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):  # of a header, whatever stands in it
            arrays = _read(file)
        notes = json.loads(str(arrays.pop("notes")))
        if (written := notes.pop("format")) not in (_FORMAT, _FORMER):
            raise ValueError
        return Checkpoint(
            path=path,
            model={name[6:]: array for name, array in arrays.items() if name.startswith("model/")},
            best=_best(arrays),
            optimizer=_by_name(notes.pop("optimizer"), arrays) if written == _FORMAT else _former(notes, arrays),
            history=[_epoch(epoch) for epoch in notes.pop("history")],
            **notes,
        )
    except _ArraysAloneError:
        raise CheckpointError(
            f"{path}: expected a checkpoint of tinygrad_mnist, found arrays alone; where they are a model's, "
            "model.load_state_dict(dict(np.load(path))) takes them"
        ) from None
    except Exception as error:  # damaged or foreign files make NumPy, zipfile and json raise whatever they can
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is to go to before the file's beginning
            raise
        raise CheckpointError(
            f"{path}: expected a checkpoint of tinygrad_mnist, found a file that is damaged, of another kind, or "
            "pickled (never loaded); name another"
        ) from None
