"""How large the measurements are: `full` for docs/benchmarks.md, `quick` for minutes, `tiny` for the tests of the harness."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Sizes, and where to work. The job is that of an IMDB-like task: reviews of 230 tokens, 2 epochs, batch 32."""

    size: str
    work: Path  # scratch folder; what is made once (texts, models) is kept there
    repeats: int  # of every program of a comparison; repeat k trains with seed k
    threads: int = 1  # CPU threads of every program, ours and others
    mean_tokens: int = 230
    train_rows: int = 480  # multiples of the batch: the reference drops an epoch's tail
    test_rows: int = 160
    pool_rows: int = 255  # labelled by the finished model
    batch: int = 32
    epochs: int = 2
    max_length: int = 1024
    lr: float = 5e-4
    head_lr: float = 1e-2  # of linear probes
    heads: int = 10
    weak: str = "wordnet-s"
    strong: str = "wordnet-l"
    batches: tuple[int, ...] = (8, 32, 256)  # effective batches of the memory part
    contexts: tuple[int, ...] = (128, 256, 512, 1024)  # its context lengths
    stages: int = 10_000  # finished ones in the store
    sweep_rows: int = 500
    sweep_seeds: int = 2
    starts: int = 5  # repeats of commands of a second


def full(work: Path) -> Settings:
    """What docs/benchmarks.md shows: 5 repeats on 5 seeds."""
    return Settings("full", work, repeats=5)


def quick(work: Path) -> Settings:
    """Minutes: fewer rows and two repeats; ratios of programs are those of the full size within some 20 %."""
    return Settings(
        "quick",
        work,
        repeats=2,
        train_rows=128,
        test_rows=96,
        pool_rows=96,
        heads=4,
        batches=(8, 64),
        contexts=(128, 512),
        stages=2_000,
        sweep_rows=120,
        sweep_seeds=1,
        starts=3,
    )


def tiny(work: Path) -> Settings:
    """Seconds: shows that the harness works; its figures mean nothing."""
    return Settings(
        "tiny",
        work,
        repeats=1,
        mean_tokens=24,
        train_rows=16,
        test_rows=24,
        pool_rows=8,
        batch=8,
        epochs=1,
        max_length=64,
        heads=2,
        weak="wordnet-s",
        strong="wordnet-s",
        batches=(4, 8),
        contexts=(32,),
        stages=40,
        sweep_rows=60,
        sweep_seeds=1,
        starts=1,
    )


SIZES = {"full": full, "quick": quick, "tiny": tiny}
