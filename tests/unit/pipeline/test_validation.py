"""Early stopping on weak labels: the stages that label the validation rows as the training rows are labelled."""

from pathlib import Path

import pytest

from tests.unit.pipeline.test_identity import fixed as fixed
from tests.unit.pipeline.test_identity import graph_of
from w2s_cli.config import compose
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.store import Store

POOLS = "data.pools={test: 0.2, weak_train: 0.3, weak_val: 0.1, strong_val: 0.1, strong_train: 0.3}"


@pytest.mark.parametrize("select", ["logistic_filter", "logistic_relabel", "knn_filter", "knn_relabel", "topofilter"])
def test_a_probe_that_judges_validation_labels_is_fitted_to_the_training_rows(
    fixed: list[str],
    tmp_path: Path,
    select: str,
) -> None:
    graph = graph_of(tmp_path, *fixed, "method=selection", f"select={select}", "stopping=weak_labels", POOLS)
    names = graph.jobs[0].names
    training, validation = (graph.stages[names[name]] for name in ("selected", "selected@strong_val"))
    assert graph.stages[names["student"]].inputs["validation_labels"] == validation.key
    assert {edge: training.inputs[edge] for edge in ("rows", "labels", "features")} == {
        "rows": names["rows:strong_train"],
        "labels": names["labels"],
        "features": names["features:selected:strong_train"],
    }
    assert set(training.inputs) == {"rows", "labels", "features"}
    assert validation.inputs == {
        "rows": names["rows:strong_val"],
        "labels": names["labels@strong_val"],
        "features": names["features:selected@strong_val:strong_val"],
        **{f"fit_{edge}": key for edge, key in training.inputs.items()},
    }


def test_a_rule_without_features_is_not_fitted(fixed: list[str], tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path, *fixed, "method=selection", "select=confidence", "control=truth_mix", "stopping=weak_labels", POOLS
    )
    for name in ("selected@strong_val", "truth_mix:selected@strong_val"):
        assert set(graph.stages[graph.jobs[0].names[name]].inputs) == {"rows", "labels"}


@pytest.mark.parametrize(
    "fit", ["fit_rows: weak_train", "fit_labels: labels", "{fit_rows: weak_train, fit_labels: truth}"]
)
def test_rows_to_fit_without_labels_and_labels_without_rows_are_refused(
    fixed: list[str],
    tmp_path: Path,
    fit: str,
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        f"name: mine\nbase: selection\nstages:\n  selected: {{{fit.strip('{}')}}}\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match="fit_rows needs fit_labels"):
        graph_of(tmp_path, *fixed, f"--config-dir={tmp_path}", "method=mine")


def trial_of(folder: Path, *words: str) -> Graph:
    """The graph of one trial of a search with these words."""
    found: list[Graph] = []

    def plan(jobs: list[Composed], folders: list[Path]) -> int:
        [job] = jobs
        trial = job._replace(values={**job.values, "search": {**job.values["search"], "trials": 1}})
        found.append(build([trial], Resolver(Store(folder / "outputs"), folders)))
        return 0

    compose.run([*words, f"outputs={folder / 'outputs'}"], plan)
    return found[0]


@pytest.mark.parametrize(
    ("words", "student", "labels"),
    [
        ([], "student_test", "labels"),
        (["stopping=weak_labels"], "student_test", "labels"),
        (["control=random_labels"], "student_test", "labels"),
        (["method=selection", "select=confidence"], "student_test", "labels"),
        (["method=abstention", "select=confidence"], "student_test", "labels"),
        (["method=ensemble", "ensemble=2", "combine=majority"], "student_test", "labels"),
        (["method=co_supervised", "ensemble=2"], "student_test", "labels[0]"),
        (["method=strong_to_strong", "rounds=2"], "round_test[1]", "labels"),
        (["method=bootstrapping", "ladder=[wordnet-s]"], "student_test", "labels"),
        (["method=probing"], "student_test", "labels"),
        (["method=few_shot", "few_shot.tokens=[a,b]"], "student_test", "labels"),
    ],
)
def test_a_trial_is_scored_by_the_supervisors_own_labels_of_validation_rows(
    fixed: list[str], tmp_path: Path, words: list[str], student: str, labels: str
) -> None:
    """Not by labels that a rule, a control or a student has changed; never by ground truth or on test rows."""
    graph = trial_of(tmp_path, *fixed, *words, POOLS)
    names = graph.jobs[0].names
    inputs = graph.stages[names["validation"]].inputs
    assert {edge: next(name for name in names if names[name] == key) for edge, key in inputs.items()} == {
        "student": f"{student}@strong_val",
        "labels": f"{labels}@strong_val",
        "rows": "rows:strong_val",
    }


def test_a_score_adds_stages_and_changes_no_other(fixed: list[str], tmp_path: Path) -> None:
    plain = graph_of(tmp_path, *fixed, POOLS).jobs[0].names
    scored = trial_of(tmp_path, *fixed, POOLS).jobs[0].names
    assert plain.items() <= scored.items()
    added = {"validation", "student_test@strong_val", "labels@strong_val", "rows:strong_val"}
    assert scored.keys() - plain.keys() == added


@pytest.mark.parametrize("method", ["baselines", "zero_shot", "naive_text", "misfit_gain", "spin"])
def test_a_method_without_a_student_of_labels_cannot_be_searched(fixed: list[str], tmp_path: Path, method: str) -> None:
    words = [word for word in fixed if method == "baselines" or not word.startswith("data")]
    problems = [] if method in ("baselines", "misfit_gain") else ["data=arithmetic"]
    with pytest.raises(UserError, match=f"method={method} has no student that learns labels of classes"):
        trial_of(tmp_path, *words, *problems, f"method={method}")
