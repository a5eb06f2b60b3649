"""w2s: weak-to-strong generalization experiments as resumable stages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from w2s_cli.results.table.settings import Setting

__version__ = "0.1.0"


def load(run: str | Path, *, by: Literal["seed", "setting"] = "seed") -> list[dict[str, Any]]:
    """The results of a run, sweep or outputs folder, one flat row a result, for a notebook: `pandas.DataFrame(w2s_cli.load(folder))`.

    A result that several runs share is one row: of the run written last. Summaries over seeds are not among the rows of single seeds, so
    that a mean over rows counts each seed once.

    Every field of results.json is a column (lists unchanged), and `setting` describes the run in words. Fields of the configuration that
    vary between results of the same models and data are columns by their dotted names (`data.limits.strong_train`). Accuracies and PGR
    are shares; `<name>_low` and `<name>_high` are the bounds of their intervals, None for PGR without a gap. `pgr` is None without a
    weak supervisor, and `pgr_flag` is the reason why a PGR must not be quoted (gap_is_noise, ceiling_below_weak, no_width).
    `<role>_untrained_threshold` is true if a seed's model predicts one class on nearly all test rows in spite of its AUROC (where nearly
    all rows are of that class, this is no fault of its training). `labels_accuracy` is that of the labels on the student's own rows, and
    `cautions` are the sentences about such models and intervals.

    Args:
        run: an outputs folder, for all its runs, with a column `run`; or one run, by its path or, for a run in ./outputs, by the
            beginning of its name or `latest`.
        by: "seed": one row a seed, with the columns `seed` and `key`. "setting": one row a setting, its figures and intervals over its
            `seeds` as in `w2s table`, with the column `keys`.

    Raises:
        w2s_cli.errors.UserError: no such run or folder, no results, or a run by an older w2s.
    """
    from w2s_cli.errors import UserError
    from w2s_cli.results.fields import value_of
    from w2s_cli.results.reader import read_entries, read_runs
    from w2s_cli.results.runs import find_run, run_folders
    from w2s_cli.results.table.distinguishing import varying
    from w2s_cli.results.table.settings import by_seed, settings
    from w2s_cli.store.store import Store

    if by not in ("seed", "setting"):
        raise UserError(f'load: by={by!r}: write by="seed" or by="setting".')
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
    store = Store(root)
    results = read_entries(read_runs(folders, store, named=not is_outputs))
    if not results:
        raise UserError(f"{folder} holds no results; name an outputs folder with finished runs, or one of them.")
    names = varying(results)
    chosen = settings(results, store) if by == "setting" else by_seed(results)
    return [
        ({"run": one.entry.run.folder.name} if is_outputs else {})
        | _flat(one, by)
        | {name: value_of(one.entry, name) for name in names}
        for one in chosen
    ]


def _flat(result: "Setting", by: str) -> dict[str, Any]:
    """The row of one seed or setting."""
    from w2s_cli.results.fields import setting
    from w2s_cli.statistics import ROLES

    metrics, entry = result.metrics, result.entry
    row = {"setting": setting(entry.fields), **entry.fields, "stage": entry.stage, "seeds": result.seeds}
    if by == "seed":
        row |= {"seed": result.seeds[0] if len(result.seeds) == 1 else None, "key": result.keys[0], "job": entry.job}
    else:
        row |= {"keys": result.keys}
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
    return row | {
        "labels_accuracy": labels.get("accuracy"),
        "rows": metrics["rows"],
        "cautions": [*result.warnings(), *result.cautions],
    }
