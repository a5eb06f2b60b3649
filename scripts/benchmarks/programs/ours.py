"""The stages of w2s on a job, in one process as a worker runs them: finetune, then label the test rows and the pool.

`probe: N` trains N linear probes (seeds 0 … N-1) on features that are computed once.
"""

from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import Stopwatch, main_as_worker
from w2s_cli.store.context import Context

TOLD = ("micro_tokens", "eval_tokens", "checkpoint_seconds", "log_every")


def params(job: dict[str, Any], seed: int) -> dict[str, Any]:
    """The params of the finetune and label stages, with the defaults of configs/train/finetune.yaml."""
    return {
        "model": {"sha256": "0"},
        "loss": {"name": "xent", "args": {}},
        "mode": "probe" if job.get("probe") else "full",
        "lora": {"r": 8, "alpha": 16},
        "labels": "soft",
        "epochs": float(job["epochs"]),
        "lr": job["lr"],
        "batch_size": job["batch"],
        "schedule": "cosine",
        "warmup": 0.0,
        "optimizer": "adam",
        "betas": [0.9, 0.999],
        "weight_decay": 0.0,
        "max_grad_norm": None,
        "max_length": job["max_length"],
        "precision": job["precision"],
        "truncation": "right",
        "seed": seed,
        "shard_rows": 4096,
    }


def work(job: dict[str, Any]) -> dict[str, Any]:
    watch = Stopwatch()
    with watch.timed("import"):
        import pyarrow.parquet as pq

        from w2s_cli.config.launching import LauncherConfig
        from w2s_cli.stages import features, finetune, label
        from w2s_cli.training import loop
        from w2s_cli.training.models import classifier  # noqa: F401 - the stages import it and torch when they run
    watch.around(loop, "train", "train")
    launcher = LauncherConfig()
    told = {name: getattr(launcher, name) for name in TOLD} | {"device": job["device"], "model_path": job["base"]}

    def context(name: str) -> Context:
        folder = Path(job["work"]) / name
        for part in ("work", "result"):
            (folder / part).mkdir(parents=True)
        return Context(folder, folder / "work", folder / "result", told)

    stored: dict[str, Path] = {}
    if job.get("probe"):
        for pool in ("train", "test"):
            ctx = context(f"features-{pool}")
            with watch.timed("features"):
                features.run(params(job, 0), {"rows": Path(job[pool])}, ctx)
            stored[pool] = ctx.result
    answer: dict[str, Any] = {}
    for seed in range(job["seed"], job["seed"] + (job.get("probe") or 1)):
        ctx = context(f"model-{seed}")
        edges: dict[str, Any] = {"rows": Path(job["train"])} | ({"features": stored["train"]} if stored else {})
        with watch.timed("finetune"):
            metrics = finetune.run(params(job, seed), edges, ctx)
        for pool in ("test", "pool"):
            if not job[pool]:
                continue
            rows = Path(job[pool])
            scored = context(f"{pool}-{seed}")
            more = {"features": stored[pool]} if pool in stored else {}
            with watch.timed("label"):
                label.run(params(job, seed), {"rows": rows, "model": ctx.result, **more}, scored)
            if pool == "test" and seed == job["seed"]:
                p = pq.read_table(scored.result / "labels.parquet")["p"].to_pylist()
                truth = pq.read_table(rows / "rows.parquet")["label"].to_pylist()
                answer["right"] = [
                    int(max(range(len(one)), key=one.__getitem__) == y) for one, y in zip(p, truth, strict=True)
                ]
                answer["accuracy"] = sum(answer["right"]) / len(answer["right"])
    answer |= {"padded_over_real": 1 + metrics["padding"], "tokens": metrics["tokens"] * job["epochs"]}
    return answer | watch.figures()


if __name__ == "__main__":
    main_as_worker(work)
