"""`w2s data check data=NAME [weak=… strong=…]`: the contents of a data set, and its problems.

* The pools are made by the code of the `rows` stage in a temporary folder: nothing is added to the outputs.
* Texts are measured in tokens of weak and strong. For a model that cannot be loaded the report has a note instead.
* The data are read before the tokenizers, so that a wrong file is refused at once.
* The exit code is 2 if a problem makes results doubtful, as with `w2s doctor`, so that a script can use it.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.config import compose
from w2s_cli.config.sweeps import Composed
from w2s_cli.data.check import UNLIMITED, Count, Reader, check
from w2s_cli.data.form import template_fields
from w2s_cli.data.pools import POOLS
from w2s_cli.data.recipes import check_recipe, drift, rows_params
from w2s_cli.errors import UserError
from w2s_cli.paths import locate
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.results.text_table import plain
from w2s_cli.statistics.levels import in_order
from w2s_cli.store.store import Store
from w2s_cli.terminal import one_line

if TYPE_CHECKING:
    import pyarrow as pa

    from w2s_cli.data.right_answers import Unread

    Pools = Mapping[str, tuple["pa.Table", dict[str, Any]]]  # pool → rows and the metrics of its rows stage

NOTHING, DOUBTFUL = 0, 2
PROBLEM = ["id", "prompt", "answer"]  # what a grader is asked with
COLUMNS, OPTIONAL = ["id", "group", "text"], ["second", "label", "prompt", "answer"]  # of rows.parquet


def run(argv: list[str]) -> int:
    """`w2s data check [GROUP=NAME | FIELD=VALUE]…`"""
    if argv[:1] != ["check"]:
        raise UserError("w2s data has one command: w2s data check data=NAME")
    return compose.run(argv[1:], _check_all)


def _check_all(jobs: list[Composed], folders: list[Path]) -> int:
    codes = []
    for config in (job.values for job in jobs):
        resolver = Resolver(Store(locate(config["outputs"])), folders)
        pools = _pools(config["data"], resolver, config["seed"])
        unread = _unread(config, pools, folders)
        readers, notes = _readers(config, resolver)
        codes.append(show(config["data"], pools, readers, [*unread.notes, *notes], unread.problems))
    return max(codes)


def show(
    data: Mapping[str, Any],
    pools: "Pools",
    readers: Mapping[str, Reader],
    notes: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> int:
    """Print the report on a data set; exit code 2 if there are problems.

    Args:
        data: the data set's configuration.
        pools: pool → (rows, metrics of the rows stage).
        readers: model → how it reads texts.
        notes: lines to add.
        problems: further reasons to doubt results.
    """
    classes = next(iter(pools.values()))[1]["classes"]
    report = check(
        {pool: table for pool, (table, _) in pools.items()},
        classes,
        readers,
        text_columns=_text_columns(data),
        own_test=bool(data["splits"].get("test")),
    )
    print(f"data set {data['name']}: {data['source'] or data['path'] or data['hub']}\n")
    print("\n".join(lines(report, {pool: metrics for pool, (_, metrics) in pools.items()})))
    expected = data["expected"]
    unused = _unused([metrics for _, metrics in pools.values()])
    drifts = {line for _, metrics in pools.values() for line in _drift(expected, metrics)}
    for note in (*([data["warning"]] if data["warning"] else []), *sorted(drifts), *unused, *notes):
        print(f"note: {note}")
    every = [*report["problems"], *problems]
    for problem in every:
        print(f"PROBLEM: {problem}")
    if not every:
        print("no problems found")
    return DOUBTFUL if every else NOTHING


def _text_columns(data: Mapping[str, Any]) -> list[str]:
    """The columns of the source that make a text."""
    if data["template"]:
        return list(dict.fromkeys(template_fields(data["template"])))
    if data["text"] or not data["prompt"]:
        return [data["text"] or "text"]
    return template_fields(data["prompt"], "data.prompt") or [data["prompt"]]


def _drift(expected: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> list[str]:
    """The differences from the data that the recipe was written for."""
    usable = metrics["usable"]
    rate, rows = usable["base_rates"].get("1"), usable["rows"]
    return drift(expected, split=metrics["split"], rows=metrics["source_rows"], base_rate=rate, counted=rows)


def _unused(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """The training rows that no pool may have."""
    dealt = [each for each in metrics if each["split"] == "train"]
    rest = dealt[0]["source_rows"] - sum(each["pool_rows"] for each in dealt) if dealt else 0
    return [f"{rest:,} of the {dealt[0]['source_rows']:,} training rows are in no pool (data.pools)"] if rest else []


def lines(report: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The report as plain text."""
    classes = [one_line(name) for name in report["classes"]]
    rows = [["pool", "rows", "of", *classes, "left out"]]
    for pool, size in report["pools"].items():
        dropped = ", ".join(f"{count} {reason}" for reason, count in metrics[pool]["dropped"].items())
        rates = [f"{rate:.1%}" for rate in size["base_rates"]]
        rows.append([pool, f"{size['rows']:,}", f"{metrics[pool]['pool_rows']:,}", *rates, dropped or "-"])
    yield plain(rows)
    yield ""
    if all("levels" in metrics[pool] for pool in report["pools"]):
        names = {level for pool in report["pools"] for level in metrics[pool]["levels"]}
        levels = in_order(names)
        counts = [[pool, *(str(metrics[pool]["levels"].get(level, 0)) for level in levels)] for pool in report["pools"]]
        yield plain([["rows of level", *map(one_line, levels)], *counts])
        yield ""
    for where, repeated in report["duplicates"].items():
        pool, _, other = where.partition(" in ")
        what = f"have a text of {other}" if other else "repeat a text of their pool"
        yield f"{repeated['rows']:,} rows of {pool} ({repeated['share']:.2%}) {what}"
    for pair, count in report["crossings"].items():
        yield f"{count:,} groups have rows in both {pair}"
    if report["contradictions"]:
        yield f"{report['contradictions']:,} texts have more than one label"
    if not report["duplicates"] and not report["crossings"]:
        yield "no duplicates, no group in two pools"
    for model, cut_texts in report["truncation"].items():
        yield (
            f"{model}: {cut_texts['share']:.2%} of the texts are longer than {cut_texts['max_length']:,} tokens and will be cut "
            f"(median {cut_texts['median']:g}, longest {cut_texts['longest']:,})"
        )
    if baseline := report["baseline"]:
        low, high = baseline["interval"]
        yield (
            f"words alone: {baseline['accuracy']:.3f} [{low:.3f}, {high:.3f}] on {baseline['test_rows']:,} test rows, where the "
            f"most frequent class is {baseline['chance']:.3f} (bag of words and word pairs, {baseline['train_rows']:,} training rows)"
        )
        heaviest = ", ".join(f'"{word}" → {report["word_classes"][label]}' for word, label, _ in baseline["words"])
        yield f"  its words with the largest weights: {heaviest or '-'}"
    yield ""


def _pools(data: Mapping[str, Any], resolver: Resolver, seed: int) -> "Pools":
    """All pools of the data set, made by the code of a run."""
    from w2s_cli.data.artifacts import ROWS
    from w2s_cli.data.artifacts.tables import read_columns
    from w2s_cli.pipeline import kinds
    from w2s_cli.store.context import Context

    check_recipe(data)
    source, path = resolver.data(data)
    transform = resolver.code("data/transforms", data["transform"]) if data["transform"] else None
    execution = {"data_path": path, "folders": [str(folder) for folder in resolver.folders]}
    make_rows = kinds.find("rows").run
    pools: dict[str, tuple[pa.Table, dict[str, Any]]] = {}
    for pool in POOLS:
        if data["pools"].get(pool) or (pool == "test" and data["splits"].get("test")):
            params = rows_params(data, pool=pool, source=source, seed=seed, transform_file=transform)
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                metrics = make_rows(params, {}, Context(folder, folder, folder, execution))
                table = read_columns(folder / ROWS, COLUMNS, OPTIONAL)
                pools[pool] = (table, {**metrics, "split": params["split"]})
    if not pools:
        raise UserError(
            f'data set "{data["name"]}" gives no pool any rows: set their shares, data.pools.weak_train=0.4 data.pools.strong_train=0.4 …'
        )
    return pools


def _unread(config: Mapping[str, Any], pools: "Pools", folders: Sequence[Path]) -> "Unread":
    """The right answers in which the command's grader, else the data set's, reads none."""
    from w2s_cli.data.right_answers import Unread, unread

    name = config["grader"]["name"] or config["data"]["grader"]
    tables = [table for table, _ in pools.values() if {"prompt", "answer"} <= set(table.column_names)]
    if not name or not tables:
        return Unread()
    rows = (row for table in tables for row in zip(*(table[c].to_pylist() for c in PROBLEM), strict=True))
    return unread(rows, {"name": name, "args": config["grader"]["args"]}, folders)


def _readers(config: Mapping[str, Any], resolver: Resolver) -> tuple[dict[str, Reader], list[str]]:
    """How weak and strong read texts, and a note for each model that cannot be loaded."""
    import torch
    from transformers import AutoModel

    from w2s_cli.store.context import Context
    from w2s_cli.training.models.opening import base_folder, open_config, quiet
    from w2s_cli.training.models.trunk import usable_positions
    from w2s_cli.training.tokens import context_limit, open_tokenizer

    quiet()
    readers: dict[str, Reader] = {}
    notes = []
    alike = config["weak"]["name"] == config["strong"]["name"]
    for role in ("weak", "strong"):
        model = config[role]
        name = f"{model['name']} ({role})" if alike else model["name"]
        try:
            identity, path = resolver.model(model)
            here, remote = Path(), model["trust_remote_code"]
            folder = base_folder(
                identity, None, Context(here, here, here, {"model_path": path, "trust_remote_code": remote})
            )
            tokenizer = open_tokenizer(folder, config["data"]["truncation"], trust_remote_code=remote)
            settings = open_config(folder, {"trust_remote_code": remote})
            with torch.device("meta"):  # without weights
                positions = usable_positions(AutoModel.from_config(settings, trust_remote_code=remote))
        except UserError as error:
            notes.append(f"no token counts for {name}: {error}")
            continue
        limit = partial(context_limit, positions, tokenizer)
        readers[name] = Reader(_counter(tokenizer), limit(model["max_length"]), limit(UNLIMITED))
    return readers, notes


def _counter(tokenizer: Any) -> Count:
    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts))["input_ids"]]

    return count
