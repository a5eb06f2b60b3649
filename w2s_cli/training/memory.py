"""Micro-batches that fit the memory: halved when memory fails, and an explanation when a single row does not fit.

* A micro-batch changes a result by rounding only: it is no part of a stage's key, and record.json names the one that fitted
  (`measured`), where that is not the launcher's. An exception is a training with random numbers (the dropout of adapters), which are
  drawn for each micro-batch: there the micro-batch is in the key, and nothing is halved.
* Where several processes share an update and memory fails in one, all halve their micro-batches together and repeat it.
* After a failure that oneDNN keeps (`store.memory.stays`) the stage goes on in a new process, with the smaller micro-batch.
* An estimate of the smallest need decides which ways out a message names.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from w2s_cli.errors import UserError
from w2s_cli.store.context import Context, Restart
from w2s_cli.store.files import read_json, write_json
from w2s_cli.store.memory import give_back, means_no_memory, most_bytes, stays
from w2s_cli.store.ranks import Ranks
from w2s_cli.store.shapes import fits
from w2s_cli.training import exchange
from w2s_cli.training.batching import Layout, micro_batches
from w2s_cli.training.division import deal

T = TypeVar("T")
NOTED = "micro_batches.json"  # in the stage's work folder: name → tokens, for the next process
TOKENS = {"micro_tokens": 8192, "eval_tokens": 32768}  # without a launcher
ADAM_BYTES = 16  # of a parameter in fp32: weight, gradient, two moments


class Budget:
    """Tokens of a micro-batch, as `launcher.<name>` gives them; once memory has failed, so many as fitted.

    `fixed`: the micro-batches are part of the result, so they are never made smaller. `sharded`: the weights lie in parts on several
    processes, which wait for each other within a pass; so a failure of one ends all, and the stage goes on in new processes.
    """

    def __init__(self, ctx: Context, name: str, *, fixed: bool = False, sharded: bool = False) -> None:
        self.tokens = int(ctx.execution.get(name, TOKENS[name]))
        self._ctx, self._name, self._fixed = ctx, name, fixed
        self.sharded = sharded
        self._advised = False
        if not fixed and self._name in (fitted := self._fitted()):
            self.lower(fitted[self._name])

    def fit(
        self, cut: Callable[[int], list[list[int]]], work: Callable[[list[list[int]]], T], *, together: bool = False
    ) -> T:
        """`work(cut(tokens))`, begun again with smaller micro-batches whenever memory fails.

        `together`: all processes of the stage do this work, and begin it again together; `work` has `exchange.agree` before each exchange.

        Raises:
            UserError: memory fails, and the micro-batches are fixed.
            Restart: memory fails for the rest of this process; smaller micro-batches are noted for the next.
            Exception: `work`'s own, also for want of memory with a single row in each micro-batch.
        """
        smaller: int | None
        while True:
            pieces = cut(self.tokens)
            if not self._advised:
                self._advise(self._smaller(cut))
            try:
                return work(pieces)
            except exchange.Elsewhere as failure:
                smaller, told = failure.tokens, True
            except Exception as error:
                smaller, told = self._smaller(cut) if means_no_memory(error) else None, False
                if smaller is None:
                    raise
                if self._fixed:
                    raise UserError(
                        f"not enough memory for micro-batches of {self.tokens} tokens. The dropout of adapters (train.lora.dropout) is "
                        "drawn for each micro-batch, so smaller ones are another training, with a key of its own: set "
                        f"launcher.{self._name}={smaller}"
                    ) from error
                if stays(error) or self.sharded:
                    self._ctx.log(f"out of memory: continuing with {self._name}={smaller} in a new process")
                    write_json(self._ctx.work / NOTED, {**self._fitted(), self._name: smaller})
                    raise Restart from error
            empty_memory()  # outside the handler: the traceback keeps the failed graph in memory
            assert smaller is not None
            if together and not told:
                smaller = exchange.smallest(self._ctx.ranks, smaller)
            self._ctx.log(f"out of memory: continuing with {self._name}={smaller}")
            self.lower(smaller)

    @property
    def ranks(self) -> Ranks:
        """The processes of the stage."""
        return self._ctx.ranks

    def lower(self, tokens: int) -> None:
        """Continue with at most so many tokens, and note them in record.json if they are fewer."""
        if tokens < self.tokens:
            self.tokens, self._advised = tokens, False
            self._ctx.measure(**{self._name: tokens})

    def _fitted(self) -> dict[str, int]:
        """Tokens that an earlier process of this stage noted."""
        written = read_json(self._ctx.work / NOTED)
        return written if fits(written, dict[str, Annotated[int, lambda tokens: tokens > 0]]) else {}

    def _smaller(self, cut: Callable[[int], list[list[int]]]) -> int | None:
        """The first budget of half, a quarter, … that makes smaller micro-batches; None if each is a single row."""
        pieces, tokens = cut(self.tokens), self.tokens
        while tokens > 1 and max(map(len, pieces)) > 1:
            tokens //= 2
            if cut(tokens) != pieces:
                return tokens
        return None

    def _advise(self, smaller: int | None) -> None:
        """Tell the scheduler what would help if the kernel killed this process for its memory."""
        setting = f"launcher.{self._name}={smaller}" if smaller else "a smaller max_length or a smaller model"
        self._ctx.emit({"event": "advice", "text": setting})
        self._advised = True


def empty_memory() -> None:
    """Free what a failed attempt held, on the host and on the device."""
    give_back()
    torch.cuda.empty_cache()


def gather(forward: Callable[[list[int]], Tensor], lengths: np.ndarray, budget: Budget, layout: Layout) -> np.ndarray:
    """`forward(rows)` for all rows: [all rows, …] float32 in their order; micro-batches within the budget, sorted by length."""

    def joined(pieces: list[list[int]]) -> np.ndarray:
        outputs: np.ndarray | None = None
        for piece in pieces:
            part = forward(piece).float().cpu().numpy()
            if outputs is None:
                outputs = np.empty((len(lengths), *part.shape[1:]), dtype=np.float32)
            outputs[piece] = part
        assert outputs is not None
        return outputs

    return budget.fit(lambda tokens: micro_batches(range(len(lengths)), lengths, tokens, layout), joined)


def gather_together(
    forward: Callable[[list[int]], Tensor], lengths: np.ndarray, budget: Budget, layout: Layout
) -> np.ndarray:
    """As `gather`, by all processes of the stage: each reads its share of the rows, and all have the whole result."""
    ranks = budget.ranks
    if ranks.count == 1:
        return gather(forward, lengths, budget, layout)
    if budget.sharded:  # all processes make the same passes; the result is that of rank 0
        outputs = gather(forward, lengths, budget, layout)
        counted = 0 if ranks.rank else len(lengths)
        return exchange.table(ranks, outputs[:counted], range(counted), len(lengths))
    own = deal(range(len(lengths)), lambda row: int(lengths[row]), ranks.count)[ranks.rank]
    rows = own or [0]  # the width of the result is known from a row
    outputs = gather(lambda piece: forward([rows[row] for row in piece]), lengths[rows], budget, layout)
    return exchange.table(ranks, outputs[: len(own)], own, len(lengths))


def does_not_fit(model: nn.Module, longest: int | None, ctx: Context) -> UserError:
    """The message of a training whose memory fails with one row in a micro-batch, whose longest text has `longest` tokens.

    None: in the step of the optimizer, after the gradients of all rows.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    needed, most = weights + 3 * trained, _most_bytes(model)
    ways = []
    if longest is not None and (most is None or needed < most):
        if ctx.execution.get("gradient_checkpointing") is False:
            ways.append("gradient_checkpointing=true for this model")
        if longest > 1:
            ways.append(f"a max_length below {longest}")
    classifier = hasattr(model, "num_labels")
    if classifier and trained == weights and (most is None or weights < most):
        ways.append(f"train=lora (its weights take {_gib(weights)})")
    millions = None if most is None else f"{0.5 * most / ADAM_BYTES / 1e6:,.0f}"
    ways.append("a smaller model" if millions is None else f"a model of at most {millions} million parameters")
    have = "" if most is None else f" of the {_gib(most)} that this process may have"
    what = "the step of the optimizer" if longest is None else f"an update with one row, a text of {longest} tokens"
    more = "" if longest is None else ", and the activations come on top"
    return UserError(
        f"not enough memory for {what}: weights, gradients and moments take {_gib(needed)}{have}{more}. "
        f"What can fit: {' or '.join([*ways, 'more memory'])}"
    )


def _most_bytes(model: nn.Module) -> int | None:
    """Bytes that the training may have on its device; None if unknown."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return most_bytes() if device.type == "cpu" else None


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB"
