"""Greedy texts by the `generate` stage of w2s, as a worker runs it."""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker
from scripts.benchmarks.programs.rows import write_problems
from w2s_cli.config.schema import LauncherConfig
from w2s_cli.store.context import Context


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import pyarrow.parquet as pq

        from w2s_cli.stages import generate
        from w2s_cli.training import texts
        from w2s_cli.training.generation import writing
    if job["fixed"]:  # random weights have no end: every text has as many tokens
        texts._ends = lambda folder, tokenizer: frozenset({-1})  # type: ignore[assignment]
    watch.around(writing._Batches, "write", "write")
    folder = Path(job["work"])
    rows = write_problems(
        folder / "rows", [json.loads(line) for line in Path(job["problems"]).read_text().splitlines()]
    )
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


if __name__ == "__main__":
    main_as_worker(work)
