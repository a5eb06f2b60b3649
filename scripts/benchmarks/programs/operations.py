"""The floating-point operations of a job: those of the mathematics on real tokens.

2 a weight and token for the layers' matrices, 2·tokens²·width for the causal half of a layer's attention; a backward pass counts twice a
forward one. Work on padding, or work avoided, does not change the count, so a share of the matmul peak is the same question for every
program.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs.answer import main


def flops(config: Any, matrices: int, lengths: Sequence[int], *, backward: bool) -> float:
    """Operations of one pass over texts of these lengths; `matrices` is the number of weights in the layers' matrices."""
    each = (2 * matrices * n + 2 * config.num_hidden_layers * config.hidden_size * n * n for n in lengths)
    return float(sum(each) * (3 if backward else 1))


def work(job: dict[str, Any]) -> dict[str, Any]:
    import pyarrow.parquet as pq
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(job["base"])
    tables = {id(module.weight) for module in model.modules() if type(module).__name__ == "Embedding"}
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in tables)
    tokenizer = AutoTokenizer.from_pretrained(job["base"])

    def lengths(pool: str) -> list[int]:
        texts = pq.read_table(Path(job[pool]) / "rows.parquet")["text"].to_pylist()
        return [min(len(ids), job["max_length"]) for ids in tokenizer(texts)["input_ids"]]

    counts = lengths("train")
    rest = [n for pool in ("test", "pool") if job[pool] for n in lengths(pool)]
    train = job["epochs"] * flops(model.config, matrices, counts, backward=True)
    return {
        "matrix_weights": matrices,
        "mean_tokens": sum(counts) / len(counts),
        "train_tokens": job["epochs"] * sum(counts),
        "train_flops": train,
        "all_flops": train + flops(model.config, matrices, rest, backward=False),
    }


if __name__ == "__main__":
    main(work)
