"""Selection rules: planted wrong labels are found and formulas are those of scikit-learn; the select stage on files."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors

from tests.stage_files import context
from w2s_cli.config.schema import ControlConfig, SelectConfig
from w2s_cli.errors import UserError
from w2s_cli.pipeline.resolve import bind, flag
from w2s_cli.selection import Labels, load_rule
from w2s_cli.stages import select
from w2s_cli.statistics import neighbours
from w2s_cli.statistics.neighbours import nearest

ROOT = Path(__file__).parents[3]


def clusters(rows=400, classes=2, wrong=0.1, width=6, seed=0, sure=0.8):
    """Labels whose classes are clusters of the features, and which rows are planted wrong: (labels, truth, planted)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    features = 3 * np.eye(classes, width)[truth] + rng.standard_normal((rows, width)) * 0.8
    planted = np.zeros(rows, dtype=bool)
    planted[rng.permutation(rows)[: round(wrong * rows)]] = True
    said = np.where(planted, (truth + 1) % classes, truth)
    p = np.full((rows, classes), (1 - sure) / (classes - 1))
    p[np.arange(rows), said] = sure
    everything = np.ones(rows, dtype=bool)
    ids = [f"row-{i}" for i in range(rows)]
    return Labels(ids, p, everything, features.astype(np.float32), None, 0), truth, planted


def changed(labels, **fields):
    return Labels(**{**labels.__dict__, **fields})


def apply(name, labels, **args):
    return load_rule(name).function(labels, **args)


# --- mechanisms: what the rules are for ------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("rule", "args"),
    [("knn", {"k": 15}), ("logistic", {}), ("topofilter", {"k_component": 13, "k_zeta": 15})],
)
def test_filters_drop_the_planted_wrong_labels(rule, args, classes):
    labels, _, planted = clusters(classes=classes)
    found = apply(rule, labels, contamination=0.1, **args)
    dropped = ~found.covered
    assert (dropped & planted).sum() > 0.8 * dropped.sum()
    assert (dropped & planted).sum() > 0.8 * planted.sum()
    np.testing.assert_array_equal(found.p, labels.p)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("rule", "args"),
    [("knn", {"k": 15}), ("logistic", {}), ("topofilter", {"k_component": 13, "k_zeta": 15})],
)
def test_relabelling_corrects_the_planted_wrong_labels(rule, args, classes):
    labels, truth, planted = clusters(classes=classes)
    found = apply(rule, labels, action="relabel", **args)
    right = found.p.argmax(1) == truth
    assert found.covered.all()
    assert right[planted].mean() > 0.85
    assert right[~planted].mean() > 0.95
    np.testing.assert_allclose(found.p.sum(1), 1)


def test_a_row_that_votes_for_itself_hides_its_own_error():
    labels, _, planted = clusters(sure=1.0)
    alone = apply(  # k=1 with itself: every label is its own neighbourhood
        "knn", labels, action="relabel", k=1, itself=True
    )
    np.testing.assert_array_equal(alone.p, labels.p)
    others = apply("knn", labels, action="relabel", k=1)
    assert (others.p.argmax(1) != labels.p.argmax(1))[planted].mean() > 0.8


def test_the_confidence_filter_keeps_a_threshold_or_a_share():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 101)
    labels = Labels([str(i) for i in range(101)], p, rng.random(101) < 0.8, None, None, 0)
    sure = p.max(1)
    np.testing.assert_array_equal(apply("confidence", labels, threshold=0.6).covered, labels.covered & (sure >= 0.6))
    half = apply("confidence", labels, share=0.5).covered
    assert half.sum() == round(labels.covered.sum() / 2)
    assert sure[half].min() >= sure[labels.covered & ~half].max()
    assert not (half & ~labels.covered).any()


def test_the_confidence_filter_raises_accuracy_of_calibrated_labels():
    rng = np.random.default_rng(2)
    one = rng.random(4000)
    truth = (rng.random(4000) < one).astype(int)
    p = np.stack([1 - one, one], 1)
    found = apply("confidence", Labels([str(i) for i in range(4000)], p, one >= 0, None, None, 0), threshold=0.9)
    before, after = (p.argmax(1) == truth).mean(), (p.argmax(1) == truth)[found.covered].mean()
    assert before == pytest.approx(0.75, abs=0.03)
    assert after == pytest.approx(0.95, abs=0.03)


def test_a_threshold_means_the_number_that_labels_hold_in_float32():
    p = np.array([[0.1, 0.9], [0.11, 0.89]], dtype=np.float32).astype(np.float64)
    labels = Labels(["a", "b"], p, np.ones(2, dtype=bool), None, None, 0)
    assert apply("confidence", labels, threshold=0.9).covered.tolist() == [True, False]


# --- formulas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [2**23, 700])  # all rows at once, and five at a time
def test_neighbours_are_those_of_scikit_learn(monkeypatch, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    x = np.random.default_rng(0).standard_normal((140, 5)) + 50
    reference = NearestNeighbors(n_neighbors=8).fit(x)
    np.testing.assert_array_equal(np.sort(nearest(x, 7)), np.sort(reference.kneighbors(x)[1][:, 1:]))
    np.testing.assert_array_equal(np.sort(nearest(x, 8, itself=True)), np.sort(reference.kneighbors(x)[1]))
    among = np.arange(0, 140, 3)
    part = NearestNeighbors(n_neighbors=4).fit(x[among])
    outside = np.setdiff1d(np.arange(140), among)
    found = nearest(x, 4, among=among)
    np.testing.assert_array_equal(np.sort(found[outside]), np.sort(among[part.kneighbors(x[outside])[1]]))
    inside = among[part.kneighbors(return_distance=True, n_neighbors=4)[1]]  # without the point itself
    np.testing.assert_array_equal(np.sort(found[among]), np.sort(inside))


def test_copies_of_a_row_are_neighbours_but_the_row_itself_is_not():
    x = np.zeros((5, 2))
    found = nearest(x, 4)
    assert [sorted(row) for row in found.tolist()] == [[i for i in range(5) if i != row] for row in range(5)]


def test_the_knn_probe_is_the_mean_label_of_the_others_nearby():
    labels, _, _ = clusters(rows=60, classes=3, seed=4)
    x = labels.features.astype(np.float64)
    expected = np.empty_like(labels.p)
    for row in range(60):
        distance = np.sqrt(((x - x[row]) ** 2).sum(1))
        order = [other for other in np.argsort(distance) if other != row]
        expected[row] = labels.p[order[:9]].mean(0)
    np.testing.assert_allclose(apply("knn", labels, action="relabel", k=9).p, expected)
    dropped = np.argsort(-np.abs(expected - labels.p).sum(1), kind="stable")[: int(0.15 * 60)]
    found = apply("knn", labels, k=9, contamination=0.15)
    assert set(np.flatnonzero(~found.covered)) == set(dropped)
    assert found.diagnostics["dropped"] == 9


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logistic_probe_is_scikit_learns_on_soft_labels(classes):
    labels, _, _ = clusters(rows=150, classes=classes, seed=5)
    rng = np.random.default_rng(0)
    p, l2 = rng.dirichlet(np.ones(classes), 150) * 0.5 + labels.p * 0.5, 0.02
    labels = changed(labels, p=p)
    found = apply("logistic", labels, action="relabel", l2=l2)
    assert found.diagnostics["converged"]
    x = np.repeat(labels.features.astype(np.float64), classes, axis=0)  # a soft label is one weighted row per class
    y, weight = np.tile(np.arange(classes), 150), p.ravel()
    reference = LogisticRegression(C=1 / (2 * l2 * 150), tol=1e-10, max_iter=10_000)
    reference.fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(found.p, reference.predict_proba(labels.features.astype(np.float64)), atol=2e-5)
    loss = -(p * np.log(reference.predict_proba(labels.features.astype(np.float64)))).sum(1).mean()
    assert found.diagnostics["loss"] == pytest.approx(loss, abs=1e-6)


def test_the_component_step_of_topofilter_by_reachability():
    labels, _, _ = clusters(rows=80, wrong=0.2, seed=6)
    x, classes = labels.features.astype(np.float64), labels.p.argmax(1)
    edge = np.zeros((80, 80), dtype=bool)
    for row in range(80):
        order = [other for other in np.argsort(((x - x[row]) ** 2).sum(1)) if other != row]
        edge[row, order[:4]] = True
    edge &= classes[:, None] == classes[None, :]
    reach = np.eye(80, dtype=bool) | edge
    for _ in range(80):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    mutual = reach & reach.T  # strongly connected
    expected = np.zeros(80, dtype=bool)
    for one in (0, 1):
        sizes = np.where(classes == one, mutual.sum(1), 0)
        biggest = np.flatnonzero(sizes == sizes.max())
        assert len({tuple(mutual[row]) for row in biggest}) == 1  # no tie in this example
        expected |= mutual[biggest[0]]
    found = apply("topofilter", labels, contamination=0.0, k_component=4, k_zeta=4)
    np.testing.assert_array_equal(found.covered, expected)
    assert found.diagnostics == {"dropped_by_component": int((~expected).sum()), "dropped_by_zeta": 0}
    assert 0 < (~expected).sum() < 60


def test_the_zeta_step_of_topofilter_drops_until_the_contamination_is_reached():
    labels, _, planted = clusters(sure=0.9, wrong=0.15)
    plain = apply("topofilter", labels, contamination=0.0, k_component=60, k_zeta=15)
    found = apply("topofilter", labels, contamination=0.3, k_component=60, k_zeta=15)
    assert (~found.covered).sum() == 120  # 0.3 · 400
    assert found.diagnostics["dropped_by_zeta"] == 120 - (~plain.covered).sum() > 0
    assert not (found.covered & ~plain.covered).any()
    body = np.flatnonzero(plain.covered)
    x = labels.features.astype(np.float64)[body]
    order = NearestNeighbors(n_neighbors=15).fit(x).kneighbors(return_distance=False)
    distance = np.abs(labels.p[body] - labels.p[body][order].mean(1))[:, 0]
    kept = found.covered[body]
    assert distance[~kept].min() >= distance[kept].max() - 1e-12
    assert planted[found.covered].mean() < 0.03


# --- rows that are judged by other rows ----------------------------------------------------------------------------


def strangers(classes=2, width=80, rows=60):
    """Rows with more features than rows, whose labels are noise, and training rows of the clusters: (labels, fit)."""
    fit, _, _ = clusters(rows=300, classes=classes, width=width, seed=8)
    labels, _, _ = clusters(rows=rows, classes=classes, width=width, seed=9)
    p = np.random.default_rng(10).dirichlet(np.ones(classes), rows)
    return changed(labels, p=p), fit


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_probe_of_other_rows_is_scikit_learns_fitted_to_them(classes):
    labels, fit = strangers(classes)
    own = apply("logistic", labels, action="relabel", l2=0.0005).diagnostics["mean_distance"]
    found = apply("logistic", changed(labels, fit=fit), action="relabel", l2=0.0005)
    assert own < 0.05  # fitted to its own rows it agrees with noise
    assert found.diagnostics["mean_distance"] > 0.2
    x = np.repeat(fit.features.astype(np.float64), classes, axis=0)
    reference = LogisticRegression(C=1 / (2 * 0.0005 * 300), tol=1e-10, max_iter=10_000)
    reference.fit(x, np.tile(np.arange(classes), 300), sample_weight=fit.p.ravel())
    np.testing.assert_allclose(found.p, reference.predict_proba(labels.features.astype(np.float64)), atol=5e-5)
    distance = np.abs(found.p - labels.p).sum(1)
    kept = apply("logistic", changed(labels, fit=fit), l2=0.0005, contamination=0.25).covered
    assert set(np.flatnonzero(~kept)) == set(np.argsort(-distance, kind="stable")[:15])


@pytest.mark.parametrize("itself", [True, False])
def test_neighbours_of_other_rows_are_these_rows_only(itself):
    labels, fit = strangers()
    order = NearestNeighbors(n_neighbors=7).fit(fit.features).kneighbors(labels.features)[1]
    found = apply("knn", changed(labels, fit=fit), action="relabel", k=7, itself=itself)
    np.testing.assert_allclose(found.p, fit.p[order].mean(1))
    copy = changed(labels, fit=changed(labels, p=np.roll(labels.p, 1, axis=0)))  # the same places, other labels
    np.testing.assert_array_equal(apply("knn", copy, action="relabel", k=1, itself=itself).p, copy.fit.p)


def test_topofilter_judges_other_rows_by_the_body_of_the_training_rows():
    labels, fit = strangers(width=6)
    body = np.flatnonzero(apply("topofilter", fit, contamination=0.0, k_component=13).covered)
    order = NearestNeighbors(n_neighbors=9).fit(fit.features[body]).kneighbors(labels.features)[1]
    expected = fit.p[body][order].mean(1)
    args = {"k_component": 13, "k_zeta": 9}
    np.testing.assert_allclose(apply("topofilter", changed(labels, fit=fit), action="relabel", **args).p, expected)
    found = apply("topofilter", changed(labels, fit=fit), contamination=0.2, **args)
    distance = np.abs(expected - labels.p).sum(1)
    assert set(np.flatnonzero(~found.covered)) == set(np.argsort(-distance, kind="stable")[:12])
    assert found.diagnostics == {"dropped_by_component": 0, "dropped_by_zeta": 12}


def test_training_rows_without_a_label_judge_nothing():
    labels, fit = strangers()
    covered = np.arange(300) % 2 == 0
    poisoned = changed(fit, covered=covered, features=np.where(covered[:, None], fit.features, np.nan))
    half = Labels(fit.ids[::2], fit.p[::2], covered[::2], fit.features[::2], None, 0)
    for rule in ("knn", "logistic", "topofilter"):
        found, expected = (apply(rule, changed(labels, fit=of), action="relabel").p for of in (poisoned, half))
        np.testing.assert_allclose(found, expected)


def test_rows_without_a_label_take_no_part():
    labels, _, _ = clusters(rows=120)
    covered = np.arange(120) % 3 > 0
    poisoned = labels.p.copy()
    poisoned[~covered] = [1.0, 0.0]
    features = labels.features.copy()
    features[~covered] = np.nan  # may not be looked at
    inside = np.flatnonzero(covered)
    small = Labels(
        [labels.ids[row] for row in inside], labels.p[inside], covered[inside], labels.features[inside], None, 0
    )
    for rule, action in (("knn", "filter"), ("logistic", "relabel"), ("topofilter", "filter"), ("knn", "relabel")):
        found = apply(rule, changed(labels, p=poisoned, covered=covered, features=features), action=action)
        expected = apply(rule, small, action=action)
        np.testing.assert_array_equal(found.covered[inside], expected.covered)
        np.testing.assert_allclose(found.p[inside], expected.p)
        assert not found.covered[~covered].any()


@pytest.mark.parametrize(
    ("rule", "args", "said"),
    [
        ("confidence", {}, "either select.args.threshold or select.args.share"),
        ("confidence", {"threshold": 0.5, "share": 0.5}, "the other one null"),
        ("confidence", {"share": 1.5}, "between 0 and 1"),
        ("knn", {"action": "both"}, "filter, relabel"),
        ("knn", {"contamination": -0.1}, "contamination=-0.1"),
        ("knn", {"k": 0}, "k of at least 1"),
        ("logistic", {"l2": -1.0}, "l2=-1.0"),
        ("topofilter", {"action": "drop"}, "filter, relabel"),
    ],
)
def test_options_without_meaning_are_refused(rule, args, said):
    with pytest.raises(UserError, match=said):
        apply(rule, clusters(rows=20)[0], **args)


def test_features_that_are_none_and_too_few_rows_are_refused():
    labels, _, _ = clusters(rows=20)
    with pytest.raises(UserError, match="NEEDS_FEATURES"):
        apply("knn", changed(labels, features=None))
    with pytest.raises(UserError, match="finite"):
        apply("logistic", changed(labels, features=np.full((20, 3), np.inf, np.float32)))
    with pytest.raises(UserError, match="at least 2 labelled rows"):
        apply("knn", changed(labels, covered=np.arange(20) == 3))
    lonely = changed(labels, p=np.eye(20)[np.arange(20)])  # every row a class of its own
    kept = apply("topofilter", lonely)  # each is its class's largest component
    assert kept.diagnostics["dropped_by_component"] == 0


# --- configurations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("select/*.yaml")), ids=lambda path: path.stem)
def test_every_select_config_has_a_rule_that_takes_its_arguments(path):
    written = yaml.safe_load(path.read_text())
    assert set(written) <= set(SelectConfig.__dataclass_fields__)
    file = ROOT / "w2s_cli" / "selection" / f"{written['name']}.py"
    assert (
        bind(file, written["name"], written["args"], at_run_time=()) == written["args"]
    )  # all of them are written out
    assert path.read_text().startswith("# ")
    labels, truth, _ = clusters(rows=40)
    rule = load_rule(written["name"])
    assert (rule.needs_features, rule.needs_truth) == (flag(file, "NEEDS_FEATURES"), flag(file, "NEEDS_TRUTH"))
    found = rule.function(changed(labels, truth=truth), **written["args"])
    assert found.covered.any()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("control/*.yaml")), ids=lambda path: path.stem)
def test_every_control_config_has_a_rule_that_takes_its_arguments(path):
    written = yaml.safe_load(path.read_text())
    assert set(written) == set(ControlConfig.__dataclass_fields__)
    assert written["name"] == path.stem
    assert written["self_pair"] == (path.stem == "self_pair")
    if written["rule"]:
        file = ROOT / "w2s_cli" / "selection" / f"{written['rule']}.py"
        assert bind(file, written["rule"], written["args"], at_run_time=()) == written["args"]


# --- the stage ---------------------------------------------------------------------------------------------------


def write_inputs(folder, labels, truth, order=None, features=True, logits=True):
    order = np.arange(len(truth)) if order is None else order
    for name in ("rows", "labels", "features"):
        (folder / name).mkdir(parents=True)
    ids = pa.array([labels.ids[row] for row in order])
    pq.write_table(pa.table({"id": ids, "label": pa.array(truth[order], pa.int32())}), folder / "rows" / "rows.parquet")
    columns = {"id": labels.ids, "p": pa.array(list(labels.p.astype(np.float32)), pa.list_(pa.float32()))}
    if logits:
        columns["logits"] = pa.array(list((labels.p * 7).astype(np.float32)), pa.list_(pa.float32()))
    if not labels.covered.all():
        columns["covered"] = pa.array(labels.covered)
    pq.write_table(pa.table(columns), folder / "labels" / "labels.parquet")
    inputs = {"rows": folder / "rows", "labels": folder / "labels"}
    if features:
        save_file({"features": labels.features[::-1].copy()}, folder / "features" / "features.safetensors")
        (folder / "features" / "ids.json").write_text(json.dumps(labels.ids[::-1]))
        inputs["features"] = folder / "features"
    return inputs


def selected(folder, inputs, name, seed=0, folders=(), **args):
    ctx = context(folder, folders=[str(one) for one in folders])
    metrics = select.run({"rule": {"name": name, "args": args}, "seed": seed}, inputs, ctx)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    return metrics, pq.read_table(ctx.result / "labels.parquet")


def test_the_stage_joins_by_id_and_counts_what_became_of_the_labels(tmp_path):
    labels, truth, _ = clusters(classes=3)
    inputs = write_inputs(tmp_path, labels, truth, order=np.random.default_rng(0).permutation(len(truth)))
    metrics, table = selected(tmp_path / "out", inputs, "knn", k=15, contamination=0.1, action="filter", itself=False)
    expected = apply("knn", labels, k=15, contamination=0.1)
    found = dict(zip(table["id"].to_pylist(), table["covered"].to_pylist(), strict=True))
    assert table["id"].to_pylist() == pq.read_table(inputs["rows"] / "rows.parquet")["id"].to_pylist()
    agree = np.mean([found[name] == kept for name, kept in zip(labels.ids, expected.covered, strict=True)])
    assert agree > 0.98  # ties fall otherwise
    covered = np.array([found[name] for name in labels.ids])
    right = labels.p.argmax(1) == truth
    assert metrics["rows"] == 400
    assert metrics["coverage"] == pytest.approx(covered.mean()) == pytest.approx(0.9)
    assert metrics["accuracy"] == pytest.approx(right[covered].mean())
    assert metrics["accuracy_before"] == pytest.approx(right.mean())
    assert metrics["accuracy"] > metrics["accuracy_before"] + 0.05
    assert metrics["mean_p"] == pytest.approx(labels.p[covered].mean(0).tolist(), abs=1e-6)
    assert metrics["kept_right"] == (right & covered).sum()
    assert metrics["kept_wrong"] == (~right & covered).sum()
    assert metrics["dropped_right"] == (right & ~covered).sum()
    assert metrics["dropped_wrong"] == (~right & ~covered).sum()
    assert metrics["corrected"] == metrics["spoiled"] == 0
    assert metrics["uses_truth"] is False
    assert metrics["diagnostics"]["k"] == 15


@pytest.mark.parametrize("rule", ["logistic", "knn", "topofilter"])
def test_the_stage_fits_a_rule_to_the_rows_of_another_pool(tmp_path, rule):
    labels, fit = strangers()
    truth = np.arange(60) % 2
    inputs = write_inputs(tmp_path / "validation", labels, truth)
    alone, _ = selected(tmp_path / "alone", inputs, rule, action="relabel")
    training = write_inputs(tmp_path / "training", fit, np.arange(300) % 2, order=np.arange(300)[::-1])
    both = inputs | {f"fit_{name}": folder for name, folder in training.items()}
    _, table = selected(tmp_path / "fitted", both, rule, action="relabel")
    expected = apply(rule, changed(labels, fit=fit), action="relabel").p
    np.testing.assert_allclose(np.array(table["p"].to_pylist()), expected, atol=1e-4)
    assert alone["accuracy"] != pytest.approx((expected.argmax(1) == truth).mean())
    with pytest.raises(UserError, match="needs features"):
        selected(tmp_path / "none", {n: f for n, f in both.items() if n != "fit_features"}, rule)


def test_labels_that_a_rule_leaves_alone_keep_their_bytes_and_logits(tmp_path):
    labels, truth, _ = clusters(rows=50)
    inputs = write_inputs(tmp_path, labels, truth)
    before = pq.read_table(inputs["labels"] / "labels.parquet")
    _, table = selected(tmp_path / "filter", inputs, "confidence", threshold=0.5)
    for name in ("id", "p", "logits"):
        assert table[name].to_pylist() == before[name].to_pylist()
    metrics, table = selected(tmp_path / "mix", inputs, "truth_mix", share=0.4)
    p, logits = np.array(table["p"].to_pylist()), np.array(table["logits"].to_pylist())
    replaced = p.max(1) == 1
    assert replaced.sum() == 20
    np.testing.assert_allclose(logits[replaced], np.log(np.maximum(p[replaced], 1e-7)), rtol=1e-6)
    np.testing.assert_array_equal(logits[~replaced], np.array(before["logits"].to_pylist())[~replaced])
    assert metrics["uses_truth"] is True
    assert metrics["corrected"] == metrics["diagnostics"]["wrong_replaced"]


def test_the_order_of_files_changes_nothing(tmp_path):
    labels, truth, _ = clusters(rows=90)  # all labels equally sure: a share is decided by ties
    straight = write_inputs(tmp_path / "a", labels, truth)
    turned = write_inputs(tmp_path / "b", labels, truth, order=np.arange(89, -1, -1))
    for i, (rule, args) in enumerate([("confidence", {"share": 0.5}), ("random_labels", {}), ("knn", {"k": 5})]):
        one = selected(tmp_path / f"one{i}", straight, rule, **args)
        two = selected(tmp_path / f"two{i}", turned, rule, **args)
        assert one[0] == two[0]
        assert sorted(one[1].to_pylist(), key=str) == sorted(two[1].to_pylist(), key=str)
        other = selected(tmp_path / f"seed{i}", straight, rule, seed=1, **args)
        assert other[1].to_pylist() != one[1].to_pylist()  # ties and draws fall otherwise


def test_the_features_of_a_pair_are_the_difference_of_its_texts(tmp_path):
    labels, truth, planted = clusters(rows=200)
    first = np.random.default_rng(3).standard_normal(labels.features.shape).astype(np.float32) * 20
    pairs = np.stack([first, first + labels.features], axis=1)
    inputs = write_inputs(tmp_path, changed(labels, features=pairs), truth)
    metrics, _ = selected(tmp_path / "out", inputs, "logistic")
    assert metrics["dropped_wrong"] > 0.8 * planted.sum()


def test_a_rule_of_the_user_is_taken_first_and_gets_only_what_it_says_it_needs(tmp_path):
    labels, truth, _ = clusters(rows=30)
    inputs = write_inputs(tmp_path, labels, truth)
    folder = tmp_path / "mine" / "selection"
    folder.mkdir(parents=True)
    (folder / "confidence.py").write_text(
        '"""Mine."""\nfrom w2s_cli.selection import Selected\n\n'
        "def confidence(labels, *, keep=10):\n"
        "    assert labels.truth is None and labels.features is None\n"
        "    covered = labels.covered.copy()\n    covered[keep:] = False\n"
        "    return Selected(labels.p, covered, {})\n"
    )
    metrics, _ = selected(tmp_path / "out", inputs, "confidence", folders=[tmp_path / "mine"], keep=7)
    assert metrics["kept_right"] + metrics["kept_wrong"] == 7


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def broken(labels): return 1 / 0", "ZeroDivisionError.*line"),
        ("def broken(labels): return Selected(labels.p[:3], labels.covered)", r"returns p \[3, 2\]"),
        ("def broken(labels): return Selected(labels.p, labels.covered.astype(int))", "true or false"),
        ("def broken(labels): return Selected(labels.p * 2, labels.covered)", "add up to 1"),
        ("def broken(labels): return Selected(labels.p * float('nan'), labels.covered)", "no probabilities"),
        ("def broken(labels): return Selected(labels.p, labels.covered & False)", "leaves none of the 30 rows"),
        ("def broken(labels, *, x): return Selected(labels.p, labels.covered)", "it takes"),
    ],
)
def test_rules_that_break_the_contract_are_refused(tmp_path, body, said):
    labels, truth, _ = clusters(rows=30)
    inputs = write_inputs(tmp_path, labels, truth)
    (tmp_path / "selection").mkdir()
    (tmp_path / "selection" / "broken.py").write_text(f"from w2s_cli.selection import Selected\n{body}\n")
    with pytest.raises(UserError, match=said):
        selected(tmp_path / "out", inputs, "broken", folders=[tmp_path])


def test_what_stands_in_a_row_without_a_label_need_not_add_up_but_must_be_a_number(tmp_path):
    labels, truth, _ = clusters(rows=30)
    inputs = write_inputs(tmp_path, labels, truth)
    (tmp_path / "selection").mkdir()
    for name, value in (("loose", "0"), ("nan", "float('nan')")):
        (tmp_path / "selection" / f"{name}.py").write_text(
            f"from w2s_cli.selection import Selected\n\n\ndef {name}(labels):\n    p, covered = labels.p.copy(), labels.covered.copy()\n"
            f"    p[3], covered[3] = {value}, False\n    return Selected(p, covered)\n"
        )
    metrics, _ = selected(tmp_path / "out", inputs, "loose", folders=[tmp_path])
    assert metrics["coverage"] == pytest.approx(29 / 30)
    with pytest.raises(UserError, match="no probabilities"):
        selected(tmp_path / "nan", inputs, "nan", folders=[tmp_path])


def test_unknown_rules_missing_features_and_other_rows_are_refused(tmp_path):
    labels, truth, _ = clusters(rows=30)
    inputs = write_inputs(tmp_path, labels, truth)
    with pytest.raises(UserError, match=r'no "confidense" in selection/.*confidence'):
        selected(tmp_path / "a", inputs, "confidense")
    with pytest.raises(UserError, match="needs features"):
        selected(tmp_path / "b", {n: inputs[n] for n in ("rows", "labels")}, "knn")
    path = inputs["labels"] / "labels.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(UserError, match="1 missing"):
        selected(tmp_path / "c", inputs, "confidence", threshold=0.5)
    (inputs["features"] / "ids.json").write_text(json.dumps(["other"] * 30))
    path.unlink()
    inputs = write_inputs(tmp_path / "again", labels, truth) | {"features": inputs["features"]}
    with pytest.raises(UserError, match="no features of row"):
        selected(tmp_path / "d", inputs, "knn")


REPLAY = """
import sys
from pathlib import Path
from w2s_cli.store.context import Context
from w2s_cli.stages import select
inputs = {{name: Path(path) for name, path in {inputs!r}.items()}}
folder = Path(sys.argv[1])
rule = {{"name": "topofilter", "args": {{}}}}
select.run({{"rule": rule, "seed": 0}}, inputs, Context(folder, folder / "work", folder / "result"))
assert not {{"torch", "transformers", "hydra", "omegaconf", "sklearn"}} & set(sys.modules)
"""


@pytest.mark.parametrize("fault", [None, "select.start", "select.step"])
def test_the_stage_needs_no_torch_and_runs_again_after_a_kill(tmp_path, fault):
    labels, truth, _ = clusters(rows=30)
    inputs = {name: str(path) for name, path in write_inputs(tmp_path, labels, truth).items()}
    command = [sys.executable, "-c", REPLAY.format(inputs=inputs), str(tmp_path / "out")]
    context(tmp_path / "out")
    if fault:
        killed = subprocess.run(command, cwd=ROOT, env=os.environ | {"W2S_FAULT": fault}, capture_output=True)
        assert killed.returncode == -signal.SIGKILL
        assert not list((tmp_path / "out" / "result").iterdir())
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result" / "labels.parquet").is_file()
