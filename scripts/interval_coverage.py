"""How often the 95 % intervals over five seeds hold the true value: the second half of `scripts/coverage`.

* The test rows are cut into BLOCKS blocks and the seeds into groups of five at random, CUTS times. One interval comes from one group and
  one block; its true value is taken from many seeds and many rows. So both factors, seeds and test rows, are drawn as the interval assumes.
* The true value is unknown, and two stand-ins bracket the coverage. All seeds on all rows contain the interval's own part, so the
  coverage is too high; all other seeds on all other rows have a noise of their own, so it is too low.
* Seeds that draw their own training rows are compared with seeds on pinned rows (`data.seed`), whose intervals lack the noise of that draw:
  five seeds on one draw, against the mean of all redraws.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from w2s_cli.data.artifacts.predictions import read_predictions
from w2s_cli.results.fields import value_of
from w2s_cli.results.reader import Entry, read_entries, read_runs
from w2s_cli.results.runs import run_folders
from w2s_cli.results.text_table import plain
from w2s_cli.statistics.figures import Floats, Integers, predicted, recovered
from w2s_cli.statistics.report import ROLES, Predictions, report
from w2s_cli.store.store import Store

SEEDS = 5  # behind one interval
BLOCKS = 4  # of test rows
CUTS = 25
CONFIDENCE, DRAWS = 0.95, 2000
Part = tuple[Integers, Integers]  # seeds, rows


def main(outputs: Path) -> None:
    """Print the table."""
    store = Store(outputs)
    entries = [e for e in read_entries(read_runs(sorted(run_folders(outputs)), store, named=False)) if not e.summarises]
    redrawn = sorted((e for e in entries if value_of(e, "data.seed") is None), key=lambda e: e.seeds)
    pinned = sorted(
        (e for e in entries if value_of(e, "data.seed") is not None), key=lambda e: value_of(e, "data.seed")
    )
    truth, many = read(redrawn, store)
    _, few = read(pinned, store)
    table = [["training rows", "figure", "intervals", "of all seeds and rows", "of the others", "no gap"]]
    for name, predictions in (("drawn by each seed", many), ("pinned by data.seed", few)):
        own = predictions is many
        parts = cuts(len(predictions["weak"].p), len(truth), shuffled=own)  # pinned seeds stay with their draw
        held = coverage(truth, predictions, many, list(parts), own=own)
        table += [[name, figure, *cells] for figure, cells in held.items()]
    print(plain(table))


def read(entries: Sequence[Entry], store: Store) -> tuple[Integers, dict[str, Predictions]]:
    """True classes [rows] and predictions with a seed for each entry."""
    folders = [folder / "result" for entry in entries if (folder := store.folder(entry.key))]
    _, truth, by_role = read_predictions(folders)
    return truth, by_role


def cuts(seeds: int, rows: int, *, shuffled: bool) -> Iterator[Part]:
    """Groups of seeds with blocks of test rows; without `shuffled` the groups are seeds in their order."""
    generator = np.random.default_rng(0)
    for _ in range(CUTS):
        order = generator.permutation(seeds) if shuffled else np.arange(seeds)
        for block in np.array_split(generator.permutation(rows), BLOCKS):
            for group in order.reshape(-1, SEEDS):
                yield group, block


def coverage(
    truth: Integers,
    predictions: Mapping[str, Predictions],
    many: Mapping[str, Predictions],
    parts: Sequence[Part],
    *,
    own: bool,
) -> dict[str, list[str]]:
    """Figure → number of intervals, the share that holds the value of all seeds and rows, and of the others, and those without a gap.

    Args:
        many: the predictions for the true value.
        parts: seeds of `predictions` and rows behind each interval.
        own: `predictions` are `many`.
    """
    right = np.stack([predicted(many[role].p) == truth for role in ROLES], axis=-1).astype(
        float
    )  # [seeds, rows, roles]
    held: dict[str, list[tuple[bool, bool]]] = {figure: [] for figure in (*ROLES, "pgr")}
    no_gap = dict.fromkeys(held, 0)
    for seeds, rows in parts:
        of_part = {role: Predictions(p.p[seeds][:, rows], p.logits[seeds][:, rows]) for role, p in predictions.items()}
        metrics = report(truth[rows], of_part, draws=DRAWS, confidence=CONFIDENCE, redrawn=True)
        other_seeds = np.delete(right, seeds, axis=0) if own else right
        true = (figures(right), figures(np.delete(other_seeds, rows, axis=1)))
        for figure, outcomes in held.items():
            bounds = metrics[figure]["interval"]
            if bounds is None:
                no_gap[figure] += 1
            else:
                outcomes.append((bounds[0] <= true[0][figure] <= bounds[1], bounds[0] <= true[1][figure] <= bounds[1]))
    return {
        figure: [str(len(outcomes)), *(f"{share:.3f}" for share in np.mean(outcomes, axis=0)), str(no_gap[figure])]
        for figure, outcomes in held.items()
    }


def figures(right: Floats) -> dict[str, float]:
    """Accuracies of the roles, and PGR, of a table [seeds, rows, roles] of right and wrong."""
    weak, student, ceiling = right.mean(axis=(0, 1))
    return {"weak": weak, "student": student, "ceiling": ceiling, "pgr": recovered(weak, student, ceiling) or 0.0}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
