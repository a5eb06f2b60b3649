"""From prompts to a table of texts, shard by shard and batch by batch, within the memory of the stage."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from w2s_cli.data.artifacts.completions import completions_table
from w2s_cli.data.artifacts.rows import Problems
from w2s_cli.errors import UserError
from w2s_cli.store.context import Context, Stopped
from w2s_cli.training.batching import PADDED, micro_batches
from w2s_cli.training.generation.completing import Head, Text, Unit, Writer, needs_alone
from w2s_cli.training.generation.demonstrations import Demonstration
from w2s_cli.training.generation.sampling import Sampling
from w2s_cli.training.memory import Budget
from w2s_cli.training.shards import tables_in_shards
from w2s_cli.training.shots import Heads, Queries
from w2s_cli.training.texts import Format, as_prompts, open_model, text_of
from w2s_cli.training.tokens import check_ids, cut_summary

LAYOUT = replace(
    PADDED, waste=1 << 40
)  # rows of any length may stand together: they are sorted, and padding is read only once


def write_texts(
    params: dict[str, Any],
    folder: Path,
    problems: Problems,
    shown: Sequence[Demonstration],
    device: torch.device,
    ctx: Context,
) -> tuple[pa.Table, dict[str, Any]]:
    """The completions of all prompts, and facts for the metrics: truncated, empty (prompts), shots, close (see `sampling.py`)."""
    model, form, positions = open_model(params, folder, device, ctx, separator_of(params))
    model.eval()
    limit, most = prompt_limit(positions, params["max_new_tokens"], folder), int(params["max_new_tokens"])
    heads, queries = as_prompts(form, problems.prompts, shown, limit)
    refuse_empty(problems, queries)
    check_ids([*queries.ids, *(np.array(ids) for ids in heads.values() if ids)], model.config, folder)
    writer = Writer(
        model, form.tokenizer, Sampling.of(params), most, form.ends, tuple(params["stop"]), params["precision"]
    )
    writer = replace(writer, alone=needs_alone(writer, [ids.astype(np.int64) for ids in queries.ids]))
    if writer.alone:
        ctx.log(f"rows one by one: {model.config.model_type} reads a prompt in another way beside other prompts")
    samples = int(params["samples"])
    ctx.log(f"{len(problems.ids)} prompts, {samples} texts each, {queries.truncated} prompts cut")
    ctx.measure(rows="one by one" if writer.alone else "batches sorted by length")
    batches = _Batches(writer, form, problems, heads, queries, samples, ctx)
    table = tables_in_shards(len(problems.ids), rows_of_shard(params), ctx, "generate", batches.write)
    ctx.measure(tokens_per_second=batches.tokens / max(batches.seconds, 1e-9), eval_tokens=batches.budget.tokens)
    close = int(np.sum(table["close"].to_numpy()))
    return table.drop_columns(["close"]), {**prompt_facts(queries, limit), "close": close}


def separator_of(params: Mapping[str, Any]) -> str:
    """What stands between plain demonstrations; nothing without any."""
    return str((params["demonstrations"] or {}).get("separator", ""))


def rows_of_shard(params: Mapping[str, Any]) -> int:
    """Rows whose texts are written together; all samples of a row are in one shard."""
    return max(1, int(params["shard_texts"]) // int(params["samples"]))


def prompt_facts(queries: Queries, limit: int) -> dict[str, Any]:
    """The metrics of prompts: truncated, empty, and shots {number of demonstrations: prompts}."""
    counts = np.bincount(queries.shots)
    return {
        "truncated": cut_summary(queries.truncated, len(queries.ids), limit),
        "empty": queries.empty,
        "shots": {str(number): int(rows) for number, rows in enumerate(counts) if rows},
    }


def prompt_limit(positions: int, new_tokens: int, folder: Path) -> int:
    """Tokens that a prompt may have, beside the text.

    Raises:
        UserError: none is left.
    """
    if positions - new_tokens < 1:
        raise UserError(
            f"the context of {folder} holds {positions} tokens, and a text may have {new_tokens} (generation.max_new_tokens): no room is "
            "left for a prompt; set fewer new tokens, or raise the model's max_length"
        )
    return positions - new_tokens


def refuse_empty(problems: Problems, queries: Queries) -> None:
    """Refuse prompts of no token."""
    if queries.empty == len(problems.ids):
        raise UserError(
            f"{problems.path}: no prompt has a token that this model knows: they are empty, or in another script than its tokenizer's"
        )


def refuse_not_finite(rows: Sequence[str], log_p: Sequence[float], problems: Problems) -> None:
    """Refuse texts of the rows with these ids, one of which has a log-probability that is not finite."""
    bad = next((row for row, value in zip(rows, log_p, strict=True) if not np.isfinite(value)), None)
    if bad is not None:
        raise UserError(
            f"the model gives logits that are not finite for row {bad} of {problems.path}: set its precision=fp32, or train it with a "
            "lower learning rate"
        )


class _Batches:
    """The batches of a stage, its budget and its speed."""

    def __init__(
        self,
        writer: Writer,
        form: Format,
        problems: Problems,
        heads: Heads,
        queries: Queries,
        samples: int,
        ctx: Context,
    ) -> None:
        self.writer, self.form, self.problems = writer, form, problems
        self.heads, self.queries, self.samples, self.ctx = heads, queries, samples, ctx
        self.read: dict[int, Head] = {}  # number of demonstrations → the beginning of such prompts
        self.budget = Budget(ctx, "eval_tokens")
        self.tokens, self.seconds = 0, 0.0

    def write(self, start: int, end: int) -> pa.Table:
        """The texts of rows start … end-1, all samples of each."""
        started = time.monotonic()
        units = [
            Unit(self.problems.ids[row], sample, self.queries.ids[row].astype(np.int64))
            for row in range(start, end)
            for sample in range(self.samples)
        ]
        shots = np.repeat(self.queries.shots[start:end], self.samples)
        texts: dict[int, Text] = {}
        done = start * self.samples
        for number in sorted(set(shots.tolist())):
            same = np.flatnonzero(shots == number)
            texts.update(self._of_head(units, same.tolist(), number, done + len(texts)))
        ordered = [texts[place] for place in range(len(units))]
        self.tokens += sum(len(text.ids) for text in ordered)
        self.seconds += time.monotonic() - started
        refuse_not_finite([unit.row for unit in units], [text.log_p for text in ordered], self.problems)
        table = completions_table(
            [(unit.row, unit.sample) for unit in units],
            [text_of(self.form, text.ids, self.writer.stop) for text in ordered],
            [len(text.ids) for text in ordered],
            [text.finish for text in ordered],
            [text.log_p for text in ordered],
        )
        return table.append_column("close", pa.array([text.close for text in ordered], pa.int32()))

    def _of_head(self, units: Sequence[Unit], chosen: list[int], shots: int, done: int) -> dict[int, Text]:
        """Place of a unit → its text, of the `chosen` units, which all begin with as many demonstrations."""
        if shots not in self.read:
            self.read[shots] = self.writer.read(self.heads[shots])
        head = self.read[shots]
        lengths = np.array([len(head.ids) + len(units[place].prompt) + self.writer.most for place in chosen])
        total = len(self.problems.ids) * self.samples

        def written(pieces: list[list[int]]) -> dict[int, Text]:
            texts: dict[int, Text] = {}
            before = self.tokens
            for piece in pieces:
                at, so_far = done + len(texts), before

                def watch(finished: int, tokens: int, at: int = at, so_far: int = so_far) -> None:
                    if self.ctx.stop_requested():
                        raise Stopped
                    self.ctx.progress(at + finished, total, examples=at + finished, tokens=so_far + tokens)

                batch = self.writer.write([units[chosen[place]] for place in piece], head, watch)
                before += sum(len(text.ids) for text in batch)
                texts.update({chosen[place]: text for place, text in zip(piece, batch, strict=True)})
            return texts

        return self.budget.fit(lambda tokens: micro_batches(range(len(chosen)), lengths, tokens, LAYOUT), written)
