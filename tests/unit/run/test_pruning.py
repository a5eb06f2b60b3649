"""keep_weights=false: when the weights of a model go (tests/command/test_commands.py has whole runs)."""

import json
from pathlib import Path

from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.kinds import find
from w2s_cli.pipeline.states import Planned
from w2s_cli.run.pruning import Pruning
from w2s_cli.store.claims import reading
from w2s_cli.store.keys import FORMAT
from w2s_cli.store.store import State, Store


def finished_model(store: Store, graph: Graph, name: str, inputs: dict[str, str]) -> tuple[str, Path]:
    """(key, weights) of a finetuned model in the store."""
    key = graph.add(name, find("finetune"), {"name": name}, inputs, name, {}, {})
    folder = store.prepare(graph.stages[key].identity, name=name, slug=name, execution={})
    weights = folder / "result" / "model" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    files = {"model/model.safetensors": {"size": 7, "sha256": ""}}
    (folder / "result" / "manifest.json").write_text(json.dumps({"files": files, "metrics": {}}))
    (folder / "record.json").write_text(json.dumps({"run": "1", "format": FORMAT}))
    return key, weights


def planned(graph: Graph, *to_run: str) -> dict[str, Planned]:
    return {key: Planned(State("done"), "done", "", to_run=key in to_run) for key in graph.stages}


def test_a_model_waits_for_stages_that_may_make_its_readers_run_again(tmp_path: Path) -> None:
    store, graph = Store(tmp_path), Graph()
    test = graph.add("rows:test", find("rows"), {"pool": "test"}, {}, "rows", {}, {})
    model, weights = finished_model(store, graph, "student", {})
    label = graph.add("student_test", find("label"), {}, {"model": model, "rows": test}, "label", {}, {})
    other, read = finished_model(store, graph, "ceiling", {})
    graph.add("other", find("label"), {"of": "ceiling"}, {"model": other}, "label", {}, {})
    _, unread = finished_model(store, graph, "tuned", {})
    pruning = Pruning(graph, planned(graph, test), store)  # the label is done; the rows are made again
    assert not read.exists()  # nothing has to run for it
    assert unread.exists()  # no stage reads it: it is the command's result
    assert weights.exists()
    pruning.reopened(label)  # the rows came out otherwise
    pruning.finished(test)
    assert weights.exists()
    pruning.finished(label)
    assert not weights.exists()
    assert {key: bool(store.state(key).pruned) for key in (model, other)} == {model: True, other: True}


def test_weights_that_someone_reads_stay(tmp_path: Path) -> None:
    store, graph = Store(tmp_path), Graph()
    model, weights = finished_model(store, graph, "student", {})
    graph.add("student_test", find("label"), {}, {"model": model}, "label", {}, {})
    (weights.parents[2] / ".lock").touch()  # as a worker leaves it
    with reading(weights.parents[2]):
        Pruning(graph, planned(graph), store)
        assert weights.exists()
    Pruning(graph, planned(graph), store)
    assert not weights.exists()
