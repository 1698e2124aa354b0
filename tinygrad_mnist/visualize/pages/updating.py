"""The steps of the update, and of what comes after it on the same data."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tinygrad_mnist.optim import Momentum

from .arrays import rms
from .contents import Contents, Segments
from .formulas import CHANGE
from .legend import SYMBOLS
from .statements import UPDATE
from .tables import Cell, at, number, table
from .walk import LR, STEPS, Update


def updating(page: Contents, u: Update) -> dict[str, Any]:
    """The step in which an optimizer changes a parameter."""
    name, output = page.names[u.p], page.names[page.output]
    cards = [page.card(f"{name}, before", u.before, u.p)]
    cards += [page.card(f"∂{name}", page.walk.gradients[u.p], u.p, "gradient")]
    cards += [page.card(f"{name}: {key}, kept for the next step", array) for key, array in u.kept.items()]
    cards += [page.card("the change, which is taken away", u.change, None, "gradient")]
    cards += [page.card(f"{name}, after", u.after, u.p, "result")]
    size = rms(u.before)
    ratio = f" The change is {rms(u.change) / size:.2g} times the parameter's own size (their RMS)." if size else ""
    why = [*_memory(page, u)] if u.kept else []
    why += _numbers(page, u)
    why.append(
        f"Against the gradient: what has a positive one is made smaller, and what has a negative one larger, as "
        f"{output} is to become smaller.{ratio}"
    )
    if page.optimizer is None:
        why.append(
            f"No optimizer was given: this is plain SGD, the learning rate η = {LR}; page(..., optimizer=) shows yours."
        )
    lines = u.formula.named(name)
    formula: Segments = []
    for key, text in lines.items():
        text = f"{name} ← {name} - {_bracketed(text)}" if key == CHANGE else f"{key} ← {text}\n"
        formula += page.linked(text, [u.p])
    return {
        "phase": "update",
        "title": f"update of {name}, by {page.rule}",
        "formula": formula,
        "why": why,
        "tables": [made for made in (_worked(u, name), _repeats(u)) if made],
        "cards": cards,
        "item": page.number[u.p],
        "items": page.numbers([u.p]),
        "lines": page.program.at.get((UPDATE, u.p), []),
    }


def _numbers(page: Contents, u: Update) -> list[str]:
    """What the options in the formula are called."""
    if page.optimizer is None:
        return []
    group = next(group for group in page.optimizer.groups if any(p is u.p for p in group["params"]))
    words = {"lr": "the learning rate (lr)", "momentum": "the momentum"}
    told = [f"{SYMBOLS[name]} = {group[name]:g}, {word}" for name, word in words.items() if name in group]
    if decay := group.get("weight_decay"):
        told.append(f"{decay:g}, the weight decay (the book's λ/n)")
    return [f"The numbers of the formula: {'; '.join(told)}."] if told else []


def _memory(page: Contents, u: Update) -> list[str]:
    """What it is for that an optimizer keeps something."""
    kept, options = ", ".join(u.kept), _options(page, u)
    words = [f"{page.rule} keeps {kept} from step to step: so gradients of earlier steps go on acting."]
    if not u.was:
        words[0] += " At the first step there is nothing yet."
    if options is not None:
        lr, mu = options
        words.append(
            f"While gradients agree, the step grows from η = {lr:g} towards η / (1 - μ) = {lr:g} / (1 - {mu:g}) = "
            f"{lr / (1 - mu):g} times the gradient; where they change their sign, they cancel out. That of plain SGD "
            f"is always {lr:g} times the gradient."
        )
    return words


def _options(page: Contents, u: Update) -> tuple[float, float] | None:
    """The learning rate and the momentum, where that is what the optimizer has."""
    if isinstance(page.optimizer, Momentum):
        for group in page.optimizer.groups:
            if any(p is u.p for p in group["params"]) and group["lr"]:
                return float(group["lr"]), float(group["momentum"])
    return None


def _worked(u: Update, name: str) -> Any:
    """The formula with the numbers of one place."""
    if u.place is None or not u.formula.elementwise:
        return None
    place, one = u.place, {key: array for key, array in u.kept.items() if array.shape == u.p.shape}
    if len(one) < len(u.kept):
        return None
    before = {key: _text(t.data[place]) for key, t in u.formula.before.items() if t.data.shape == u.p.shape}
    if len(before) < len(u.formula.before):
        return None
    after = {key: _text(array[place]) for key, array in one.items()}
    g = u.formula.gradient.data
    lines = u.formula.lines(_text(u.before[place]), _text(g[place]), before, after)
    rows: list[Any] = [["∂w", "", number(g[place])]]
    for key, array in u.was.items():
        rows.append([f"{key} before", "", number(array[place])])
    for key, text in lines.items():
        rows.append([f"{key} now" if key != CHANGE else "the step", f"= {text}", number(
            u.change[place] if key == CHANGE else one[key][place])])  # fmt: skip
    if one:
        rows.append(["plain SGD's step", "of the same gradient", number(u.plain[place])])
    rows.append(["w", f"= {_text(u.before[place])} - {_text(u.change[place])}", number(u.after[place])])
    largest = ", where ∂ is largest" if place else ""
    return table(f"w = {at(name, place)}{largest}", [], rows)


def _repeats(u: Update) -> Any:
    """What becomes of the step if the same gradient comes again and again."""
    if u.place is None or not u.repeated or not u.plain[u.place]:
        return None
    keys = [key for key in u.repeated[0] if key != CHANGE][:2]
    plain = u.plain[u.place]
    rows: list[list[Cell]] = []
    for i, row in enumerate(u.repeated):
        label = "now" if i == 0 else f"{i + 1}th time" if i > 2 else ("2nd time", "3rd time")[i - 1]
        times = f"{float(row[CHANGE]) / float(plain):.3g} ×"
        rows.append([label, *(number(row[key]) for key in keys), number(row[CHANGE]), number(plain), times])
    title = "If the same ∂w came again and again"
    return table(title, ["", *keys, "the step", "plain SGD's", "that is"], rows)


def next_steps(page: Contents) -> list[dict[str, Any]]:
    """The steps of what comes next on the same data."""
    walk = page.walk
    if not walk.courses:
        return []
    return [_accumulated(page)] + ([_courses(page)] if len(walk.courses) > 1 else [])


def _accumulated(page: Contents) -> dict[str, Any]:
    """The next step, with and without zero_grad."""
    walk, name, course = page.walk, page.names[page.output], page.walk.courses[0]
    before, after = course.outputs[0].item(), course.outputs[1].item()
    cards = [page.card(f"{name} before the step", course.outputs[0], page.output)]
    cards.append(page.card(f"{name} after it", course.outputs[1]))
    rows: list[list[Cell]] = []
    for p, both in walk.left_over.items():
        old, new = walk.gradients[p], course.gradients[1][p]
        if len(cards) < 11:
            cards.append(page.card(f"∂{page.names[p]} of this step, still in .grad", old, p, "gradient"))
            cards.append(page.card(f"∂{page.names[p]} of the next, with zero_grad", new, None, "gradient"))
            cards.append(page.card("without zero_grad: the sum of both", both, None, "gradient"))
        place = next(u.place for u in walk.updates if u.p is p)
        if place is not None and len(rows) < 8:
            rows.append([at(page.names[p], place), number(old[place]), number(new[place]), number(both[place])])
    new_and_sum = [(course.gradients[1][p], both) for p, both in walk.left_over.items()]
    wrong = sum(int(np.sum(new * both < 0)) for new, both in new_and_sum)
    total = sum(both.size for _, both in new_and_sum)
    heads = ["", "left in .grad", "+ the next", "= .grad, not cleared"]
    verdict = "smaller" if after < before else "not smaller: the step was too long, or there was nothing to gain"
    return {
        "phase": "next",
        "title": "The next step: the same data again",
        "why": [
            f"Computed again with the new parameters, {name} is {after:.6g}; it was {before:.6g}. It is {verdict}.",
            "The gradients of this step are still in .grad. backward() was run once more without zero_grad(), and has "
            "added its own to them: the update would follow both, also those of parameters that are gone, and would "
            f"move {wrong:,} of {total:,} numbers the wrong way. zero_grad() clears them.",
        ],
        "tables": [table("The same backward pass, with nothing cleared before", heads, rows)] if rows else [],
        "cards": cards,
        "item": page.number[page.output],
        "items": page.numbers(walk.left_over),
    }


def _courses(page: Contents) -> dict[str, Any]:
    """Several steps by the optimizer, beside those of plain SGD."""
    walk, name, rule = page.walk, page.names[page.output], page.rule
    ours, plain = walk.courses
    u = max((u for u in walk.updates if u.place is not None), key=_largest_gradient, default=None)
    heads = ["step", f"{name}, {rule}", f"{name}, plain SGD"]
    if u is not None:
        heads += ["∂w", "its step", "times ∂"]
    rows: list[Any] = [["0", number(ours.outputs[0]), number(plain.outputs[0]), *([""] * 3 if u else [])]]
    against: list[int] = []
    for i, (output, other) in enumerate(zip(ours.outputs[1:], plain.outputs[1:], strict=True)):
        rows.append([str(i + 1), number(output), number(other)])
        if u is not None and u.place is not None:
            g, change = ours.gradients[i][u.p][u.place], ours.changes[i][u.p][u.place]
            against += [i + 1] * bool(g * change < 0)
            rows[-1] += [number(g), number(change), f"{float(change) / float(g):.3g}" if g else ""]
    why = [
        f"The same {STEPS} steps from the same parameters, once by {rule} and once by plain SGD with the same η: "
        f"{name} goes from {ours.outputs[0].item():.4g} to {ours.outputs[-1].item():.4g}, and to "
        f"{plain.outputs[-1].item():.4g} with plain SGD.",
    ]
    if ours.outputs[-1].item() > plain.outputs[-1].item():
        why.append("Longer steps are not always better: on these data, with this η, plain SGD gets lower.")
    if u is not None and u.place is not None:
        words = (
            f"The last three columns are of w = {at(page.names[u.p], u.place)} by {rule}: its step is no fixed "
            "multiple of its gradient, as what has been kept from earlier steps acts on."
        )
        if against:
            words += (
                f" In step {', '.join(map(str, against))} the gradient alone would have gone the other way: it has "
                "changed its sign, and what was kept has not yet."
            )
        why.append(words)
    return {
        "phase": "next",
        "title": f"{STEPS} steps on the same data: {rule} beside plain SGD",
        "why": why,
        "tables": [table("Step by step", heads, rows)],
        "cards": [],
        "item": page.number[page.output],
        "items": page.numbers([u.p] if u else []),
    }


def _largest_gradient(u: Update) -> float:
    return float(np.abs(u.formula.gradient.data[u.place]).max()) if u.place is not None else 0.0


def _text(x: Any) -> str:
    """A number in a formula, to four digits."""
    text = f"{x:.4g}"
    return f"({text})" if text.startswith("-") else text


def _bracketed(formula: str) -> str:
    return f"({formula})" if re.search(r" [+-] ", formula) and not formula.endswith(")") else formula
