"""PyTorch's names on Tensors and Modules: an AttributeError that says what to write here in their place.

The whole list, with what means something else, is COMING_FROM_PYTORCH.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from .nn import Module
from .tensor import Tensor

OF_TENSORS: Mapping[str, str] = {
    **dict.fromkeys(("view", "view_as"), "t.reshape(shape)"),
    "permute": "t.transpose(order)",
    "unsqueeze": "np.expand_dims(t, axis)",
    "clone": "t.copy()",
    **dict.fromkeys(("clamp", "clip_"), "t.clip(low, high)"),
    "requires_grad_": "t.requires_grad = True",
    "detach_": "t = t.detach()",
    "is_leaf": "t.op is None",
    "grad_fn": "t.op",
    "register_hook": "grad(loss, t) for the gradient of a result, or an op with a rule of your own",
    "retain_grad": "grad(loss, t), which takes results too",
    "cpu": "t, as there are no devices",
    "to": "t.astype(dtype), or nothing, as there are no devices",
    **dict.fromkeys(("float", "double", "half", "long", "int"), "t.astype(dtype)"),
    "contiguous": "t, as ops take every layout",
    "numel": "t.size",
    "dim": "t.ndim",
    "expand": "np.broadcast_to(t, shape)",
    "gather": "np.take_along_axis(t, indices, axis)",
    "repeat_interleave": "t.repeat(n)",
    "chunk": "np.array_split(t, n)",
    "split": "np.split(t, places)",
    "median": "np.median(t, axis)",
    "norm": "np.linalg.norm(t)",
    "matmul": "t @ u",
    "mm": "t @ u",
    "pow": "t ** n",
    "fill_": "t.data = np.full_like(t.data, number)",
    "zero_": "t.data = np.zeros_like(t.data)",
    "copy_": "t.data = array",
    "add_": "t.data += array",
    "sub_": "t.data -= array",
    "mul_": "t.data *= array",
}
"""What to write for PyTorch's attributes of a Tensor."""

OF_MODULES: Mapping[str, str] = {
    "named_modules": "nn.named(module, nn.Module)",
    "named_buffers": "nn.named(module, nn.Buffer)",
    "register_buffer": "an attribute, self.name = nn.Buffer(array)",
    "register_parameter": "an attribute, self.name = Tensor(array, requires_grad=True)",
    "register_module": "an attribute, self.name = module",
    "add_module": "an attribute, self.name = module",
    **dict.fromkeys(
        ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"),
        "a function in the Sequential to see values, grad(loss, result) for gradients",
    ),
    **dict.fromkeys(("to", "cpu", "half"), "nothing, as there are no devices; dtype= is an option of layers"),
    "double": "dtype=np.float64, an option of layers",
}
"""The same of a Module."""


def _missing(self: object, name: str) -> object:
    """Called for attributes that are not there; or of which a property raised an AttributeError, which is raised so."""
    remedy = (OF_MODULES if isinstance(self, Module) else OF_TENSORS).get(name)
    if remedy is None:
        return object.__getattribute__(self, name)
    kind = type(self).__name__
    raise AttributeError(f"{kind!r} object has no attribute {name!r}; write {remedy}", name=name, obj=self)


# To mypy a method __getattr__ would say that every attribute is there.
setattr(Tensor, "__getattr__", _missing)  # noqa: B010
setattr(Module, "__getattr__", _missing)  # noqa: B010
