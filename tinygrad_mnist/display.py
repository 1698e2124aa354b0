"""What notebooks show: texts as they are, Tensors that are images as images, and of our errors the one line first."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import Any

import numpy as np

from .files import PACKAGE
from .tensor import Array, Tensor

_SIDE = 28  # of MNIST's images
_MOST = 100  # images of a batch to show, ten in a row
_SCALE = 3  # points of the picture for a pixel


class Text(str):
    """A text that a notebook, and IPython, show in lines where they would show a str in quotes."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def pixels_of(t: Tensor) -> Array | None:
    """The images that a Tensor is: (n, 28, 28), from 0, empty, to 1, ink; None if it is something else.

    It is images if its shape is one of (28, 28), (784,), (n, 784), (n, 28, 28) and (n, 1, 28, 28), it is data (it
    requires no gradients, and so is no weight), and its values are from 0 to 1, or whole numbers from 0 to 255.

    >>> pixels_of(Tensor(np.zeros((2, 784)))).shape
    (2, 28, 28)
    >>> pixels_of(Tensor(np.full((2, 784), -1.0))) is None
    True
    """
    alike = t.shape[1:] if t.shape[-1:] != (_SIDE,) else t.shape[-3:-2]
    images = t.shape[-2:] == (_SIDE, _SIDE) and (t.ndim < 4 or (t.ndim == 4 and alike == (1,)))
    flat = t.shape[-1:] == (_SIDE * _SIDE,) and t.ndim < 3
    if t.requires_grad or t.size == 0 or t.dtype.kind not in "fu" or not (images or flat):
        return None
    array = t.data.reshape(-1, _SIDE, _SIDE)
    top = 255 if t.dtype.kind == "u" and array.max() > 1 else 1
    return array / top if array.min() >= 0 and array.max() <= top else None  # of NaN, neither holds


def png_of(t: Tensor) -> bytes | None:
    """A Tensor of images as PNG, ink on paper, the first hundred of a batch; None if it is none, or without pillow."""
    pixels = pixels_of(t)
    if pixels is None:
        return None
    try:
        from PIL import Image
    except ImportError:
        return None
    pixels = pixels[:_MOST]
    columns = min(len(pixels), 10)
    rows = -(-len(pixels) // columns)
    cell = _SIDE + 2
    sheet = np.full((rows * cell, columns * cell), 225, np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * cell + 1, i % columns * cell + 1
        sheet[top : top + _SIDE, left : left + _SIDE] = np.rint(255 * (1 - image))
    scale = _SCALE if len(pixels) > 1 else 2 * _SCALE
    file = io.BytesIO()
    Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(file, "PNG")
    return file.getvalue()


def in_notebook() -> bool:
    """Whether this runs in a notebook, and not in a terminal or a script."""
    return getattr(_shell(), "kernel", None) is not None


def _shell() -> Any:
    """The IPython that runs this, if there is one."""
    return sys.modules["IPython"].get_ipython() if hasattr(sys.modules.get("IPython"), "get_ipython") else None


def show_error(shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: Any = None) -> Any:
    """Show an error as IPython does; one of ours with its line first, and without our own frames."""
    frames = []
    at: TracebackType | None = tb
    while at is not None:
        frames.append(at)
        at = at.tb_next
    ours = bool(frames) and frames[-1].tb_frame.f_code.co_filename.startswith(PACKAGE)
    if ours:
        tb = None
        for each in reversed(frames):
            if not each.tb_frame.f_code.co_filename.startswith(PACKAGE):
                tb = TracebackType(tb, each.tb_frame, each.tb_lasti, each.tb_lineno)
    lines = shell.InteractiveTB.structured_traceback(kind, error, tb, tb_offset=tb_offset)
    lines = [f"{kind.__name__}: {error}", *lines] if ours else lines
    shell._showtraceback(kind, error, lines)
    return lines


Tensor._repr_png_ = png_of  # type: ignore[attr-defined]
if in_notebook() and not _shell().custom_exceptions:  # a handler of the user's own stays
    _shell().set_custom_exc((Exception,), show_error)
