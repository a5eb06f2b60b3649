"""The identity of a `rows` stage: what determines the rows of a pool. It is made from the data set's YAML when a run is planned.

* The params hold only settings that determine this pool's rows: not another pool's limit, and of the fractions only this pool's
  interval. The side on which long texts are cut belongs to the models that read them.
* Every seed of a run draws its own training pools and their labels, as in the W2SG reference code; the test rows stay, so that results can
  be compared row by row.
* With `drop_overlap`, the draws of the pools that keep a text before this pool are in its params too.
* The types and ranges of single fields stand in `config/schema.py`. Contradictions between several fields that show without the data
  are refused here, before anything runs.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2s_cli.data.form import PROBLEM, label_column, problem_parts, template_fields
from w2s_cli.data.labels import FEWEST, MOST, spelled
from w2s_cli.data.pools import KEEPS_TEXT, POOLS, shares
from w2s_cli.data.sources import FORMATS
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.store.keys import ast_hash

SPLITS = ("train", "test")
DRIFT = 0.02  # allowed difference of a base rate from the recipe's …
CHANCE_ERRORS = 3  # … beyond this number of standard errors
DATASET_FIELDS = ("name", "format", "text", "template", "label", "transform", "id", "balanced")


def rows_params(
    data: Mapping[str, Any],
    *,
    pool: str,
    source: Mapping[str, Any],
    seed: int = 0,
    transform_file: Path | None = None,
) -> dict[str, Any]:
    """The params of the `rows` stage of one pool.

    Args:
        data: the data set's configuration.
        pool: one of POOLS.
        source: {hub, config, revision} or {sha256}.
        seed: the run's seed, which draws the training pools unless data.seed pins them.
        transform_file: the Python file of `data.transform`.

    Raises:
        UserError: an unknown pool, or one that gets no rows. The rest is checked by `check_recipe`, which a caller calls first.
    """
    if pool not in POOLS:
        raise UserError(f'data: unknown pool "{pool}".{did_you_mean(pool, POOLS)}')
    draws = _draws(data, seed)
    if pool not in draws:
        listed = ", ".join(f"{name}={value:g}" for name, value in data["pools"].items() if value)
        raise UserError(
            f'data set "{data["name"]}": the pool {pool} gets no rows (data.pools: {listed or "nothing"}). Give it a share of the '
            f"training split, for example data.pools.{pool}=0.1, and the others no more than the rest."
        )
    from_test = draws[pool]["split"] == "test"
    test_share = 0.0 if data["splits"].get("test") else data["pools"].get("test", 0.0)
    before = KEEPS_TEXT[: KEEPS_TEXT.index(pool)] if data["drop_overlap"] else ()
    return {
        "dataset": {
            **{field: data[field] for field in DATASET_FIELDS},
            "classes": data["classes"] and [spelled(name) for name in data["classes"]],
            "options": dict(data["options"]),
            "group": list(data["group"]),
        },
        "source": dict(source),
        "splits": {role: data["splits"].get(role) for role in SPLITS},
        "second": data["second"],
        "problem": problem_parts(data),
        "pool": pool,
        **draws[pool],
        "limit": data["limits"].get(pool),
        # training rows depend on the draw of the test rows only if both come from one split
        "test": {"seed": data["test_seed"] if test_share or from_test else 0, "share": test_share},
        "code": ast_hash(transform_file) if transform_file else None,
        "overlap": [{"pool": name, **draws[name]} for name in before if name in draws] or None,
    }


def _draws(data: Mapping[str, Any], seed: int) -> dict[str, dict[str, Any]]:
    """Pool → the split, share and seed that it is drawn with; without pools that get no rows."""
    own_test = bool(data["splits"].get("test"))
    intervals: dict[str, list[float] | None] = {"test": None} if own_test else {}
    intervals |= {
        pool: list(share) for pool, share in shares(data["pools"], own_test=own_test).items() if share[0] < share[1]
    }
    return {
        pool: {
            "split": "train" if share else "test",
            "share": share,
            "seed": data["test_seed"] if pool == "test" else seed if data["seed"] is None else data["seed"],
        }
        for pool, share in intervals.items()
    }


def check_recipe(data: Mapping[str, Any]) -> None:
    """Refuse fields that contradict each other, whatever the source holds.

    Raises:
        UserError: names the field and its allowed values.
    """
    where = f'data set "{data["name"]}"'
    _check_problem(where, data)
    if bool(data["text"]) == bool(data["template"]) and not data["prompt"]:
        raise UserError(
            f"{where}: give either data.text=COLUMN or data.template, a format string over the columns; or, of problems whose answers are "
            "texts, data.prompt."
        )
    if data["text"] and data["template"]:
        raise UserError(f"{where}: give either data.text=COLUMN or data.template, a format string over the columns.")
    if data["template"] and not template_fields(data["template"]):
        raise UserError(f'{where}: data.template "{data["template"]}" names no column; write it as {{column}}.')
    if data["second"] is not None and not template_fields(data["second"], "data.second"):
        raise UserError(f'{where}: data.second "{data["second"]}" names no column; write it as {{column}}.')
    if label_column(data) and not data["label"] and not data["transform"]:
        raise UserError(f"{where}: which column is the label? data.label=COLUMN")
    if data["options"] and not data["transform"]:
        raise UserError(
            f"{where}: data.options={dict(data['options'])} are arguments of a transform, and data.transform is null."
        )
    if data["format"] is not None and data["format"] not in FORMATS:
        raise UserError(f"{where}: data.format={data['format']}.{did_you_mean(data['format'], FORMATS)}")
    if not data["splits"].get("train"):
        raise UserError(f"{where}: data.splits.train is missing; name the split that the training rows are in.")
    if data["splits"]["train"] == data["splits"].get("test"):
        raise UserError(
            f"{where}: train and test are the same split; data.splits.test=null takes the test rows out of it, apart from the others."
        )
    if label_column(data):
        _check_classes(where, data["classes"], data["transform"], data["label"])
    if data["second"] and data["classes"] and len(data["classes"]) != FEWEST:
        raise UserError(
            f"{where}: pairs (data.second) have two classes, the first or the second is better; data.classes={list(data['classes'])}."
        )
    _check_pools(where, data["pools"], own_test=bool(data["splits"].get("test")))
    _check_limits(where, data)


def _check_problem(where: str, data: Mapping[str, Any]) -> None:
    """Refuse parts of a problem without a prompt, and fields of classifiers beside a problem without a label."""
    parts = [part for part in PROBLEM if data[part] is not None]
    if parts and not data["prompt"]:
        raise UserError(
            f"{where}: data.{parts[0]} is part of a problem: what does a model read? data.prompt=COLUMN, or a format string"
        )
    for part in parts:
        if not data[part].strip() or ("{" in data[part] and not template_fields(data[part], f"data.{part}")):
            raise UserError(
                f'{where}: data.{part} "{data[part]}" names no column: write a column, or a format string with {{column}}.'
            )
    if data["prompt"] and label_column(data) is None:
        for field in ("second", "label", "classes"):
            if data[field]:
                raise UserError(
                    f"{where}: data.{field} belongs to texts with labels; give data.text or data.template too, or leave it out."
                )
        if data["balanced"]:
            raise UserError(
                f"{where}: data.balanced makes classes alike, and these problems have no classes; leave it out."
            )


def _check_classes(where: str, classes: Any, transform: str | None, label: str | None) -> None:
    if classes is None:
        if transform and not label:
            raise UserError(
                f"{where}: the transform {transform} draws the labels; name the classes with data.classes=[…,…]."
            )
        return
    if not FEWEST <= len(classes) <= MOST or len(set(map(spelled, classes))) < len(classes):
        raise UserError(
            f"{where}: data.classes={list(classes)}: w2s classifies into {FEWEST} to {MOST} classes of different names."
        )


def _check_pools(where: str, pools: Mapping[str, float], *, own_test: bool) -> None:
    used = {name: value for name, value in pools.items() if not (own_test and name == "test")}
    if sum(used.values()) > 1 + 1e-9:
        listed = ", ".join(f"{name}={value:g}" for name, value in used.items())
        raise UserError(f"{where}: data.pools are shares of the training split and must add up to at most 1: {listed}.")


def _check_limits(where: str, data: Mapping[str, Any]) -> None:
    fewest = len(data["classes"] or ()) if data["balanced"] else 1
    for pool, limit in data["limits"].items():
        if limit is not None and limit < fewest:
            raise UserError(f"{where}: data.limits.{pool}={limit}: a number of rows from {fewest} up, or null for all.")


def drift(
    expected: Mapping[str, Any] | None,
    *,
    split: str,
    rows: int,
    base_rate: float | None = None,
    counted: int = 0,
) -> list[str]:
    """Differences between the data set now and when its recipe was written, as sentences.

    Args:
        expected: {train, test: rows of the splits; base_rate: share of class 1, one number or {train, test}}; all optional.
        split: train or test.
        rows: number of rows of the split.
        base_rate: share of class 1 among the counted rows, before balancing; None: not counted.
        counted: number of these rows. Few rows may differ by chance.
    """
    recipe = expected or {}
    differences = []
    if recipe.get(split) not in (None, rows):
        differences.append(
            f"the {split} split has {rows:,} rows; the recipe was written for {recipe[split]:,}: "
            "is it another version of the data?"
        )
    rates = recipe.get("base_rate")
    rate = rates.get(split) if isinstance(rates, Mapping) else rates
    if rate is not None and base_rate is not None and counted:
        chance = CHANCE_ERRORS * math.sqrt(rate * (1 - rate) / counted)
        if abs(base_rate - rate) > DRIFT + chance:
            differences.append(
                f"{base_rate:.1%} of the usable {split} rows are of class 1; the recipe was written for {rate:.1%}: "
                "is it another version of the data, or another label column?"
            )
    return differences
