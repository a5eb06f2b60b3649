"""Figures of finished stages behind a plan's cost and behind a result: those of another shape count as missing."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipeline.test_families import planned
from w2s_cli.pipeline import cost
from w2s_cli.pipeline.graph import Graph
from w2s_cli.results.trainings import with_trainings
from w2s_cli.store.store import Store

MEASURED = {"tokens_per_second": 10.0, "tokens": 100.0, "train_seconds": 10.0}
RECORD = {"provenance": {"host": socket.gethostname()}, "measured": MEASURED, "execution": {"model_name": "wordnet-xs"}}


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return planned(tmp_path, "debug=tiny")


def finish(folder: Path, graph: Graph, name: str, metrics: Any, record: Any) -> None:
    """Write the folder of a stage as if it had finished with these metrics and this record."""
    stage = graph.stages[graph.jobs[0].names[name]]
    result = folder / "stages" / stage.kind / f"{stage.slug}-{stage.key}" / "result"
    result.mkdir(parents=True)
    job = {"name": name, "key": stage.key, **stage.identity}
    (result.parent / "stage.json").write_text(json.dumps(job))
    (result.parent / "record.json").write_text(json.dumps(record))
    (result / "manifest.json").write_text(json.dumps({"files": {}, "metrics": metrics}))


def facts(graph: Graph, folder: Path) -> tuple[Any, ...]:
    found = cost.facts(graph, Store(folder), rate=None)
    return found.rows, found.tokens, found.rates


def test_counts_and_rates_of_finished_stages_are_used(graph: Graph, tmp_path: Path) -> None:
    finish(tmp_path, graph, "rows:test", {"rows": 17}, {})
    finish(tmp_path, graph, "weak", {"rows": 10, "tokens": 70}, RECORD)
    rows, tokens, rates = facts(graph, tmp_path)
    assert rows[graph.jobs[0].names["rows:test"]] == 17
    assert set(tokens.values()) == {7.0}
    assert set(rates) == {"wordnet-xs"}


def test_the_tokens_of_a_training_on_completions_are_not_those_of_its_rows(tmp_path: Path) -> None:
    texts = planned(tmp_path, "method=naive_text", "data=arithmetic", "weak=arithmetic-s", "strong=arithmetic-l")
    _, before, _ = facts(texts, tmp_path)
    finish(tmp_path, texts, "student", {"rows": 10, "tokens": 9000}, RECORD)
    assert facts(texts, tmp_path)[1] == before


@pytest.mark.parametrize("rows", ["many", [], {}, True, 0, -1, 1.5, None])
@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "execution": {"model_name": []}},
        {**RECORD, "execution": {}},
        {**RECORD, "measured": {**MEASURED, "tokens": "x"}},
        {**RECORD, "measured": {}},
    ],
    ids=lambda record: "",
)
def test_figures_of_another_shape_count_as_missing(graph: Graph, tmp_path: Path, rows: Any, record: Any) -> None:
    nothing = facts(graph, tmp_path)
    finish(tmp_path, graph, "rows:test", {"rows": rows}, {})
    finish(tmp_path, graph, "weak", {"rows": rows, "tokens": 70}, record)
    assert facts(graph, tmp_path) == nothing


@pytest.mark.parametrize("wrong", ["x", [], {}, -1, True])
def test_updates_and_accuracies_of_another_shape_are_unknown(graph: Graph, tmp_path: Path, wrong: Any) -> None:
    finish(tmp_path, graph, "weak", {"steps": 30}, {})
    finish(tmp_path, graph, "student", {"best_step": wrong}, {})
    finish(tmp_path, graph, "labels", {"accuracy": wrong}, {})
    metrics = {role: {"per_seed": {"accuracy": [0.5]}} for role in ("weak", "student")}
    joined = with_trainings(metrics, graph, Store(tmp_path), [graph.jobs[0].names["pgr"]])
    assert joined["weak"]["per_seed"]["updates"] == [30]
    per_seed = {"accuracy": [0.5], "updates": [None]}
    assert joined["student"] == {"per_seed": per_seed, "epochs": 1.0, "preference": False}


def test_an_exam_is_of_all_texts_of_a_row_and_a_choice_has_as_many_at_most(tmp_path: Path) -> None:
    words = ["method=lbt", "data=arithmetic", "weak=arithmetic-s", "strong=arithmetic-l"]
    lbt = planned(tmp_path, *words, "generation.max_new_tokens=10")
    known, names = cost.facts(lbt, Store(tmp_path), rate=None), lbt.jobs[0].names
    rows = known.rows[names["rows:test"]]
    assert cost.estimate(known, [names["test_exam"]]).written == rows * 8 * 3 * 10  # texts, questions, tokens
    amounts = cost.planned_amounts(lbt)
    of_row = {name: amounts(lbt.stages[names[name]], 1.0).texts("texts") for name in ("weak", "exam", "vote_answers")}
    assert of_row == {"weak": 1, "exam": 4, "vote_answers": 8}


def test_a_reproduction_of_bundled_data_counts_real_tokens_and_the_disk(w2s_inside: Any) -> None:
    said = w2s_inside("reproduce", "burns_nlp", "--scale", "demo", "--plan").stdout
    assert "tokens per row are assumed" not in said
    disk = re.search(r"disk for weights +([\d.]+) GB +\1 GB", said)
    assert disk
    assert 0.02 < float(disk[1]) < 0.2  # seven trainings of models of 0.2 to 2.6 million parameters
