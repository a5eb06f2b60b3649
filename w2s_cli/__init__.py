"""w2s: weak-to-strong generalization experiments as resumable stages."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from w2s_cli.results.table.entries import Entry

__version__ = "0.1.0"


def load(run: str | Path) -> list[dict[str, Any]]:
    """The results of a run or sweep folder, one flat row per table, for a notebook: `pandas.DataFrame(w2s_cli.load(folder))`.

    Every field of results.json is a column (lists as they are), `setting` says in words what was run, and the fields of the configuration
    in which results of the same models and data differ are there by their dotted names (`data.limits.strong_train`). Accuracies and PGR
    are shares; `<name>_low` and `<name>_high` are the bounds of their intervals, None where they are unbounded; `pgr` is None where there
    is none (no weak supervisor), and `pgr_flag` says why it is no number to quote.

    Args:
        run: a folder of outputs/runs or outputs/sweeps; an outputs folder gives all of them, with a column `run`.

    Raises:
        w2s_cli.errors.UserError: a folder that is not there, or without results.
    """
    from w2s_cli.errors import UserError
    from w2s_cli.results.table.apart import varying
    from w2s_cli.results.table.entries import find_folders, read_entries, value_of

    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there; name an outputs folder, or a folder of outputs/runs or outputs/sweeps."
        )
    single = (folder / "results.json").is_file()
    found = [folder] if single else sorted(find_folders(folder), key=lambda path: path.relative_to(folder))
    if not found:
        raise UserError(f"{folder} holds no results.json; name a finished folder of outputs/runs or outputs/sweeps.")
    entries = [(path, entry) for path in found for entry in read_entries([path])]
    names = varying([entry for _, entry in entries])
    return [
        ({} if single else {"run": path.name}) | _flat(entry) | {name: value_of(entry, name) for name in names}
        for path, entry in entries
    ]


def _flat(entry: "Entry") -> dict[str, Any]:
    """One entry of results.json as one row."""
    from w2s_cli.results.runs import setting

    metrics = entry.metrics
    row = {"setting": setting(entry.fields), **entry.fields}
    row |= {"stage": entry.stage, "key": entry.key, "seeds": entry.seeds, "job": entry.job}
    for role in ("weak", "student", "ceiling"):
        if role in metrics:
            low, high = metrics[role]["interval"] or (None, None)
            row |= {
                f"{role}_accuracy": metrics[role]["accuracy"],
                f"{role}_accuracy_low": low,
                f"{role}_accuracy_high": high,
            }
            row |= {f"{role}_auroc": metrics[role].get("auroc"), f"{role}_ece": metrics[role].get("ece")}
    pgr = metrics.get("pgr") or {}
    low, high = pgr.get("interval") or (None, None)
    flags = pgr.get("flags") or [None]
    row |= {"pgr": pgr.get("value"), "pgr_low": low, "pgr_high": high, "pgr_flag": flags[0]}
    if "agreement" in metrics:
        row["agreement"] = metrics["agreement"]["overall"]["value"]
    return row | {"rows": metrics["rows"]}
