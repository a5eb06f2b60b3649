"""rows: the texts and true labels, or the problems, of one pool of a data set, by row id, in a fixed order.

* Rows are chosen first and formatted afterwards, in the pool's order, until the limit is reached.
* A balanced pool has the first rows of each class in that order, as many as the rarest class has.
* A row without a usable text is dropped, counted by its reason, and told after the run; a wrong label stops the stage. A row of the test
  pool is kept without a solution, which nobody learns there.
* The rows do not depend on a tokenizer: long texts are cut at tokenization, never dropped here.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.data.recipes import check_recipe, rows_params
from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
RARE = 0.02  # share of a pool's rows
NEUTRAL = {"second": None, "problem": None, "overlap": None}
TRAITS = Traits(gives="rows", implied=True)


def plan(job: "Planning", *, pool: str) -> Spec:
    """One pool of the data set."""
    data = job.config["data"]
    source, path = job.resolver.data(data)
    check_recipe(data.plain)
    transform = job.transform(data) if data["transform"] else None
    expected = data.plain["expected"] or {}
    about = {"data": data["name"], "rows": pool, "limit": data["limits"].get(pool)}
    params = rows_params(data, pool=pool, source=source, seed=job.config["seed"], transform_file=transform)
    return Spec(
        params,
        slug=f"{data['name']}-{pool}",
        execution={"data_path": path, "expected": data.plain["expected"]},
        about={**about, "expected": expected.get("test") if pool == "test" else None},
        words=[*([f"≤ {about['limit']}"] if about["limit"] else []), *(["no overlap"] if params["overlap"] else [])],
    )


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """A line for dropped rows that neither the recipe's transform nor data.drop_overlap leaves out, and one for rare classes."""
    from w2s_cli.data.form import ELSEWHERE, LEFT_OUT

    dropped = metrics.get("dropped", {})
    unusable = {reason: count for reason, count in dropped.items() if not reason.startswith((LEFT_OUT, ELSEWHERE))}
    rates = dict(zip(metrics.get("classes", ()), metrics.get("base_rates", {}).values(), strict=False))
    rare = [name for name, rate in rates.items() if rate < RARE]
    lines = []
    if unusable:
        looked_at = metrics["usable"]["rows"] + sum(dropped.values())
        counts = ", ".join(f"{count:,} {reason}" for reason, count in unusable.items())
        lines.append(
            f"Caution: {sum(unusable.values()):,} of {looked_at:,} rows of {about['data']} {about['rows']} were left out: {counts}."
        )
    if rare:
        lines.append(
            f"Caution: fewer than {RARE:.0%} of the rows of {about['data']} are of class {', '.join(rare)}: a slip among the labels, "
            "to be corrected or left out, or a class that a model can hardly learn; w2s data check counts the classes."
        )
    return lines


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write rows.parquet (see `data.artifacts.rows`) and return its figures.

    Args:
        params: from `data.recipes.rows_params`.
        inputs: none.

    Returns:
        rows, base_rates {class number: share} and classes (both empty for problems without labels), levels {level: rows} of problems
        with a level, pool_rows (before limit), source_rows (of the split),
        dropped {reason: rows}, usable {rows: number of usable rows examined, base_rates: theirs before balancing},
        balanced_from (number of usable rows examined) or null.

    Raises:
        UserError: data that is missing, changed since planning, or differs from its recipe.
    """
    from w2s_cli.data import overlap, taking
    from w2s_cli.data.artifacts.rows import write_rows
    from w2s_cli.data.form import label_column
    from w2s_cli.data.labels import FEWEST
    from w2s_cli.data.pools import pool_order, row_ids
    from w2s_cli.data.read import read
    from w2s_cli.data.recipes import drift

    fault("rows.start")
    dataset, split = params["dataset"], params["split"]
    files = taking.split_files(params, ctx)
    rows = read(files[split])
    label = label_column(dataset)
    classes = [] if label is None else dataset["classes"] or taking.class_names(label, rows, split, files)
    if params.get("second") and len(classes) != FEWEST:
        raise UserError(f"{rows.shown}: pairs (data.second) need two classes, but the labels are {', '.join(classes)}.")
    ids = row_ids(rows, split=split, column=dataset["id"])
    groups = taking.groups_of(params, rows, ids, ctx)
    draws = {"share": params["share"], "seed": params["seed"], "test": params["test"]}
    order = pool_order(dataset["name"], ids, groups, **draws)
    elsewhere = overlap.elsewhere(params, rows, classes, files, ctx)
    pool = taking.take(params, rows, classes, ids, groups, order, elsewhere, ctx)
    taking.refuse_useless(pool, classes, params, rows)
    for warning in drift(
        ctx.execution.get("expected"),
        split=split,
        rows=rows.count,
        base_rate=pool.looked_at[1] / pool.looked_at.total() if classes else None,
        counted=pool.looked_at.total(),
    ):
        ctx.log(f"warning: {warning}")
        ctx.measure(warning=warning)
    second = pool.seconds if params.get("second") else None
    labels = pool.labels if classes else None
    write_rows(ctx.result, pool.ids, pool.groups, pool.texts, labels, second, pool.problems)
    counts = Counter(pool.labels)
    levels = Counter(problem["level"] for problem in pool.problems if "level" in problem)
    return {
        "rows": len(pool.ids),
        "base_rates": {str(number): counts[number] / len(pool.ids) for number in range(len(classes))},
        "classes": list(classes),
        **({"levels": dict(sorted(levels.items()))} if levels else {}),
        "pool_rows": len(order),
        "source_rows": rows.count,
        "dropped": dict(sorted(pool.dropped.items())),
        "usable": {
            "rows": pool.looked_at.total(),
            "base_rates": {str(n): pool.looked_at[n] / pool.looked_at.total() for n in range(len(classes))},
        },
        "balanced_from": pool.looked_at.total() if dataset["balanced"] else None,
    }
