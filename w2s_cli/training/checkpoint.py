"""Checkpoints: a training that resumes from one gives the same result as an uninterrupted training.

* Tensors are safetensors, everything else is JSON; never a pickle.
* A checkpoint is written into `checkpoint.tmp/`, synced, then renamed to `checkpoint-<step>/`: a folder of that name is complete.
  Older checkpoints are removed after the rename, so one complete checkpoint always exists.
* The training waits while its own tensors go to the disk, without a copy of them (from a GPU: with one, in the host's memory). A thread
  that writes meanwhile needs a copy of weights and moments, for a large model as much memory as the training. The wait is bounded instead:
  the next checkpoint comes after 19 times the seconds that the last one took (`Context.checkpoint_due`).
* state.json has the digests of the other files and of its own content, so no training goes on from damaged bytes. The hash takes about as
  long as the disk. Each process hashes the part that it writes, and the parts that it reads.
* Contents: trainable parameters, optimizer state, random state, position. Frozen parameters never change, so they are not stored.
* One format for any number of processes, so that each goes on with the checkpoint of another. Rank 0 writes tensors.safetensors. Where
  weights lie in parts (`sharding.py`), every process writes its rows of them to a part-<rank>.safetensors, and parts.json has the rows
  that each file has. A reader takes the rows that it needs from any of these files. (torch's own distributed checkpoint has its index
  in a pickle.)
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault
from w2s_cli.store.files import SEAL, digest, disk_errors, is_broken, read_json, sync, write_json, write_sealed
from w2s_cli.store.ranks import ALONE, Ranks
from w2s_cli.store.shapes import fits
from w2s_cli.training import exchange, slots
from w2s_cli.training.sharding import Sharding, Span, local, span

_PATTERN = "checkpoint-*"
_TENSORS, _PARTS = "tensors.safetensors", "parts.json"
_Parts = dict[str, int]  # parts.json: name of a tensor in parts → its rows, and "" → number of parts


class _State(TypedDict):
    """state.json."""

    step: int
    threads: int
    micro_tokens: int
    sums: dict[str, float]
    files: NotRequired[dict[str, str]]  # name → digest; an older w2s wrote none
    sha256: NotRequired[str]  # the seal; of an older w2s the digest of the tensors' file


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
    sharding: Sharding | None = None,
) -> None:
    """Write the state after `step` updates to the disk, then remove the older checkpoints.

    `state` (JSON) is what the loop needs beside the tensors; `best_weights` are those of early stopping. All processes of a stage call it.
    """
    began = time.monotonic()
    first = not ctx.ranks.rank
    temporary, final = ctx.work / "checkpoint.tmp", ctx.work / f"checkpoint-{step:09d}"
    sharding = sharding or Sharding(model, ctx.ranks)
    if first:
        fault("checkpoint.begin")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    exchange.wait_for_all(ctx.ranks)
    tensors, rows = _tensors(model, optimizer, best_weights, sharding)
    parts = {name: tensors.pop(name) for name in rows}
    if parts:
        _write(temporary / _part(ctx.ranks.rank), parts)
    if first:
        _write(temporary / _TENSORS, tensors)
        fault("checkpoint.tensors-written")
    files = _digests_of_parts(temporary, ctx.ranks) if parts else {}
    if first:
        if rows:
            write_json(temporary / _PARTS, {**rows, "": ctx.ranks.count})
            files[_PARTS] = digest(temporary / _PARTS)
        files[_TENSORS] = digest(temporary / _TENSORS)
        position = {"step": step, "threads": torch.get_num_threads(), "files": files}
        write_sealed(temporary / "state.json", {**state, **position})
    exchange.wait_for_all(ctx.ranks)
    if first:
        sync(temporary)
        fault("checkpoint.files-written")
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        sync(ctx.work)
        fault("checkpoint.renamed")
        for older in sorted(ctx.work.glob(_PATTERN)):
            if older != final:
                shutil.rmtree(older)
        ctx.log(f"checkpoint at step {step}/{state['total']}")
        ctx.checkpoint_written(time.monotonic() - began)


def _part(rank: int) -> str:
    """The name of the file with the rows of a process."""
    return f"part-{rank}.safetensors"


def _digests_of_parts(folder: Path, ranks: Ranks) -> dict[str, str]:
    """Name → digest of the part of every process, each of which hashes its own."""
    mine = bytearray.fromhex(digest(folder / _part(ranks.rank)))
    whole = exchange.joined(ranks, torch.frombuffer(mine, dtype=torch.uint8).unsqueeze(0), ranks.rank, ranks.count)
    return {_part(rank): bytes(row).hex() for rank, row in enumerate(whole.tolist())}


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    with disk_errors():
        save_file(tensors, path)
    sync(path)


def _tensors(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best_weights: Mapping[str, Tensor] | None,
    sharding: Sharding,
) -> tuple[dict[str, Tensor], _Parts]:
    """The tensors of a checkpoint: the training's own memory, not a copy. And of those in parts the rows of the whole."""
    tensors, spans = {}, dict[str, Span | None]()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tensors[f"model/{name}"], spans[f"model/{name}"] = local(parameter.detach()), sharding.span(name)
    for number, weight in enumerate(slots.weights_of(optimizer)):
        for slot, value in optimizer.state.get(weight, {}).items():
            name, tensor = f"optimizer/{number}/{slot}", slots.to_tensor(value)
            tensors[name], spans[name] = tensor, sharding.span_of(weight) if tensor.ndim else None
    for name, value in (best_weights or {}).items():
        tensors[f"kept/{name}"], spans[f"kept/{name}"] = value, sharding.span(name)
    tensors["random/cpu"] = torch.get_rng_state()
    if any(p.is_cuda for p in model.parameters()):
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    rows = {name: of[2] for name, of in spans.items() if of is not None}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, rows


class _Stored:
    """The tensors of a checkpoint's files, read row by row; a part is hashed before its first row is read.

    Raises:
        ValueError: a file has another digest than `files` says, or parts.json another shape.
    """

    def __init__(self, folder: Path, opened: ExitStack, files: Mapping[str, str] | None = None) -> None:
        """`files`: name → digest; files without a digest are not hashed."""
        self.folder, self.unchecked = folder, dict(files or {})
        for name in (_TENSORS, _PARTS):
            self._check(name)

        def enter(name: str) -> Any:
            return opened.enter_context(safe_open(folder / name, framework="pt"))

        self.whole = enter(_TENSORS)
        self.rows: _Parts = {}
        self.parts: list[Any] = []
        if (folder / _PARTS).exists():
            rows = read_json(folder / _PARTS)
            if not fits(rows, _Parts) or "" not in rows:
                raise ValueError(f"{_PARTS} is damaged")
            self.parts = [enter(_part(rank)) for rank in range(rows.pop(""))]
            self.rows = rows

    def _check(self, name: str) -> None:
        """Hash a file that has a digest, once."""
        wanted = self.unchecked.pop(name, None)
        if wanted is not None and wanted != digest(self.folder / name):
            raise ValueError(f"{name} was changed")

    def names(self, prefix: str) -> Iterator[str]:
        """The names that begin with `prefix`."""
        return (name for name in [*self.whole.keys(), *self.rows] if name.startswith(prefix))

    def read(self, name: str, of: Span | None = None) -> Tensor:
        """The tensor `name`, or its rows `of`.

        Raises:
            ValueError: it has another number of rows, or its part was changed.
        """
        if name not in self.rows:
            if of is None:
                return self.whole.get_tensor(name)  # type: ignore[no-any-return]
            part = self.whole.get_slice(name)
            _check_rows(name, part.get_shape()[0], of)
            return part[of[0] : of[1]]  # type: ignore[no-any-return]
        total = self.rows[name]
        first, end, _ = of or (0, total, total)
        if of is not None:
            _check_rows(name, total, of)
        pieces = []
        for rank, file in enumerate(self.parts):
            start, stop, _ = span(total, Ranks(rank, len(self.parts)))
            if max(first, start) < min(end, stop) or (first == end and rank == 0):
                self._check(_part(rank))
                pieces.append(file.get_slice(name)[max(first, start) - start : max(min(end, stop), start) - start])
        return torch.cat(pieces)


def _check_rows(name: str, rows: int, of: Span) -> None:
    if rows != of[2]:
        raise ValueError(f"{name} has {rows} rows instead of {of[2]}")


def load_best_weights(work: Path, sharding: Sharding | None = None) -> dict[str, Tensor]:
    """The `best_weights` of the newest checkpoint; call it after `load`, which reports a damaged checkpoint."""
    with ExitStack() as opened:
        stored = _Stored(sorted(work.glob(_PATTERN))[-1], opened)
        names = [name.removeprefix("kept/") for name in stored.names("kept/")]
        return {name: stored.read(f"kept/{name}", sharding.span(name) if sharding else None) for name in names}


def load(
    work: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    sharding: Sharding | None = None,
    *,
    evaluated: bool = False,
    on_host: bool = False,
) -> dict[str, Any] | None:
    """Put the newest checkpoint into model, optimizer and random state; returns its `state`, or None without a checkpoint.

    The thread count is restored too: it changes the last bits of sums. `evaluated`: the training has early stopping.
    `on_host`: the optimizer's slots stay in the host's memory.

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
        if "files" in state and (SEAL not in state or is_broken(state)):
            raise ValueError("state.json was changed")
        files = state.get("files") or ({_TENSORS: state["sha256"]} if "sha256" in state else {})
        with ExitStack() as opened:
            _restore(
                _Stored(folder, opened, files), model, optimizer, sharding or Sharding(model, ALONE), on_host=on_host
            )
        torch.set_num_threads(state["threads"])
    except Exception as error:  # safetensors, torch and JSON each have their own error for a damaged file
        raise UserError(f"{folder} cannot be read ({error}); remove that folder to start this stage again") from error
    return dict(state)


def _restore(
    stored: _Stored, model: nn.Module, optimizer: torch.optim.Optimizer, sharding: Sharding, *, on_host: bool
) -> None:
    """Put the tensors of a checkpoint into model, optimizer and random state."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                local(parameter).copy_(stored.read(f"model/{name}", sharding.span(name)))
    weights = slots.weights_of(optimizer)
    kept: dict[int, dict[str, Tensor]] = {}
    for name in stored.names("optimizer/"):
        _, number, slot = name.split("/")
        in_parts = sharding.span_of(weights[int(number)])
        scalar = name not in stored.rows and not stored.whole.get_slice(name).get_shape()
        kept.setdefault(int(number), {})[slot] = stored.read(name, None if scalar else in_parts)
    slots.restore(optimizer, kept, on_host=on_host)
    torch.set_rng_state(stored.read("random/cpu"))
    if torch.cuda.is_available() and list(stored.names("random/cuda")):
        torch.cuda.set_rng_state(stored.read("random/cuda"))
