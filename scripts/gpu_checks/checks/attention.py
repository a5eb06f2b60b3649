"""Packed attention against the padded forward pass: states and gradients, in bf16 and in fp32.

* In bf16 a GPU packs rows by torch's variable-length flash attention. The error of a token's states, and of all gradients, against the
  padded pass in fp32 must be about that of the padded pass in bf16, which has the same rounding. A wrong mask is off by a factor.
* In fp32 a GPU pads rows (the kernel has no fp32), and a CPU packs them: the two are compared with each other.
* The large shape has its widths and heads, and a part of its layers.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from scripts.benchmarks.records import Record, record
from scripts.gpu_checks import rows, shapes
from scripts.gpu_checks.settings import LARGE, SMALL, Settings, Turn

RUNS = {SMALL: Turn(1, 20), LARGE: Turn(11, 20)}
LAYERS = 4  # of the large shape
AS_EXACT = 2.0  # times the error of the padded pass in the same precision
FP32 = 1e-3  # largest relative error between two ways in fp32


def run(settings: Settings, shape: str) -> list[Record]:
    import torch

    from w2s_cli.training.attention import packed
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.memory import empty_memory

    pick_device({"device": settings.device}, "fp32")
    cut = {"num_hidden_layers": LAYERS} if shape == LARGE and settings.timed else {}
    model = shapes.classifier(settings, shape, **cut).eval()
    ids, mask = rows.padded(rows.rows(settings, settings.compared_rows).tokens.ids, "right")
    part, name = f"attention {shape}", settings.models[shape]

    def padded(model: Any) -> Any:
        inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
        return model.base_model(**inputs, use_cache=False).last_hidden_state[mask.bool().to(model.device)]

    def together(model: Any) -> Any:
        return packed.all_states(model, ids, mask)

    exact, exact_slopes = _pass(model, padded, "fp32")
    why = packed.why_padded(model, "bf16")
    records = [record(part, f"{name}, bf16: rows are packed", [float(why is None)], "of 1", target=1.0, note=why or "")]
    if why is None:
        errors = {}
        for way, forward in (("padded", padded), ("packed", together)):
            states, slopes = _pass(model, forward, "bf16")
            errors[way] = _largest(states, exact), _apart(slopes, exact_slopes)
            del states, slopes
        for place, what in enumerate(("a token's states", "all gradients")):
            ours, plain = errors["packed"][place], errors["padded"][place]
            records.append(
                record(part, f"{name}, bf16: error of {what}, packed over padded", [ours / max(plain, 1e-12)], "×",
                       better="less", target=AS_EXACT, note=f"{ours:.1e} and {plain:.1e} of fp32's norm")
            )  # fmt: skip
    del exact_slopes
    empty_memory()
    on_cpu = copy.deepcopy(model).to("cpu") if settings.device != "cpu" else model
    with torch.no_grad():
        apart = _largest(together(on_cpu).to(exact.device), exact)
    records.append(
        record(part, f"{name}, fp32: largest error of a token's states, packed on the CPU against padded here", [apart],
               "of the norm", better="less", target=FP32)
    )  # fmt: skip
    return records


def _pass(model: Any, forward: Callable[[Any], Any], precision: str) -> tuple[Any, list[Any]]:
    """The states [tokens, width] in fp32, and the gradients of the trunk's weights for one slope of all states."""
    import torch

    from w2s_cli.training.device import autocast

    with autocast(model.device, precision):
        states = forward(model).float()
    slope = torch.arange(states.numel(), device=states.device).sin().view_as(states)
    weights = list(model.base_model.parameters())
    slopes = torch.autograd.grad((states * slope).sum(), weights, allow_unused=True, materialize_grads=True)
    return states.detach(), list(slopes)


def _largest(states: Any, exact: Any) -> float:
    """The largest ‖difference‖ / ‖exact‖ of a token's states."""
    return float(((states - exact).norm(dim=-1) / exact.norm(dim=-1)).max())


def _apart(slopes: Iterable[Any], exact: Iterable[Any]) -> float:
    """‖difference‖ / ‖exact‖ of all gradients together."""
    import torch

    pairs = [((one - other).float().norm(), other.float().norm()) for one, other in zip(slopes, exact, strict=True)]
    differences, norms = (torch.stack(column).norm() for column in zip(*pairs, strict=True))
    return float(differences / norms)
