"""`w2s reproduce`: what is planned at paper scale is what the papers say, what it costs is arithmetic, and the table at the end is true."""

import csv
import functools
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command.test_wrong_commands import assert_refused
from tests.paper_settings import PAPER, TEXTS
from w2s_cli.pipeline import cost
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.reproduction import comparison
from w2s_cli.reproduction.experiment import Experiment, configurations, files, load, runs_at
from w2s_cli.results.job_settings import loss_of, settings
from w2s_cli.store.store import Store

Run = Callable[..., subprocess.CompletedProcess[str]]
MANY_SETS = 3  # data sets; a plan over more takes seconds


def each_of(experiments: dict[str, dict[str, Any]]) -> pytest.MarkDecorator:
    """A case for each experiment; a plan over many data sets is slow."""
    sizes = {name: len(experiment["data"]) for name, experiment in experiments.items()}
    slow = {name: [pytest.mark.slow] * (sizes[name] > MANY_SETS) for name in experiments}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=slow[name]) for name in experiments])


COLUMNS = ["paper", "table", "setting", "weak_model", "strong_model", "dataset", "method", "metric", "value", "source"]


@functools.cache
def planned(name: str, scale: str = "paper", **given: str) -> Graph:
    """The graph of an experiment, planned without a hub."""
    jobs, _ = configurations(runs_at(load(name), scale, given))
    with tempfile.TemporaryDirectory() as folder:
        return build(jobs, Resolver(Store(Path(folder)), hub="never"))


def test_every_experiment_has_a_table_taken_from_its_card() -> None:
    assert {*PAPER, *TEXTS} == set(files())


def test_the_seeds_of_an_experiment_have_a_summary(w2s_inside: Run) -> None:
    plan = w2s_inside("reproduce", "gpt2_replication", "--scale", "demo", "--plan").stdout
    (line,) = (line.split() for line in plan.splitlines() if line.startswith("summary"))
    assert line[1:] == ["summary", "6", "6"]  # three pairs of models and two losses, two seeds each


def assert_planned_as_published(graph: Graph, paper: dict[str, Any]) -> None:
    """Models, rates, epochs, batches, losses, pools, rules and seeds of the plan are those of the paper."""
    assert len(graph.jobs) == paper["jobs"]
    assert {job.config["data"]["name"] for job in graph.jobs} == paper["data"]
    assert {job.config["method"]["name"] for job in graph.jobs} == paper["methods"]
    trainings = [stage for stage in graph.stages.values() if stage.kind == "finetune"]
    for stage in trainings:
        params = stage.identity["params"]
        about = f"{stage.name} {stage.about['model']}"
        for field, value in paper["train"].items():
            if field == "labels" and "labels" not in stage.inputs:
                value = "hard"  # ground truth is one-hot
            assert params.get(field) == value, f"{about}: {field}"
        assert params["lr"] == paper["lr"][params["model"]["id"]], about
        if "context" in paper and not stage.name.startswith("hop"):
            assert params["max_length"] == paper["context"], about
        if stage.about["role"] in ("weak", "ceiling"):
            assert params["loss"]["name"] == "xent", f"{about} learns ground truth by cross-entropy"
    assert {stage.identity["params"]["model"]["id"] for stage in trainings} == set(paper["lr"])
    students = [s.identity["params"]["loss"] for s in trainings if s.about["role"] not in ("weak", "ceiling")]
    for loss in students:
        assert any(loss["name"] == n and args.items() <= loss["args"].items() for n, args in paper["student_losses"])
    assert {loss["name"] for loss in students} == {loss for loss, _ in paper["student_losses"]}
    assert all(job.config["data"]["balanced"] == paper.get("balanced", False) for job in graph.jobs)
    # null: every seed draws its own rows, as the reference code does
    assert {job.config["data"]["seed"] for job in graph.jobs} == {paper.get("data_seed")}
    for stage in graph.stages.values():
        if stage.kind == "rows" and "limits" in paper:
            assert stage.identity["params"]["limit"] == paper["limits"][stage.about["rows"]]
    rules = [stage.identity["params"]["rule"] for stage in graph.stages.values() if stage.kind == "select"]
    for rule in rules:
        assert any(rule["name"] == n and args.items() <= rule["args"].items() for n, args in paper.get("rules", []))
    for wanted, args in paper.get("rules", []):
        assert any(rule["name"] == wanted and args.items() <= rule["args"].items() for rule in rules)
    for job in graph.jobs:
        if job.config["method"]["name"] == "bootstrapping":
            assert [model["name"] for model in job.config["ladder"]] == paper["ladder"]
        if "heads" in paper:
            assert job.config["train"]["head"] == paper["heads"][job.config["data"]["name"]]
        if job.config["method"]["name"] == "strong_to_strong":
            assert job.config["rounds"] == paper["rounds"]
    for method, seeds in paper.get("seeds", {}).items():
        assert {j.config["seed"] for j in graph.jobs if j.config["method"]["name"] == method} == set(seeds)


OF_A_STAGE = {"model", "loss", "lr", "seed", "head", "truncation"}  # compared one by one


def assert_equal_in_every_field(graph: Graph, paper: dict[str, Any]) -> None:
    """No field of a training, a loss or a rule is left out of the comparison, and each method has its own losses."""
    for stage in graph.stages.values():
        params = stage.identity["params"]
        if stage.kind == "finetune":
            assert set(params) <= set(paper["train"]) | OF_A_STAGE
        if stage.kind == "finetune" and stage.about["role"] == "student":
            assert (params["loss"]["name"], params["loss"]["args"]) in paper["student_losses"]
        if stage.kind == "select":
            assert (params["rule"]["name"], params["rule"]["args"]) in paper["rules"]
    for job in graph.jobs:
        trained = [graph.stages[key] for name, key in job.names.items() if name.startswith(("student", "round", "s2s"))]
        losses = [s.identity["params"]["loss"] for s in trained if s.kind == "finetune"]
        wanted = paper.get("losses_of", {}).get(job.config["method"]["name"], paper["student_losses"])
        assert all((loss["name"], loss["args"]) in wanted for loss in losses)


def assert_rows_find_results(experiment: Experiment, graph: Graph) -> None:
    """Every item of the last table selects results, and of one method and loss."""
    entries = [
        {
            **settings(job.config),
            "method": job.config["method"]["name"],
            "loss": loss_of(job.config),
            "strong": job.config["strong"]["name"],
            "evaluates": stage,
        }
        for job in graph.jobs
        for stage, key in job.names.items()
        if graph.stages[key].of.traits.over_seeds
    ]
    for item in experiment.compare:
        found = [entry for entry in entries if all(entry[field] == value for field, value in item["where"].items())]
        assert found, item
        whole = {"methods": {e["method"] for e in found}, "losses": {e["loss"] for e in found}}
        assert all(len(names) == 1 for names in whole.values()), f"{item}: pools {whole}"


def assert_figures_are_compared(experiment: Experiment, graph: Graph) -> None:
    """Every reported figure is held against something that is planned."""
    figures = comparison.reported(experiment)
    compared, jobs = [], [job.config for job in graph.jobs]
    for item in experiment.compare:
        if "figures" not in item:
            continue
        wanted = [row for row in figures if all(row[column] == value for column, value in item["figures"].items())]
        assert wanted, f"{item['label']}: no such figure"
        compared += wanted
        for row in wanted:
            names = {
                role: experiment.names.get(row[c], row[c]) for c, role in item.get("join", comparison.JOIN).items()
            }
            assert any(all(job[role]["name"] == value for role, value in names.items()) for job in jobs), (item, row)
        assert item["measure"].partition(".")[0] in experiment.bands
    assert [row for row in figures if row not in compared] == []
    for row in figures:
        assert list(row) == COLUMNS
        assert row["source"]


@pytest.mark.slow
@each_of(PAPER)
def test_the_paper_scale_plans_what_the_paper_did_and_compares_all_its_figures(name: str) -> None:
    experiment, graph = load(name), planned(name)
    assert_planned_as_published(graph, PAPER[name])
    if PAPER[name].get("exact"):
        assert_equal_in_every_field(graph, PAPER[name])
    assert_rows_find_results(experiment, graph)
    assert_figures_are_compared(experiment, graph)
    assert experiment.dropped("paper")
    assert experiment.comparable("paper")


@pytest.mark.parametrize("name", TEXTS)
def test_an_experiment_on_texts_plans_what_its_card_says(name: str) -> None:
    experiment, graph, paper = load(name), planned(name), TEXTS[name]
    assert len(graph.jobs) == paper["jobs"]
    assert {job.config["data"]["name"] for job in graph.jobs} == paper["data"]
    assert {job.config["method"]["name"] for job in graph.jobs} == paper["methods"]
    assert {job.config["strong"]["name"] for job in graph.jobs} == paper["strong"]
    learned = {
        s.identity["params"]["objective"]["name"]
        for s in graph.stages.values()
        if "pairs" in s.inputs and s.kind == "tune"
    }
    assert learned == paper["objectives"]
    for stage, wanted in paper["params"].items():
        found = [graph.stages[job.names[stage]].identity["params"] for job in graph.jobs]
        for params in found:
            rule = wanted.get("rule", {})
            assert rule.items() <= params.get("rule", {"args": {}})["args"].items(), stage
            assert {field: value for field, value in wanted.items() if field != "rule"}.items() <= params.items(), stage
    assert_rows_find_results(experiment, graph)
    assert experiment.dropped("paper")
    if experiment.comparable("paper"):
        assert_figures_are_compared(experiment, graph)
    assert comparison.reported(experiment)


@each_of({**PAPER, **TEXTS})
def test_the_page_of_experiments_says_how_many_runs_trainings_and_figures_there_are(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    graph = planned(name)
    trainings = sum(stage.of.traits.trains for stage in graph.stages.values())
    assert f"| {len(graph.jobs)} | {trainings} |" in row
    if name == "eleuther_pgr":
        figures = comparison.reported(load(name))
        default = [f for f in figures if f["method"].startswith(("s2s", "knn", "logreg", "topo"))]
        assert (len(figures), len(default)) == (294, 147)
        assert "294 figures" in row
        assert "Of the 294 figures of `eleuther_pgr`,\nthe 147 of" in page


@pytest.mark.slow
@each_of({**PAPER, **TEXTS})
def test_smaller_scales_say_what_they_drop_and_the_demo_needs_no_hub(name: str) -> None:
    experiment = load(name)
    for scale in ("small", "demo"):
        graph = planned(name, scale)
        assert_rows_find_results(experiment, graph)
        assert experiment.dropped(scale)
        assert not experiment.comparable(scale)
        assert {job.config["method"]["name"] for job in graph.jobs} == {**PAPER, **TEXTS}[name]["methods"], (
            "another graph"
        )
    models = [m for job in graph.jobs for m in (job.config["weak"], job.config["strong"], *job.config["ladder"])]
    assert all(str(model["path"]).startswith("bundled:models/") for model in models)
    assert all(job.config["data"]["path"].startswith("bundled:") for job in graph.jobs)


def test_the_cost_is_the_arithmetic_of_its_docstring(tmp_path: Path) -> None:
    graph = planned("debate_baselines")
    known = cost.facts(graph, Store(tmp_path), rate=100.0)
    found = cost.estimate(known, graph.stages)
    weak, strong, tokens = 7721e6, 14167e6, cost.TOKENS_ASSUMED
    rows = {"sciq": (5839, 1000), "boolq": (4713, 3270), "cosmos_qa": (10000, 2985), "anthropic_hh": (10000, 8552)}
    expected = {job.config["data"]["name"]: job.config["data"]["expected"] for job in graph.jobs}
    trained = flops = 0.0
    for data, (half, test) in rows.items():
        each = expected[data].get("tokens", tokens)
        trained += (1 + 1 + 3) * 2 * half * each  # weak, ceiling and three students, two epochs
        flops += 6 * 2 * half * each * (weak + 4 * strong)
        flops += 2 * half * each * weak  # the weak labels
        flops += 2 * test * each * (weak + 4 * strong)  # predictions on the test rows
    assert found.trainings == 20
    assert found.tokens == pytest.approx(trained, rel=1e-3)
    assert found.flops == pytest.approx(flops, rel=1e-3)
    assert found.seconds == pytest.approx(found.flops / 100e12)


@pytest.mark.slow
def test_early_stopping_and_adapters_enter_the_cost(tmp_path: Path) -> None:
    graph = planned("eleuther_pgr", data="sst2")
    known = cost.facts(graph, Store(tmp_path), rate=None)
    student = next(s for s in graph.stages.values() if s.slug == "student-llama-3-8b-sst2-xent-s0")
    each = graph.stages[str(student.inputs["rows"])].execution["expected"].get("tokens", cost.TOKENS_ASSUMED)
    steps = -(-5000 * 3 // 32)
    flops = (
        8030e6 * each * (4 * 5000 * 3 + 2 * 1000 * (steps // 25))
    )  # adapters, and a look at 1,000 rows every 25 steps
    found = cost.estimate(known, [student.key])
    assert found.flops == pytest.approx(flops)
    assert (found.seconds, found.unrated) == (0.0, found.flops), "no rate is made up"


@pytest.mark.slow
def test_a_plan_needs_no_hub_and_a_run_says_what_is_missing(w2s: Run) -> None:
    shown = w2s("reproduce", "debate_baselines", "data=sciq", "--plan").stdout
    graph = planned("debate_baselines", data="sciq").stages
    for said in (
        f"{len(graph)} stages (",
        "The hub was not asked",
        "model Qwen/Qwen-7B",
        "unknown rate",
        "--rate TFLOPS",
    ):
        assert said in shown
    assert_refused(w2s("reproduce", "debate_baselines", "data=sciq", code=None), "HF_HUB_OFFLINE")


@pytest.fixture
def mine(tmp_path: Path, tiny: list[str]) -> list[str]:
    """A published experiment of the test's own: words that reproduce it."""
    runs = dict(word.split("=", 1) for word in tiny)
    experiment = {
        "name": "mine",
        "title": "An experiment of ours",
        "source": "a test",
        "runs": [{**runs, "method": "naive", "loss": ["xent", "product"], "seed": [0, 1], "train.epochs": 1}],
        "scales": {"paper": {"dropped": ["nothing but patience"]}, "demo": {"set": {"seed": 0}, "dropped": ["a seed"]}},
        "names": {"Animals": "local", "Small": "local", "Large": "local"},
        "bands": {"student": {"within": 0.25, "why": "240 rows"}, "pgr": {"within": 100.0, "why": "anything goes"}},
        "compare": [
            {
                "label": "naive",
                "figures": {"method": "naive", "metric": "accuracy_pct"},
                "where": {"loss": "xent"},
                "measure": "student",
                "scale": 0.01,
            },
            {"label": "product", "figures": {"method": "product"}, "where": {"loss": "product"}, "measure": "student"},
        ],
    }
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(experiment))
    with (folder / "mine.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(COLUMNS)
        written.writerow(["P", "T", "S", "Small", "Large", "Animals", "naive", "accuracy_pct", "60", "page 3"])
        written.writerow(["P", "T", "S", "Small", "Large", "Animals", "product", "accuracy", "<=-1.5", "page 4"])
    return ["reproduce", "mine", "--config-dir", str(tmp_path / "conf")]


@pytest.mark.slow
def test_ours_stands_beside_the_reported_figure_and_a_second_run_is_cached(
    w2s_inside: Run, mine: list[str], tmp_path: Path
) -> None:
    shown = w2s_inside(*mine).stdout
    record = json.loads((tmp_path / "outputs" / "reproductions" / "mine-paper.json").read_text())
    results = json.loads((tmp_path / "outputs" / record["run"] / "results.json").read_text())["entries"]
    naive, product = record["rows"]
    of = {
        loss: [e["metrics"]["student"]["accuracy"] for e in results if e["loss"] == loss and e["stage"] != "summary"]
        for loss in ("xent", "product")
    }
    assert [len(values) for values in of.values()] == [2, 2]
    assert naive["reported"] == pytest.approx(0.6)
    assert naive["ours"] == pytest.approx(sum(of["xent"]) / 2)
    assert naive["difference"] == pytest.approx(sum(of["xent"]) / 2 - 0.6)
    assert naive["in_band"] == (abs(naive["difference"]) <= 0.25)
    assert product["at_most"]
    assert product["difference"] == pytest.approx(sum(of["product"]) / 2 + 1.5), "above the bound by so much"
    assert product["in_band"] is False
    assert "≤ -1.500" in shown
    assert "dropped: nothing but patience" in shown
    assert record["asked"] > record["distinct"] == record["ran"]
    again = w2s_inside(*mine).stdout
    assert "An experiment of ours: paper scale" in again
    second = json.loads((tmp_path / "outputs" / "reproductions" / "mine-paper.json").read_text())
    assert (second["ran"], second["cached"]) == (0, record["distinct"])
    assert second["rows"] == record["rows"]

    demo = w2s_inside(*mine, "--scale", "demo").stdout
    assert "Not comparable with the reported figures" in demo
    assert "dropped: a seed" in demo
    assert "reported" not in demo.split("demo scale")[-1].splitlines()[1]
    smaller = json.loads((tmp_path / "outputs" / "reproductions" / "mine-demo.json").read_text())
    assert smaller["ran"] == 0, "the demo's stages are among those of the paper scale"
    table = w2s_inside("reproduce", "--summary").stdout
    total = next(line for line in table.splitlines() if line.startswith("all")).split()
    assert total[1:3] == [str(record["asked"] + smaller["asked"]), str(record["distinct"])]
    path = tmp_path / "outputs" / "reproductions" / "mine-demo.json"
    path.write_text(json.dumps({**smaller, "asked": smaller["asked"] + 1}))
    table = w2s_inside("reproduce", "--summary").stdout
    total = next(line for line in table.splitlines() if line.startswith("all")).split()
    assert total[1] == str(record["asked"])
    assert "left out: 1 that were changed since they were written" in table
    hours = w2s_inside(*mine, "--plan", "seed=7").stdout
    assert "size of local is unknown" in hours


WRONG: dict[str, tuple[list[str], list[str]]] = {
    "unknown experiment": (["eleuther"], ['unknown experiment "eleuther"', "eleuther_pgr"]),
    "unknown scale": (["gpt2_replication", "--scale", "demos"], ['unknown scale "demos"', 'Did you mean "demo"']),
    "unknown option": (["gpt2_replication", "--pan"], ["--pan", "w2s reproduce --help"]),
    "rate of no number": (["gpt2_replication", "--rate", "fast"], ["--rate fast", "TFLOPS"]),
    "negative rate": (["gpt2_replication", "--plan", "--rate", "-3"], ["--rate"]),
    "infinite rate": (["gpt2_replication", "--plan", "--rate", "inf"], ["--rate inf", "TFLOPS"]),
    "two experiments": (["gpt2_replication", "burns_nlp"], ["one experiment at a time"]),
    "unknown override": (["gpt2_replication", "--plan", "strng=gpt2"], ['"strng"']),
    "no record to sum up": (["--summary"], ["holds no reproductions yet"]),
}


@pytest.mark.parametrize("case", WRONG, ids=lambda name: name.replace(" ", "-"))
def test_wrong_words(w2s_inside: Run, case: str) -> None:
    words, said = WRONG[case]
    assert_refused(w2s_inside("reproduce", *words, code=None), *said)


def test_a_wrong_experiment_file_says_which_field(w2s_inside: Run, mine: list[str], tmp_path: Path) -> None:
    path = tmp_path / "conf" / "experiment" / "mine.yaml"
    written = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**written, "scale": {}}))
    assert_refused(w2s_inside(*mine, code=None), 'unknown field "scale"', 'Did you mean "scales"')
    path.write_text(yaml.safe_dump({**written, "scales": {"paper": {"drop": []}}}))
    assert_refused(w2s_inside(*mine, code=None), 'scales.paper: unknown field "drop"', 'Did you mean "dropped"')
    path.write_text(yaml.safe_dump({n: v for n, v in written.items() if n != "runs"}))
    assert_refused(w2s_inside(*mine, code=None), 'the field "runs" is missing')


def test_without_a_name_the_experiments_are_listed(w2s_inside: Run) -> None:
    shown = w2s_inside("reproduce").stdout
    assert all(name in shown for name in PAPER)
    assert w2s_inside("completion", "words", "w2s reproduce e").stdout.split()[0] == "eleuther_pgr"


def test_a_word_that_no_run_of_an_experiment_reads_is_refused(w2s_inside: Run) -> None:
    words = ["reproduce", "burns_nlp", "--scale", "demo", "--plan"]
    done = w2s_inside(*words, "ensemble=2", code=2)
    assert "ensemble=2 has no effect with method=naive, bootstrapping" in done.stderr
    assert 'Did you mean "train.epochs"' in w2s_inside(*words, "+trian.epochs=7", code=2).stderr
