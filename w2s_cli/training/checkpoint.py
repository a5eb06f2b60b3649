"""Checkpoints: a training that resumes from one gives the same result as an uninterrupted training.

* Tensors are safetensors, everything else is JSON; never a pickle.
* A checkpoint is written into `checkpoint.tmp/`, synced, then renamed to `checkpoint-<step>/`: a folder of that name is complete.
  Older checkpoints are removed after the rename, so one complete checkpoint always exists.
* The training waits while its own tensors go to the disk, without a copy of them (from a GPU: with one, in the host's memory). A thread
  that writes meanwhile needs a copy of weights and moments, for a large model as much memory as the training. The wait is bounded instead:
  the next checkpoint comes after 19 times the seconds that the last one took (`Context.checkpoint_due`).
* state.json has the digest of the tensors' file, so a training does not go on from damaged bytes. The hash takes about as long as the disk.
* Contents: trainable parameters, optimizer state, random state, position. Frozen parameters never change, so they are not stored.
"""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault
from w2s_cli.store.files import digest, disk_errors, read_json, sync, write_json
from w2s_cli.store.shapes import fits

_PATTERN = "checkpoint-*"


class _State(TypedDict):
    """state.json."""

    step: int
    threads: int
    micro_tokens: int
    sums: dict[str, float]
    sha256: NotRequired[str]  # of the tensors' file; not in a checkpoint of an older w2s


class _Evaluated(_State):
    """state.json of a training with early stopping."""

    evaluations: list[tuple[int, float]]


def save(
    ctx: Context,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    best_weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state after `step` updates to the disk, then remove the older checkpoints.

    `state` (JSON) is what the loop needs beside the tensors; `best_weights` are those of early stopping.
    """
    began = time.monotonic()
    fault("checkpoint.begin")
    temporary = ctx.work / "checkpoint.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with disk_errors():
        save_file(_tensors(model, optimizer, best_weights), temporary / "tensors.safetensors")
    fault("checkpoint.tensors-written")
    position = {"step": step, "threads": torch.get_num_threads(), "sha256": digest(temporary / "tensors.safetensors")}
    write_json(temporary / "state.json", {**state, **position})
    sync(temporary / "tensors.safetensors")
    sync(temporary)
    fault("checkpoint.files-written")
    final = ctx.work / f"checkpoint-{step:09d}"
    shutil.rmtree(final, ignore_errors=True)
    os.rename(temporary, final)
    sync(ctx.work)
    fault("checkpoint.renamed")
    for older in sorted(ctx.work.glob(_PATTERN)):
        if older != final:
            shutil.rmtree(older)
    ctx.log(f"checkpoint at step {step}/{state['total']}")
    ctx.checkpoint_written(time.monotonic() - began)


def _tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, best_weights: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """The tensors of a checkpoint: the training's own memory, not a copy."""
    tensors = {f"model/{name}": p.detach() for name, p in model.named_parameters() if p.requires_grad}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
    tensors |= {f"kept/{name}": value for name, value in (best_weights or {}).items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if any(p.is_cuda for p in model.parameters()):
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def load_best_weights(work: Path) -> dict[str, Tensor]:
    """The `best_weights` of the newest checkpoint; call it after `load`, which reports a damaged checkpoint."""
    with safe_open(sorted(work.glob(_PATTERN))[-1] / "tensors.safetensors", framework="pt") as file:
        return {n.removeprefix("kept/"): file.get_tensor(n) for n in file.keys() if n.startswith("kept/")}  # noqa: SIM118


def load(
    work: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, evaluated: bool = False
) -> dict[str, Any] | None:
    """Put the newest checkpoint into model, optimizer and random state; returns its `state`, or None without a checkpoint.

    The thread count is restored too: it changes the last bits of sums. `evaluated`: the training has early stopping.

    Raises:
        UserError: the checkpoint is damaged or belongs to another model.
    """
    checkpoints = sorted(work.glob(_PATTERN))
    if not checkpoints:
        return None
    folder = checkpoints[-1]
    state = read_json(folder / "state.json")
    try:
        if not fits(state, _Evaluated if evaluated else _State):
            raise ValueError("state.json is missing, damaged, or lacks a field")
        if state.get("sha256") not in (None, digest(folder / "tensors.safetensors")):
            raise ValueError("tensors.safetensors was changed")
        tensors = load_file(folder / "tensors.safetensors")
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"model/{name}"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, index, slot = name.split("/")
                slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random/cuda"])
        torch.set_num_threads(state["threads"])
    except Exception as error:  # safetensors, torch and JSON each have their own error for a damaged file
        raise UserError(f"{folder} cannot be read ({error}); remove that folder to start this stage again") from error
    return dict(state)
