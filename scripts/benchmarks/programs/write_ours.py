"""Greedy texts by the `generate` stage of w2s, as a worker runs it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker
from scripts.benchmarks.programs.rows import write_problems
from w2s_cli.config.launching import LauncherConfig
from w2s_cli.store.context import Context


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import pyarrow.parquet as pq

        from w2s_cli.stages import generate
        from w2s_cli.training import texts
        from w2s_cli.training.generation import writing
    watch.around(writing._Batches, "write", "write")
    folder = Path(job["work"])
    problems = [json.loads(line) for line in Path(job["problems"]).read_text().splitlines()]
    if job["lengths"]:  # random weights have no end of their own
        texts._ends = lambda folder, tokenizer: frozenset({-1})  # type: ignore[assignment]
        _end_after({row["id"]: tokens for row, tokens in zip(problems, job["lengths"], strict=True)})
    rows = write_problems(folder / "rows", problems)
    for part in ("work", "result"):
        (folder / part).mkdir()
    told = {"eval_tokens": LauncherConfig().eval_tokens, "device": "cpu", "model_path": job["base"]}
    ctx = Context(folder, folder / "work", folder / "result", told)
    params = {
        "model": {"sha256": "0"},
        "samples": 1,
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "max_new_tokens": job["new_tokens"],
        "stop": [],
        "demonstrations": None,
        "chat_template": None,
        "engine": "w2s",
        "max_length": 1024,
        "truncation": "left",
        "precision": "fp32",
        "seed": None,
        "shard_texts": generate.SHARD_TEXTS,
    }
    metrics = generate.run(params, {"rows": rows}, ctx)
    table = pq.read_table(ctx.result / "completions.parquet")
    return {"texts": table["text"].to_pylist(), "tokens": metrics["tokens"], **watch.figures()}


def _end_after(lengths: dict[str, int]) -> None:
    """Let the text of each row, by its id, end after so many tokens."""
    from w2s_cli.training.generation import completing

    plain_write, plain_goes_on = completing.Writer._write, completing.Writer._goes_on
    room: dict[int, int] = {}  # identity of a text → tokens that it may have
    coming: list[int] = []  # the same of the texts of the next batch

    class Bounded(completing.Text):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            room[id(self)] = coming.pop(0)

    def write(
        self: completing.Writer,
        units: Sequence[completing.Unit],
        head: completing.Head,
        watch: Callable[[int, int], None],
    ) -> list[completing.Text]:
        room.clear()
        coming[:] = [lengths[unit.row] for unit in units]
        return plain_write(self, units, head, watch)

    def goes_on(self: completing.Writer, text: completing.Text, token: int) -> bool:
        return plain_goes_on(self, text, token) and len(text.ids) < room[id(text)]

    completing.Text = Bounded  # type: ignore[misc, assignment]
    completing.Writer._write = write  # type: ignore[method-assign]
    completing.Writer._goes_on = goes_on  # type: ignore[method-assign]


if __name__ == "__main__":
    main_as_worker(work)
