"""The texts of other pools, for `data.drop_overlap`: a text that stands in several pools stays in one of them.

* `pools.KEEPS_TEXT` says in which: test before validation, validation before training, the student's rows before the weak supervisor's.
  So test rows stay, and a weak supervisor labels no text that it was trained on.
* Where rows have groups (data.group, or the transform's), a row is also dropped if another pool keeps its group: a data set's own test
  split may share questions with its training split.
* All rows of the other pool count, also those beyond its limit: a pool's rows do not depend on another pool's limit.
"""

from collections.abc import Mapping
from typing import Any

from w2s_cli.data.form import UnusableRowError
from w2s_cli.data.pools import pool_order, row_ids
from w2s_cli.data.read import read
from w2s_cli.data.rows import Rows
from w2s_cli.data.sources import SplitFiles
from w2s_cli.data.taking import STEP, former_of, groups_of
from w2s_cli.store.context import Context, Stopped


def elsewhere(
    params: Mapping[str, Any], rows: Rows, classes: list[str], files: Mapping[str, SplitFiles], ctx: Context
) -> dict[bytes | str, str]:
    """Key of a text (`form.text_key`), or name of a group → the pool that keeps it, for all pools in params["overlap"].

    Args:
        params: of the rows stage.
        rows: the split that the stage's own rows come from.
        classes: their names.
        files: split → files.
    """
    kept: dict[bytes | str, str] = {}
    for other in params.get("overlap") or ():
        split, dataset = other["split"], params["dataset"]
        source = rows if split == params["split"] else read(files[split])
        ids = row_ids(source, split=split, column=dataset["id"])
        groups = groups_of(params, source, ids, ctx)
        draws = {"share": other["share"], "seed": other["seed"], "test": params["test"]}
        order = pool_order(dataset["name"], ids, groups, **draws)
        form = former_of(params, source, classes, other["seed"], ctx, other["pool"])
        for step, (index, row) in enumerate(zip(order, source.take(order), strict=True)):
            if step % STEP == 0 and ctx.stop_requested():
                raise Stopped
            try:
                kept.setdefault(form(ids[index], row).key, other["pool"])
            except UnusableRowError:
                continue
            if groups is not ids:
                kept.setdefault(groups[index], other["pool"])
    return kept
