"""Every method, run by the real command on tiny models: what each does to the labels and the models it is made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import small_texts
from tests.conftest import ROOT, environment, sentences, write_jsonl
from tests.inside import run_inside
from tests.unit.pipeline.test_identity import graph_of

METHODS = [
    "naive",
    "strong_to_strong",
    "ensemble",
    "weighted_ensemble",
    "ensemw2s",
    "co_supervised",
    "selection",
    "generative_finetuning",
    "probing",
    "few_shot",
    "bootstrapping",
    "abstention",
]
ELSEWHERE = {
    "pretrain",
    "misfit_gain",
    "baselines",
    "delta_theory",
}  # test_pretrain.py, test_theory.py, test_reproduce.py, test_delta.py


class Finished:
    """The stages of a finished sweep, by job setting and stage name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [sweep] = (folder / "outputs" / "sweeps").glob("*/*")
        self.results: list[dict[str, Any]] = json.loads((sweep / "results.json").read_text())["entries"]
        self.plan: list[dict[str, Any]] = json.loads((sweep / "plan.json").read_text())["stages"]

    def stage(self, key: str) -> Path:
        [found] = (self.folder / "outputs" / "stages").glob(f"*/*-{key}")
        return found

    def identity(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.stage(key) / "stage.json").read_text())
        return found

    def entry(self, method: str, evaluates: str = "pgr", **wanted: Any) -> dict[str, Any]:
        [found] = [
            entry
            for entry in self.results
            if entry["method"] == method
            and entry["evaluates"] == evaluates
            and all(entry[name] == value for name, value in wanted.items())
        ]
        return found

    def model_of(self, entry: dict[str, Any], role: str = "student") -> str:
        """The key of the stage that trained the model of a role."""
        label = self.identity(entry["key"])["inputs"][role]
        model: str = self.identity(label)["inputs"]["model"]
        return model

    def labels_of(self, entry: dict[str, Any]) -> str:
        """The key of the labels that the student of an evaluate stage was trained on."""
        labels: str = self.identity(self.model_of(entry))["inputs"]["labels"]
        return labels

    def p(self, key: str) -> dict[str, list[float]]:
        """Row id → probabilities of a labels artifact."""
        table = pq.read_table(self.stage(key) / "result" / "labels.parquet")
        return dict(zip(table["id"].to_pylist(), table["p"].to_pylist(), strict=True))

    def metrics(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.stage(key) / "result" / "manifest.json").read_text())["metrics"]
        return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Finished:
    """One sweep over all methods; the stages that they share are run once."""
    folder = tmp_path_factory.mktemp("methods")
    models = folder / "configs" / "model"
    models.mkdir(parents=True)
    for name, path in (("tiny-weak", tiny_models["weak"]), ("tiny-strong", tiny_models["strong"])):
        (models / f"{name}.yaml").write_text(f"name: {name}\npath: {path}\nlr: 5e-3\nmax_length: 48\n")
    rows = [{**row, "hard": False} for row in sentences(400)]
    words = [
        f"--config-dir={folder / 'configs'}",
        "weak=tiny-weak",
        "strong=tiny-strong",
        "data=local",
        f"data.path={write_jsonl(folder / 'rows.jsonl', rows)}",
        "data.text=text",
        "data.label=label",
        "data.id=id",
        "data.pools={test: 0.2, weak_train: 0.25, weak_val: 0.1, strong_val: 0.1, strong_train: 0.35}",
        "ladder=[tiny-weak]",
        'few_shot.tokens=["a","o"]',
        "few_shot.shots=2",
        "select=confidence_share",
        "bootstrap=200",
        f"outputs={folder / 'outputs'}",
    ]
    done = run_inside(["train", "-m", f"method={','.join(METHODS)}", *words], folder, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(folder)


def test_every_method_is_run_here_or_elsewhere() -> None:
    assert {path.stem for path in (ROOT / "configs" / "method").glob("*.yaml")} == set(
        METHODS
    ) | ELSEWHERE | small_texts.methods()


def test_every_method_ends_with_pgr_from_the_same_ceiling(finished: Finished) -> None:
    ceilings = {}
    for method in METHODS:
        for entry in finished.results:
            if entry["method"] == method and entry["evaluates"] in ("pgr", "pgr[1]"):
                assert {"weak", "student", "ceiling", "pgr"} <= set(entry["metrics"])
                ceilings[method] = finished.identity(entry["key"])["inputs"]["ceiling"]
    own = ceilings.pop("generative_finetuning")  # starts from the tuned model
    assert len(set(ceilings.values())) == 1
    assert own not in ceilings.values()


def test_the_ensemble_teaches_the_mean_of_members_that_differ_by_seed(finished: Finished) -> None:
    labels = finished.labels_of(finished.entry("ensemble"))
    members = finished.identity(labels)["inputs"]["labels"]
    said = [finished.p(key) for key in members]
    taught = finished.p(labels)
    for row in taught:
        np.testing.assert_allclose(taught[row], np.mean([one[row] for one in said], axis=0), atol=1e-6)
    seeds = [finished.identity(finished.identity(key)["inputs"]["model"])["params"]["seed"] for key in members]
    assert seeds[0] == 0
    assert len(set(seeds)) == len(seeds) == 3


def test_the_first_member_of_an_ensemble_is_the_weak_supervisor_of_the_naive_method(finished: Finished) -> None:
    assert (
        finished.identity(finished.entry("ensemble")["key"])["inputs"]["weak"]
        == (finished.identity(finished.entry("naive")["key"])["inputs"]["weak"])
    )


def test_boosting_trains_each_supervisor_on_the_weights_of_the_one_before(finished: Finished) -> None:
    labels = finished.labels_of(finished.entry("ensemw2s"))
    inputs = finished.identity(labels)["inputs"]
    models = [finished.identity(key)["inputs"]["model"] for key in inputs["labels"]]
    weights = [finished.identity(key)["inputs"].get("weights") for key in models]
    assert weights == [None, *inputs["scores"][:-1]]
    first = pq.read_table(finished.stage(inputs["scores"][0]) / "result" / "weights.parquet").to_pydict()
    said = finished.p(finished.identity(inputs["scores"][0])["inputs"]["labels"])
    truth = {row["id"]: row["label"] for row in sentences(400)}
    wrong = np.array([np.argmax(said[row]) != truth[row] for row in first["id"]])
    weight = np.array(first["weight"])
    if wrong.any() and not finished.metrics(inputs["scores"][0])["reset"]:
        assert weight[wrong].min() > weight[~wrong].max()  # what it has wrong counts more for the next


def test_bootstrapping_teaches_the_last_models_labels(finished: Finished) -> None:
    labels = finished.labels_of(finished.entry("bootstrapping"))
    hop = finished.identity(labels)["inputs"]["model"]
    naive = finished.labels_of(finished.entry("naive"))
    assert finished.identity(hop)["inputs"]["labels"] == naive
    assert labels != naive


def test_rounds_teach_each_student_by_the_one_before(finished: Finished) -> None:
    second = finished.labels_of(finished.entry("strong_to_strong", "pgr[1]"))
    first = finished.identity(second)["inputs"]["model"]
    start = finished.identity(finished.identity(first)["inputs"]["labels"])["inputs"]["model"]
    assert start == finished.model_of(finished.entry("naive"))


def test_co_supervision_takes_each_label_from_the_supervisor_the_student_agrees_with(finished: Finished) -> None:
    labels = finished.labels_of(finished.entry("co_supervised"))
    inputs = finished.identity(labels)["inputs"]
    opinion, said, taught = finished.p(inputs["student"]), [finished.p(k) for k in inputs["labels"]], finished.p(labels)
    table = pq.read_table(finished.stage(labels) / "result" / "labels.parquet")
    covered = dict(zip(table["id"].to_pylist(), table["covered"].to_pylist(), strict=True))
    for row, own in opinion.items():
        if covered[row]:
            distance = [-np.dot(one[row], np.log(np.maximum(own, 1e-7))) for one in said]
            np.testing.assert_allclose(taught[row], said[int(np.argmin(distance))][row], atol=1e-6)


def test_selection_keeps_labels_that_the_supervisor_is_sure_of(finished: Finished) -> None:
    labels = finished.labels_of(finished.entry("selection"))
    table = pq.read_table(finished.stage(labels) / "result" / "labels.parquet")
    sure, covered = np.array([max(p) for p in table["p"].to_pylist()]), table["covered"].to_numpy()
    assert 0 < covered.sum() < len(covered)
    assert sure[covered].min() >= sure[~covered].max()
    used = finished.metrics(finished.model_of(finished.entry("selection")))["rows"]
    assert used == covered.sum()


def test_a_supervisor_that_abstains_is_measured_where_it_does(finished: Finished) -> None:
    measured = finished.entry("abstention")["metrics"]["pseudolabels"]
    rows = pq.read_table(
        finished.stage(finished.entry("abstention")["key"]) / "result" / "predictions.parquet"
    ).to_pydict()
    covered, right = np.array(rows["weak_covered"]), np.array(rows["student_class"]) == np.array(rows["label"])
    assert 0 < measured["coverage"]["value"] == covered.mean() < 1
    np.testing.assert_allclose(measured["student_on_uncovered"]["value"], right[~covered].mean())
    assert (
        finished.entry("abstention")["metrics"]["weak"]["accuracy"]
        == (finished.entry("naive")["metrics"]["weak"]["accuracy"])
    )


def test_probes_read_the_trunk_that_the_student_was_finetuned_into(finished: Finished) -> None:
    after = finished.model_of(finished.entry("probing", "pgr_probe_after"))
    truth = finished.model_of(finished.entry("probing", "pgr_probe_truth"))
    student = finished.model_of(finished.entry("probing"))
    features = finished.identity(after)["inputs"]["features"]
    assert finished.identity(features)["inputs"]["model"] == student
    assert "model" not in finished.identity(finished.identity(truth)["inputs"]["features"])["inputs"]


def test_prompting_gives_the_student_examples_with_weak_labels(finished: Finished) -> None:
    inputs = finished.identity(finished.entry("few_shot")["key"])["inputs"]
    student = finished.identity(inputs["student"])
    assert student["kind"] == "few_shot"
    assert student["inputs"]["labels"] == finished.labels_of(finished.entry("naive"))


def test_a_result_records_the_updates_of_its_models_and_the_accuracy_of_the_students_labels(finished: Finished) -> None:
    naive = finished.entry("naive")["metrics"]
    assert (
        naive["student"]["labels"]["accuracy"]
        == finished.metrics(finished.labels_of(finished.entry("naive")))["accuracy"]
    )
    for entry in finished.results:
        metrics = entry["metrics"]
        weak = (
            finished.model_of(entry, "weak")
            if entry["method"] != "abstention"
            else finished.model_of(finished.entry("naive"), "weak")
        )
        assert metrics["weak"]["per_seed"]["updates"] == [finished.metrics(weak)["steps"]]
        assert metrics["ceiling"]["per_seed"]["updates"][0] == (
            0
            if entry["evaluates"] == "pgr_prompted"
            else finished.metrics(finished.model_of(entry, "ceiling"))["steps"]
        )
        if entry["method"] == "few_shot":
            assert metrics["student"]["per_seed"]["updates"] == [0]
            assert metrics["student"]["labels"] == naive["student"]["labels"]
            continue
        student = finished.model_of(entry)
        assert metrics["student"]["per_seed"]["updates"] == [finished.metrics(student)["steps"]]
        if "labels" in finished.identity(student)["inputs"]:
            right = finished.metrics(finished.labels_of(entry))["accuracy"]
            assert metrics["student"]["labels"] == {"accuracy": right, "per_seed": [right]}
        else:
            assert entry["evaluates"] in ("pgr_probe_truth", "pgr_probe_after")
            assert "labels" not in metrics["student"]


def test_generative_finetuning_reads_the_pools_texts_before_the_transfer(finished: Finished) -> None:
    tuned = finished.identity(finished.model_of(finished.entry("generative_finetuning")))["inputs"]["model"]
    identity, metrics = finished.identity(tuned), finished.metrics(tuned)
    assert (identity["kind"], identity["params"]["objective"]["name"]) == ("tune", "text")
    rows = finished.identity(identity["inputs"]["rows"])["params"]
    assert rows["pool"] == "strong_train"
    assert metrics["learned"] == metrics["tokens"] - metrics["rows"]  # every token of every text after its first


@pytest.mark.parametrize("control", ["random_labels", "matched_noise", "truth_mix"])
@pytest.mark.parametrize("method", [method for method in METHODS if method != "bootstrapping"])
@pytest.mark.slow
def test_a_control_can_be_added_to_any_method(method: str, control: str, tmp_path: Path) -> None:
    """Every student of the planned graph reads its labels through the control, and nothing else changes."""
    plain = graph_of(tmp_path, f"method={method}")
    controlled = graph_of(tmp_path, f"method={method}", f"control={control}")
    students = 0
    for key, stage in controlled.stages.items():
        role, labels = stage.about.get("role"), stage.inputs.get("labels")
        if stage.kind in ("finetune", "few_shot") and role == "student" and labels is not None:
            assert controlled.stages[labels].identity["params"]["rule"]["name"] == control
            assert key not in plain.stages
            students += 1
    assert students
    for name in ("weak", "weak[0]", "ceiling"):
        if name in plain.jobs[0].names:
            assert plain.jobs[0].names[name] == controlled.jobs[0].names[name]
