"""The one training loop, for every objective.

* An objective goes from the micro-batches of an update to contributions, one for each. The loop calls backward on each contribution at
  once, so only one micro-batch's graph is in memory. The loop knows nothing about labels or tokens.
* Learning rate and order of rows are functions of the step, so a checkpoint need not store them.
* No step waits for the device: the figures of updates stay on the device until they are logged, shown or stored.
* Out of memory: the loop halves the micro-batch and repeats the update (`memory.py`).
* Several processes have parts of an effective batch (`division.py`) and sum their gradients (`exchange.py`), so they make the same
  updates. All of them stop, evaluate and end at the same update. Rank 0 writes.
* The loop does not use accelerate, which starts the processes: its process-wide state forbids two precisions in one worker, and it only
  wraps `autocast` and `backward`.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault
from w2s_cli.store.memory import means_no_memory
from w2s_cli.training import checkpoint, exchange
from w2s_cli.training.batching import Layout, micro_batches
from w2s_cli.training.division import Division, divided
from w2s_cli.training.memory import Budget, does_not_fit
from w2s_cli.training.offload import offloaded
from w2s_cli.training.sharding import Sharding
from w2s_cli.training.stopping import EarlyStopping


@dataclass(frozen=True)
class Recipe:
    """How weights are updated; every field is part of the stage's identity."""

    epochs: float
    lr: float
    schedule: str = "cosine"  # to 0 at the last step; or linear, constant
    warmup: float = 0.0  # share of the steps, in which the learning rate rises
    optimizer: str = "adam"  # or adamw: decoupled weight decay, on matrices only; or adamw8bit: moments in 8 bits (Dettmers et al. 2022)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_grad_norm: float | None = None  # global norm; None = no clipping

    @classmethod
    def of(cls, params: dict[str, Any]) -> "Recipe":
        """The recipe inside a stage's params."""
        fields = {name: params[name] for name in cls.__dataclass_fields__ if name in params}
        return cls(**{**fields, "betas": tuple(params.get("betas", cls.betas))})


Sums = dict[str, Tensor | float]


@dataclass(frozen=True)
class Contribution:
    """One micro-batch's part of an update."""

    backward: Tensor  # scalar whose gradient is this part of the effective batch's gradient
    sums: Sums  # added over micro-batches; "loss" is this part of the effective batch's loss


@dataclass(frozen=True)
class Objective:
    """What a training minimises, over rows that go through the model in micro-batches."""

    lengths: np.ndarray  # [rows] what a row takes of a micro-batch, in tokens
    layout: Layout
    # micro-batches of an update, progress in [0, 1); and, where other processes have the rest of it, the whole batch (division.Whole)
    parts: Callable[..., Iterator[Contribution]]
    longest: np.ndarray | None = None  # [rows] tokens of a row's longest text, where that is not `lengths`
    draws: bool = False  # random numbers for each micro-batch, so another size is another result

    def cut(self, rows: Sequence[int], tokens: int) -> list[list[int]]:
        """The micro-batches of `rows`, of at most so many `tokens`."""
        return micro_batches(rows, self.lengths, tokens, self.layout)


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """The learning rate of update `step` (from 0) of `total`; cosine as torch's CosineAnnealingLR with eta_min 0."""
    rising = round(recipe.warmup * total)
    if step < rising:
        return recipe.lr * (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    match recipe.schedule:
        case "cosine":
            return recipe.lr * 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return recipe.lr * (1 - done)
        case "constant":
            return recipe.lr
    raise UserError(f'schedule={recipe.schedule} is unknown; use "cosine", "linear" or "constant"')


def make_optimizer(model: nn.Module, recipe: Recipe, sharding: Sharding | None = None) -> torch.optim.Optimizer:
    """Adam or AdamW over the trainable parameters, in their order in the model; of parameters in parts over this process's."""
    trainable = [sharding.optimized(p) if sharding else p for p in model.parameters() if p.requires_grad]
    fused = all(p.device.type in ("cpu", "cuda") for p in trainable)
    options: dict[str, Any] = {"lr": recipe.lr, "betas": recipe.betas, "fused": fused}
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(trainable, weight_decay=recipe.weight_decay, **options)
        case "adamw" | "adamw8bit":
            matrices = [p for p in trainable if p.ndim > 1]
            vectors = [p for p in trainable if p.ndim <= 1]  # biases and norms have no weight decay
            groups = [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ]
            chosen = [group for group in groups if group["params"]]
            if recipe.optimizer == "adamw8bit":
                from bitsandbytes.optim import AdamW8bit

                return AdamW8bit(chosen, lr=recipe.lr, betas=recipe.betas)  # type: ignore[no-any-return]
            return torch.optim.AdamW(chosen, **options)
    raise UserError(f'optimizer={recipe.optimizer} is unknown; use "adam", "adamw" or "adamw8bit"')


def train(
    model: nn.Module,
    objective: Objective,
    batches: Callable[[int], list[list[int]]],
    recipe: Recipe,
    ctx: Context,
    kind: str,
    early_stopping: EarlyStopping | None = None,
    sharding: Sharding | None = None,
) -> dict[str, float]:
    """Train `model` in place, from the newest checkpoint in `ctx.work` if one exists.

    `batches(epoch)` gives the effective batches of an epoch, the same number in each epoch. With `early_stopping` the model ends with
    the weights of the best evaluation. `sharding`: that of a model whose weights lie in parts.

    Returns:
        The sums of the last epoch ("loss" as the mean over updates, all others as totals), "begun", the loss of the first update
        (missing after a checkpoint of an older version), and "steps".

    Only rank 0 returns, where several processes share the stage.

    Raises:
        Stopped: the stage was asked to stop; a checkpoint is written.
        Served: this is not rank 0.
        UserError: the loss is not finite, or memory fails with one row in a micro-batch, or in the step of the optimizer.
    """
    per_epoch = len(batches(0))
    total = max(1, round(recipe.epochs * per_epoch))
    ranks = ctx.ranks
    sharding = sharding or Sharding(model, ranks)
    if ranks.count > 1:
        ctx.log(
            f"{ranks.count} processes share each update{', and its weights lie in parts on them' if sharding.used else ''}"
        )
    optimizer, on_host = make_optimizer(model, recipe, sharding), bool(ctx.execution.get("offload_optimizer"))
    if on_host:
        optimizer = offloaded(optimizer)
    budget = Budget(ctx, "micro_tokens", fixed=objective.draws, sharded=sharding.used)
    log_every = int(ctx.execution.get("log_every", 10))
    first, sums = 0, dict[str, float]()
    begun: float | None = None  # the loss of the first update
    stopped_early = early_stopping is not None
    saved = checkpoint.load(ctx.work, model, optimizer, sharding, evaluated=stopped_early, on_host=on_host)
    if saved is not None:
        first, sums, begun = saved["step"], dict(saved["sums"]), saved.get("begun")
        budget.lower(saved["micro_tokens"])
        if early_stopping is not None:
            early_stopping.restore(saved["evaluations"], checkpoint.load_best_weights(ctx.work, sharding))
        ctx.log(f"resumed at step {first}/{total}")
    ctx.cut_metrics(first)
    model.train()
    examples, tokens, started, done = 0, 0.0, time.monotonic(), first
    epoch, plan = -1, list[list[int]]()
    pending: list[Sums] = []  # updates whose figures are still on the device
    for step in range(first, total):
        fault(f"{kind}.step")
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            plan = batches(epoch)
        if step % per_epoch == 0:
            sums = {}
        rate = learning_rate(recipe, step, total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = plan[step % per_epoch]
        longest: int | None = int((objective.lengths if objective.longest is None else objective.longest)[rows].max())
        try:
            update = _gradients(sharding, objective, rows, step / total, budget)
            longest = None  # from here on all rows are read
            sharding.give_gradients(recipe.max_grad_norm)
            optimizer.step()
        except Exception as error:  # each library has its own error
            if not means_no_memory(error):
                raise
            raise does_not_fit(model, longest, ctx) from error
        optimizer.zero_grad(set_to_none=True)
        model.zero_grad(set_to_none=True)
        pending.append(update)
        examples, tokens, done = examples + len(rows), tokens + float(update.get("tokens", 0.0)), step + 1
        logged = done % log_every == 0 or done == total
        evaluating = early_stopping is not None and early_stopping.due(done, last=done == total)
        stopping, saving, shown = exchange.any_of(
            ranks, ctx.stop_requested(), ctx.checkpoint_due(), ctx.progress_due(done, total)
        )
        saving = done < total and (stopping or saving)
        if logged or evaluating or saving or done % per_epoch == 0 or shown:
            fetched = _fetched(pending, done, recipe)
            begun = fetched[0]["loss"] if done == len(fetched) else begun
            pending = []
            for figures in fetched:
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
            last = fetched[-1]
            if logged:
                ctx.record_metric(done, loss=last["loss"], lr=rate, **_agreement(last))
            ctx.progress(done, total, loss=last["loss"], examples=examples, tokens=tokens)
        if early_stopping is not None and evaluating and early_stopping.evaluate(model, done, budget, ctx):
            ctx.log(f"no gain in {early_stopping.patience} evaluations: training ends after step {done}/{total}")
            break
        if saving:
            state: dict[str, Any] = {"sums": sums, "begun": begun, "micro_tokens": budget.tokens, "total": total}
            if early_stopping is not None:
                state["evaluations"] = early_stopping.evaluations
            best_weights = early_stopping.weights if early_stopping is not None else None
            checkpoint.save(ctx, done, model, optimizer, state, best_weights, sharding)
        if stopping and done < total:
            raise Stopped
    if early_stopping is not None:
        early_stopping.restore_best_weights(model)
    seconds = time.monotonic() - started
    ctx.measure(train_seconds=seconds, examples=examples, tokens=tokens, tokens_per_second=tokens / max(seconds, 1e-9))
    sharding.collect()
    ctx.rest_alone()
    in_last_epoch = (done - 1) % per_epoch + 1
    beginning = {} if begun is None else {"begun": begun}
    return {**sums, **beginning, "loss": sums["loss"] / in_last_epoch, "steps": done}


def refuse_own_fault(beginning: str, losses: Tensor, given: Iterable[Tensor], figures: str, code: str) -> None:
    """Refuse (UserError) NaN or infinity that a loss or objective makes of finite figures; on a CPU, where nothing waits for the answer.

    Args:
        beginning: the beginning of the message, before the number.
        given: what the code was given; `figures`: its name in the message.
        code: "loss" or "objective".
    """
    if losses.device.type != "cpu" or torch.isfinite(losses).all() or not all(torch.isfinite(x).all() for x in given):
        return
    wrong = float(losses.detach()[~torch.isfinite(losses)].flatten()[0])
    raise UserError(
        f"{beginning} {wrong} although all {figures} are finite: the fault is in the {code}, not in the learning rate"
    )


def _fetched(pending: list[Sums], done: int, recipe: Recipe) -> list[dict[str, float]]:
    """The figures of the `pending` updates, which end with update `done`, fetched from the device in one transfer.

    Raises:
        UserError: a loss is not finite.
    """
    on_device = [value for figures in pending for value in figures.values() if isinstance(value, Tensor)]
    values = iter(torch.stack([value.float() for value in on_device]).tolist() if on_device else [])
    fetched = [
        {name: next(values) if isinstance(value, Tensor) else float(value) for name, value in figures.items()}
        for figures in pending
    ]
    for step, figures in enumerate(fetched, start=done - len(fetched)):
        if not math.isfinite(figures["loss"]):
            advice = (
                f": lower the learning rate (lr={recipe.lr}), or set the model's precision=fp32"
                if step
                else ", before any update, so no learning rate helps: set the model's precision=fp32 if it has another, and look into the "
                "loss or objective if it is your own"
            )
            raise UserError(f"the loss is {figures['loss']} at step {step}{advice}")
    return fetched


def _agreement(update: dict[str, float]) -> dict[str, float]:
    """Share of the rows whose predicted class, before the update, is the class of the label; empty for objectives without classes."""
    return {"agreement": update["right"] / update["rows"]} if {"right", "rows"} <= set(update) else {}


def _gradients(sharding: Sharding, objective: Objective, rows: Sequence[int], progress: float, budget: Budget) -> Sums:
    """Accumulate the gradient of one effective batch; returns its sums."""
    ranks = sharding.ranks

    def division(tokens: int) -> Division:
        return divided(rows, tokens, objective.lengths, objective.cut, ranks, by_pieces=objective.draws)

    def accumulate(pieces: list[list[int]]) -> Sums:
        sharding.model.zero_grad(set_to_none=True)  # of an attempt that did not fit
        sums: Sums = {}
        if ranks.count == 1:
            for part in objective.parts(pieces, progress):
                part.backward.backward()  # type: ignore[no-untyped-call]
                for name, value in part.sums.items():
                    sums[name] = sums.get(name, 0.0) + value
            return sums
        whole = division(budget.tokens).whole
        for number, part in enumerate(objective.parts(pieces, progress, whole)):
            fault("update.micro_batch")
            counts = float(whole.real is None or number < whole.real)
            (part.backward * counts).backward()  # type: ignore[no-untyped-call]
            for name, value in part.sums.items():
                sums[name] = sums.get(name, 0.0) + value * counts
        exchange.agree(ranks)
        exchange.sum_gradients(ranks, sharding.whole_parameters())
        return exchange.sum_figures(ranks, sums)

    return budget.fit(lambda tokens: division(tokens).pieces, accumulate, together=True)
