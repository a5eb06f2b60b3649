"""Early stopping on weak labels: the stages that label the validation rows as the training rows are labelled."""

from pathlib import Path

import pytest

from tests.unit.pipeline.test_identity import fixed as fixed
from tests.unit.pipeline.test_identity import graph_of
from w2s_cli.errors import UserError

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
