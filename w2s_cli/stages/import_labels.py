"""import_labels: labels from a file (by people, an API model or any other source) in place of a weak supervisor's labels.

* Labels are joined by row id, never by position. Every row of the pool must be in the file once; rows of other pools are ignored.
* The file has a column `label` (class number or name) or `p` (probability of class 1, or a list with one probability per class). The
  result is the artifact of a label stage. Its logits are the logarithms of the probabilities, with 0 taken as 1e-7.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Pool, Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault
from w2s_cli.store.files import sha256_file

if TYPE_CHECKING:
    from w2s_cli.data.artifacts.rows import Rows
    from w2s_cli.pipeline.builder import Planning
    from w2s_cli.statistics.figures import Floats

VERSION = 1
TRAITS = Traits(gives="labels")


def plan(job: "Planning", *, path: str, rows: Pool) -> Spec:
    """Labels from a file; rows without a label are refused here, before any training, if the data set lies on this machine."""
    sha256, absolute = job.resolver.file(path, "labels")
    pool = job.rows_of(rows)
    if pool is not None:
        _joined(Path(absolute), pool)
    return Spec(
        {"sha256": sha256},
        {"rows": rows},
        slug=f"{job.config['data']['name']}-{rows.name}",
        execution={"labels_path": absolute},
        about={"rows": rows.name},
    )


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write labels.parquet (id; p, logits: list<float32>[classes]) in the order of the rows.

    Args:
        params: sha256 of the file at execution.labels_path.
        inputs: rows (result folder).

    Returns:
        rows, accuracy (against ground truth), mean_p (per class).

    Raises:
        UserError: the file changed since planning; missing, unknown or repeated ids; values that are no labels or probabilities.
    """
    from w2s_cli.data.artifacts.labels import write_labels
    from w2s_cli.data.artifacts.rows import read_rows

    fault("import_labels.start")
    path = Path(ctx.execution["labels_path"])
    if not path.is_file():
        raise UserError(f"labels.path: there is no file {path}.")
    if sha256_file(path, ctx.digests, again=True) != params["sha256"]:
        raise UserError(f"{path} has changed since this run was planned; run the command again.")
    rows = read_rows(cast(Path, inputs["rows"]), texts=False)
    p = _joined(path, rows)
    fault("import_labels.step")
    write_labels(ctx.result, rows.ids, p)
    ctx.progress(len(rows.ids), len(rows.ids), examples=len(rows.ids))
    return {
        "rows": len(rows.ids),
        "accuracy": float((p.argmax(axis=1) == rows.labels).mean()),
        "mean_p": [float(mean) for mean in p.mean(axis=0)],
    }


def _joined(path: Path, rows: "Rows") -> "Floats":
    """The file's probabilities for the rows of a pool, [rows, classes].

    Raises:
        UserError: as `run`.
    """
    from w2s_cli.data.label_files import file_order, probabilities
    from w2s_cli.data.read import read
    from w2s_cli.data.sources import SplitFiles, format_of

    data_format = format_of(path.name)
    if data_format is None:
        raise UserError(f"{path}: labels are read from jsonl, json, csv, tsv and parquet files (also .gz).")
    labels = read(SplitFiles(data_format, (path,)))
    order = file_order(labels, rows.ids)
    return probabilities(labels, rows.classes)[order]
