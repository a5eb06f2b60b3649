"""w2s: weak-to-strong generalization experiments as resumable stages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from w2s_cli.results.reader import Entry

__version__ = "0.1.0"


def load(run: str | Path) -> list[dict[str, Any]]:
    """The results of a run or sweep, one flat row per table, for a notebook: `pandas.DataFrame(w2s_cli.load(folder))`.

    Every field of results.json is a column (lists unchanged), and `setting` describes the run in words. Fields of the configuration that
    vary between results of the same models and data are columns by their dotted names (`data.limits.strong_train`). Accuracies and PGR
    are shares; `<name>_low` and `<name>_high` are the bounds of their intervals, None for an unbounded interval. `pgr` is None without a
    weak supervisor, and `pgr_flag` is the reason why a PGR must not be quoted (gap_is_noise, ceiling_below_weak, no_width).
    `<role>_untrained_threshold` is true if a seed's model predicts one class on nearly all test rows in spite of its AUROC (where nearly
    all rows are of that class, this is no fault of its training). `labels_accuracy` is that of the labels on the student's own rows, and
    `cautions` are the sentences about such models and intervals.

    Args:
        run: an outputs folder, for all its runs, with a column `run`; or one run, by its path or, for a run in ./outputs, by the
            beginning of its name or `latest`.

    Raises:
        w2s_cli.errors.UserError: no such run or folder, no results, or a run by an older w2s.
    """
    from w2s_cli.errors import UserError
    from w2s_cli.results.fields import value_of
    from w2s_cli.results.reader import read_runs
    from w2s_cli.results.runs import find_run, run_folders
    from w2s_cli.results.table.distinguishing import varying
    from w2s_cli.store.store import Store

    folder = Path(run).expanduser()
    is_outputs = folder.is_dir() and any((folder / kind).is_dir() for kind in ("stages", "runs", "sweeps"))
    if is_outputs and not (folder / "results.json").is_file():
        root, folders = folder, sorted(run_folders(folder))
    else:
        root = Path("outputs")
        if not folder.is_dir() and not root.is_dir():
            raise UserError(f"{folder} does not exist; name an outputs folder, or a run in one.")
        folders = [find_run(root, str(run))]
        is_outputs = False
    results = [
        entry for run_results in read_runs(folders, Store(root), named=not is_outputs) for entry in run_results.entries
    ]
    if not results:
        raise UserError(f"{folder} holds no results; name an outputs folder with finished runs, or one of them.")
    names = varying(results)
    return [
        ({"run": entry.run.folder.name} if is_outputs else {})
        | _flat(entry)
        | {name: value_of(entry, name) for name in names}
        for entry in results
    ]


def _flat(entry: "Entry") -> dict[str, Any]:
    """The row of one result."""
    from w2s_cli.results.cautions import of_result
    from w2s_cli.results.fields import setting
    from w2s_cli.statistics import ROLES

    metrics = entry.metrics
    row = {"setting": setting(entry.fields), **entry.fields}
    row |= {"stage": entry.stage, "key": entry.key, "seeds": entry.seeds, "job": entry.job}
    for role in ROLES:
        if role in metrics:
            low, high = metrics[role]["interval"] or (None, None)
            row |= {
                f"{role}_accuracy": metrics[role]["accuracy"],
                f"{role}_accuracy_low": low,
                f"{role}_accuracy_high": high,
            }
            row |= {f"{role}_auroc": metrics[role].get("auroc"), f"{role}_ece": metrics[role].get("ece")}
            flags = metrics[role]["per_seed"].get("untrained_threshold")  # missing in results of an older w2s
            row[f"{role}_untrained_threshold"] = None if flags is None else any(flags)
    pgr = metrics.get("pgr") or {}
    low, high = pgr.get("interval") or (None, None)
    pgr_flags = pgr.get("flags") or [None]
    row |= {"pgr": pgr.get("value"), "pgr_low": low, "pgr_high": high, "pgr_flag": pgr_flags[0]}
    if "agreement" in metrics:
        row["agreement"] = metrics["agreement"]["overall"]["value"]
    labels = metrics.get("student", {}).get("labels", {})
    return row | {"labels_accuracy": labels.get("accuracy"), "rows": metrics["rows"], "cautions": of_result(entry)}
