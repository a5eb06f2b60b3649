"""What the programs read: rows artifacts of the benchmark's texts, and jobs that say what to do with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks import models, texts
from scripts.benchmarks.settings import Settings

POOLS = ("train", "test", "pool")


def rows(settings: Settings, name: str, count: int, *, skip: int = 0, mean_tokens: int | None = None) -> Path:
    """A rows artifact of `count` texts after the first `skip`, made once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    mean = mean_tokens or settings.mean_tokens
    folder = settings.work / "rows" / f"{name}-{skip}-{count}-{mean}"
    path = folder / "rows.parquet"
    if path.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    made = list(texts.rows(skip + count, mean))[skip:]
    ids = [row["id"] for row in made]
    labels = pa.array([row["label"] for row in made], pa.int32())
    table = pa.table({"id": ids, "group": ids, "text": [row["text"] for row in made], "label": labels})
    pq.write_table(table, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)
    return folder


def pools(settings: Settings) -> dict[str, str]:
    """Folders of the rows to train on, to test on, and to label."""
    counts = (settings.train_rows, settings.test_rows, settings.pool_rows)
    return {
        name: str(rows(settings, name, count, skip=sum(counts[:place])))
        for place, (name, count) in enumerate(zip(POOLS, counts, strict=True))
    }


def model(settings: Settings, name: str) -> str:
    """The folder of a base model."""
    return str(models.base(name, settings.work / "models"))


def job(settings: Settings, name: str, chosen: Sequence[str] = POOLS, **changed: Any) -> dict[str, Any]:
    """One training of model `name` as every program understands it."""
    files = pools(settings)
    return {
        "base": model(settings, name),
        **{pool: files[pool] if pool in chosen else None for pool in POOLS},
        "precision": "fp32",
        "epochs": settings.epochs,
        "batch": settings.batch,
        "lr": settings.lr,
        "max_length": settings.max_length,
        "seed": 0,
        "device": "cpu",
        **changed,
    }
