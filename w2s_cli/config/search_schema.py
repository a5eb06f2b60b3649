"""The typed configuration of a search (see `schema.py`)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from w2s_cli.config.trainings import Count, Seed

MOST_BATCH = 1000


@dataclass
class SearchConfig:
    """A search over the fields that a sweep gives as intervals (w2s train -m strong.lr='interval(…)' search.trials=20)."""

    trials: Count | None = None  # settings that are tried, of each setting of the other swept words; null: no search
    batch: Annotated[int, Ge(1), Le(MOST_BATCH)] = 4  # trials that are chosen together and run side by side
    # by which trials are compared: the student on validation rows against the labels of its supervisor
    metric: Literal["accuracy", "auroc", "cross_entropy"] = "accuracy"
    seed: Seed = 0  # of the sampler
    # trials that are also run on the test rows, up to PGR; no choice depends on it
    test: Literal["best", "all"] = "best"
