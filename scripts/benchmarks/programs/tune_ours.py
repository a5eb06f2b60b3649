"""sft or dpo by the `tune` stage of w2s; the time is that of the training, and of dpo that of the reference's log-probabilities too."""

import json
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker
from scripts.benchmarks.programs.rows import write_problems
from w2s_cli.config.launching import LauncherConfig
from w2s_cli.store.context import Context


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        from w2s_cli.data.artifacts.completions import completions_table, write_completions
        from w2s_cli.data.artifacts.pairs import Origin, Pair, write_pairs
        from w2s_cli.stages import score, tune
        from w2s_cli.training import loop
        from w2s_cli.training.objectives import token_log_p
    folder = Path(job["work"])
    rows = [json.loads(line) for line in Path(job["problems"]).read_text().splitlines()]
    pool = write_problems(folder / "rows", rows)
    launcher = LauncherConfig()
    told = {"micro_tokens": launcher.micro_tokens, "eval_tokens": launcher.eval_tokens, "device": "cpu"}

    def context(name: str) -> Context:
        for part in ("work", "result"):
            (folder / name / part).mkdir(parents=True)
        options = {**told, "model_path": job["base"], "checkpoint_seconds": 1e9, "log_every": 1}
        return Context(folder / name, folder / name / "work", folder / name / "result", options)

    learned = folder / "learned"
    learned.mkdir()
    edges: dict[str, Any] = {"rows": pool}
    if job["objective"] == "sft":
        names = [(row["id"], 0) for row in rows]
        chosen = [row["chosen"] for row in rows]
        write_completions(
            learned, completions_table(names, chosen, [0] * len(rows), ["end"] * len(rows), [None] * len(rows))
        )
        edges["texts"] = learned
    else:
        write_pairs(
            learned, [Pair(row["id"], Origin(row["chosen"], "a", 0), Origin(row["rejected"], "b", 0)) for row in rows]
        )
        edges["pairs"] = learned
    shared = {
        "model": {"sha256": "0"},
        "chat_template": None,
        "max_length": 1024,
        "truncation": "left",
        "precision": "fp32",
        "shard_texts": score.SHARD_TEXTS,
    }
    if job["objective"] == "dpo":
        ctx = context("score")
        watch.around(token_log_p, "all_log_p", "reference")
        score.run({**shared, "classifier": False, "other": False}, edges, ctx)
        edges["reference"] = ctx.result
    watch.around(loop, "train", "train")
    ctx = context("tune")
    args = {"beta": 0.1, "smoothing": 0.0} if job["objective"] == "dpo" else {}
    params = {
        **shared,
        "objective": {"name": job["objective"], "args": args},
        "mode": "full",
        "lora": None,
        "epochs": float(job["epochs"]),
        "lr": job["lr"],
        "batch_size": job["batch"],
        "schedule": "constant",
        "warmup": 0.0,
        "optimizer": "adam",
        "betas": [0.9, 0.999],
        "weight_decay": 0.0,
        "max_grad_norm": None,
        "seed": job["seed"],
    }
    tune.run(params, edges, ctx)
    lines = [json.loads(line) for line in (ctx.folder / "metrics.jsonl").read_text().splitlines()]
    figures = watch.figures()
    figures["learn_cpu_s"] = figures["train_cpu_s"] + figures.get("reference_cpu_s", 0.0)
    return {"losses": [line["loss"] for line in lines], **figures}


if __name__ == "__main__":
    main_as_worker(work)
