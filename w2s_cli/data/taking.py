"""The rows of one pool, taken in its order and formatted until its limit is full. For stages/rows.py, which says how."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.data import hub
from w2s_cli.data.form import (
    ELSEWHERE,
    Formed,
    UnusableRowError,
    check_options,
    find_grouping,
    find_transform,
    former,
    grouped,
)
from w2s_cli.data.labels import distinct_classes
from w2s_cli.data.pools import row_groups
from w2s_cli.data.read import read
from w2s_cli.data.rows import Rows
from w2s_cli.data.sources import SplitFiles, fingerprint, local_files
from w2s_cli.errors import UserError
from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault

STEP = 1000  # rows between two looks at the stop flag


@dataclass
class TakenRows:
    """Rows taken so far."""

    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    seconds: list[str | None] = field(default_factory=list)  # of pairs
    labels: list[int | None] = field(default_factory=list)  # None: the data set has no labels
    problems: list[Mapping[str, str | None]] = field(default_factory=list)  # part of form.PROBLEM → its text
    dropped: Counter[str] = field(default_factory=Counter)
    looked_at: Counter[int | None] = field(
        default_factory=Counter
    )  # class → rows that could be formatted, before balancing


def split_files(params: Mapping[str, Any], ctx: Context) -> dict[str, SplitFiles]:
    """The files of the splits, if they are those of the plan."""
    source, splits = params["source"], params["splits"]
    if "sha256" not in source:
        return hub.hub_files(source, splits, offline=bool(ctx.execution.get("offline")))
    path = Path(ctx.execution["data_path"])
    files = local_files(path, splits, params["dataset"]["format"])
    if fingerprint(path, splits, cache=ctx.digests, again=True) != source["sha256"]:
        raise UserError(f"{path} is not what this run was planned for: it has changed since. Run the command again.")
    return files


def class_names(label: str, rows: Rows, split: str, files: Mapping[str, SplitFiles]) -> list[str]:
    """Class names from the label columns of all splits, file by file."""
    every = [rows if role == split else read(file) for role, file in files.items()]
    for one in every:
        one.need(label, "data.label")
    return distinct_classes(every, label)


def groups_of(params: Mapping[str, Any], rows: Rows, ids: list[str], ctx: Context) -> Sequence[str]:
    """What keeps rows together: the columns of data.group, else what the transform says of a row, else its id."""
    dataset = params["dataset"]
    group = None
    if dataset["transform"] and not dataset["group"]:
        group = find_grouping(dataset["transform"], ctx.execution.get("folders", ()), params["code"])
    if group is None:
        return row_groups(rows, ids, dataset["group"])
    made = (grouped(group, row, dataset, rows) for row in rows.take(range(rows.count)))
    return [name if own is None else own for name, own in zip(ids, made, strict=True)]


def former_of(
    params: Mapping[str, Any], rows: Rows, classes: list[str], seed: int, ctx: Context, pool: str
) -> Callable[[str, dict[str, Any]], Formed]:
    """The function from a row of a split to a text and a label, with labels drawn by `seed`.

    Rows of the test `pool` are solved and not learned from, so they need no solution.
    """
    dataset = params["dataset"]
    transform = None
    if dataset["transform"]:
        transform = find_transform(dataset["transform"], ctx.execution.get("folders", ()), params["code"])
        check_options(dataset["transform"], transform, dataset["options"])
    texts = {"second": params.get("second"), "problem": params.get("problem")}
    optional = ["solution"] if pool == "test" else []
    return former(dataset, rows, classes, transform, seed=seed, **texts, optional=optional)


def take(
    params: Mapping[str, Any],
    rows: Rows,
    classes: list[str],
    ids: list[str],
    groups: Any,
    order: list[int],
    elsewhere: Mapping[bytes | str, str],
    ctx: Context,
) -> TakenRows:
    """Format rows in the pool's order until the limit (or each class's part of it) is full; `elsewhere` as `overlap.elsewhere` gives it."""
    dataset, limit = params["dataset"], params["limit"] or len(order)
    form = former_of(params, rows, classes, params["seed"], ctx, params["pool"])
    quota = limit // len(classes) if dataset["balanced"] else limit  # rows a class may have
    wanted = quota * len(classes) if dataset["balanced"] else limit
    counts: Counter[int | None] = Counter()
    pool = TakenRows()
    for step, (index, row) in enumerate(zip(order, rows.take(order), strict=True)):
        if len(pool.ids) == wanted:
            break
        if step % STEP == 0:
            fault("rows.step")
            ctx.progress(len(pool.ids), min(wanted, len(order)), examples=step)
            if ctx.stop_requested():
                raise Stopped
        try:
            formed = form(ids[index], row)
            if elsewhere:
                _refuse_elsewhere(formed, groups[index], elsewhere)
        except UnusableRowError as reason:
            pool.dropped[str(reason)] += 1
            continue
        text, second, label, problem = formed
        pool.looked_at[label] += 1
        if counts[label] < quota:
            counts[label] += 1
            pool.ids.append(ids[index])
            pool.groups.append(groups[index])
            pool.texts.append(text)
            pool.seconds.append(second)
            pool.labels.append(label)
            pool.problems.append(problem)
    ctx.progress(len(pool.ids), max(len(pool.ids), 1), examples=len(order))
    return _balanced(pool, len(classes)) if dataset["balanced"] else pool


def _refuse_elsewhere(formed: Formed, group: str, elsewhere: Mapping[bytes | str, str]) -> None:
    for what, name in (("text", formed.key), ("group", group)):
        if name in elsewhere:
            raise UnusableRowError(f"{ELSEWHERE}{what} of {elsewhere[name]}")


def _balanced(pool: TakenRows, classes: int) -> TakenRows:
    """The pool cut to as many rows of each class as the rarest has; what goes is the end of the order."""
    totals = Counter(pool.labels)
    fewest = min(totals[number] for number in range(classes))
    seen: Counter[int | None] = Counter()
    kept = TakenRows(dropped=pool.dropped, looked_at=pool.looked_at)
    columns = (pool.ids, pool.groups, pool.texts, pool.seconds, pool.labels, pool.problems)
    for name, group, text, second, label, problem in zip(*columns, strict=True):
        seen[label] += 1
        if seen[label] <= fewest:
            kept.ids.append(name)
            kept.groups.append(group)
            kept.texts.append(text)
            kept.seconds.append(second)
            kept.labels.append(label)
            kept.problems.append(problem)
    return kept


def refuse_useless(pool: TakenRows, classes: list[str], params: Mapping[str, Any], rows: Rows) -> None:
    """Nothing can be learned from, or measured on, no rows or one class; `classes` is empty for rows without labels."""
    where = f'{rows.shown}: the pool {params["pool"]} of data set "{params["dataset"]["name"]}"'
    if not pool.ids:
        lost = ", ".join(f"{count:,} {reason}" for reason, count in pool.dropped.items())
        short = (
            f"a class is missing among its {pool.looked_at.total()} usable rows"
            if params["dataset"]["balanced"] and pool.looked_at
            else ""
        )
        reasons = lost or short or f"no row of {rows.count} falls into its share; give it a larger one (data.pools)"
        raise UserError(f"{where} is empty: {reasons}.")
    labels = set(pool.labels)
    if classes and len(labels) == 1:
        only = classes[next(label for label in labels if label is not None)]
        raise UserError(
            f"{where} has only one class: all {len(pool.labels)} rows are {only}. "
            "Check the label column (data.label), or raise the limit (data.limits)."
        )
