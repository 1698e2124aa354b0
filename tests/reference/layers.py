"""Make `layers.json`: what PyTorch's layers and costs compute, with their gradients, in float64.

For each case the input, the parameters, the output y, and the gradients of Σ v y with respect to the input and to all
parameters; for BatchNorm also the running statistics after each of three batches, and the output in evaluation. The
tests read only the JSON. Making it anew needs PyTorch (`pip install torch`); from the repository's top:

    python -m tests.reference.layers

The stored file was made by PyTorch 2.13.0 on a CPU; it names the version.
"""

import importlib
import json
from pathlib import Path

import numpy as np

SEED = 2017


def draw(torch, rng, shape):
    return torch.tensor(rng.standard_normal(shape), dtype=torch.float64, requires_grad=True)


def record(torch, rng, output, inputs):
    """The output and the gradients of Σ v y, as lists."""
    v = torch.tensor(rng.standard_normal(tuple(output.shape)), dtype=torch.float64)
    gradients = torch.autograd.grad((v * output).sum(), list(inputs.values()))
    return {
        "inputs": {name: x.tolist() for name, x in inputs.items()},
        "v": v.tolist(),
        "output": output.tolist(),
        "gradients": {name: g.tolist() for name, g in zip(inputs, gradients, strict=True)},
    }


def functions(torch, rng):
    """Layers without a state, and costs: name -> case."""
    f = torch.nn.functional
    image, rows = (3, 2, 6, 4), (4, 5)
    target = torch.tensor(rng.uniform(0, 1, rows), dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 4, 2, 2])
    several = {
        "gelu": (rows, lambda x: f.gelu(x)),
        "gelu tanh": (rows, lambda x: f.gelu(x, approximate="tanh")),
        "silu": (rows, f.silu),
        "softplus": (rows, f.softplus),
        "leaky_relu": (rows, lambda x: f.leaky_relu(x, 0.25)),
        "avg_pool2d": (image, lambda x: f.avg_pool2d(x, 2)),
        "avg_pool2d stride": (image, lambda x: f.avg_pool2d(x, (3, 2), (1, 2))),
        "cross_entropy": (rows, lambda x: f.cross_entropy(x, labels)),
        "nll_loss": (rows, lambda x: f.nll_loss(x, labels)),
    }
    found = {}
    for name, (shape, function) in several.items():
        x = draw(torch, rng, shape)
        found[name] = record(torch, rng, function(x), {"x": x})
    for name, function in (("mse_loss", f.mse_loss), ("bce", f.binary_cross_entropy_with_logits)):
        x = draw(torch, rng, rows)
        found[name] = record(torch, rng, function(x, target), {"x": x, "y": target})
    for name, shape in (("layer_norm", (5,)), ("layer_norm two axes", (4, 5))):
        inputs = {"x": draw(torch, rng, (3, 4, 5)), "weight": draw(torch, rng, shape), "bias": draw(torch, rng, shape)}
        found[name] = record(torch, rng, f.layer_norm(inputs["x"], shape, inputs["weight"], inputs["bias"]), inputs)
    weight = draw(torch, rng, (6, 3))
    for name, padding in (("embedding", None), ("embedding padding", 2)):
        index = torch.tensor([[0, 2, 5], [2, 2, 1]])
        found[name] = record(torch, rng, f.embedding(index, weight, padding), {"weight": weight})
    return found


def attention(torch, rng):
    """MultiheadAttention of size 6 with 2 heads: of a sequence with itself, causal or not, and with another."""
    found = {}
    for name in ("self", "causal", "other"):
        layer = torch.nn.MultiheadAttention(6, 2, batch_first=True, dtype=torch.float64)
        for p in layer.parameters():
            p.data = draw(torch, rng, tuple(p.shape)).data
        x, other = draw(torch, rng, (3, 4, 6)), draw(torch, rng, (3, 5, 6))
        inputs = {"x": x, **dict(layer.named_parameters())}
        mask = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1) if name == "causal" else None
        context = x
        if name == "other":
            inputs["other"] = context = other
        out, _ = layer(x, context, context, attn_mask=mask, need_weights=False)
        found[name] = record(torch, rng, out, inputs)
    return found


def batch_norm(torch, rng):
    """Three batches in training, and the first in evaluation, for several settings."""
    found = []
    kinds = [("BatchNorm1d", (5, 3)), ("BatchNorm1d", (4, 3, 2)), ("BatchNorm2d", (4, 3, 2, 2))]
    for (kind, shape), momentum in [(kind, m) for kind in kinds for m in (0.1, 0.5, None)]:
        layer = getattr(torch.nn, kind)(3, momentum=momentum, dtype=torch.float64)
        layer.weight.data, layer.bias.data = draw(torch, rng, (3,)).data, draw(torch, rng, (3,)).data
        batches = [draw(torch, rng, shape) for _ in range(3)]
        steps = []
        for x in batches:
            step = record(torch, rng, layer(x), {"x": x, "weight": layer.weight, "bias": layer.bias})
            step["running"] = {name: getattr(layer, f"running_{name}").tolist() for name in ("mean", "var")}
            steps.append(step)
        layer.eval()
        evaluated = record(torch, rng, layer(batches[0]), {"x": batches[0], "weight": layer.weight, "bias": layer.bias})
        found.append({"kind": kind, "momentum": momentum, "steps": steps, "evaluated": evaluated})
    return found


def as_line(value):
    return json.dumps(value, separators=(",", ":"))


def main():
    torch = importlib.import_module("torch")  # not an import statement: mypy then asks for no PyTorch
    rng = np.random.default_rng(SEED)
    entries = [f'"torch": "{torch.__version__}"']
    for name, make in (("functions", functions), ("attention", attention)):
        cases = make(torch, rng)
        lines = ",\n".join(f"{json.dumps(key)}: {as_line(case)}" for key, case in cases.items())
        entries.append(f'"{name}": {{\n{lines}\n}}')
    lines = ",\n".join(map(as_line, batch_norm(torch, rng)))
    entries.append(f'"batch_norm": [\n{lines}\n]')
    text = "{\n" + ",\n".join(entries) + "\n}\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
