"""evaluate and summary on label artifacts: joined by id, refused where rows differ, the same bytes every time."""

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

from tests.stage_files import context
from w2s_cli.errors import UserError
from w2s_cli.stages import evaluate, summary
from w2s_cli.statistics.report import ROLES

ROWS = 60
PARAMS = {"bootstrap": 200, "confidence": 0.95, "redrawn": True}


def write_rows(folder, rows=ROWS, classes=2):
    folder.mkdir(parents=True)
    table = {
        "id": [f"row-{i}" for i in range(rows)],
        "group": [f"group-{i}" for i in range(rows)],
        "text": [f"text {i}" for i in range(rows)],
        "label": pa.array([i % classes for i in range(rows)], pa.int32()),
    }
    pq.write_table(pa.table(table), folder / "rows.parquet")
    return folder


def write_labels(folder, ids=None, seed=0, knows=1.0, classes=2, logits=True, p=None):
    """A label artifact whose model `knows` something of the truth (row i has class i mod `classes`)."""
    folder.mkdir(parents=True)
    ids = [f"row-{i}" for i in range(ROWS)] if ids is None else ids
    rng = np.random.default_rng(seed)
    scores = {row: rng.standard_normal(classes) for row in sorted(ids)}
    for row in ids:
        scores[row][int(row.split("-")[1]) % classes] += knows
    given = np.array([scores[row] for row in ids], dtype=np.float32)
    shares = np.exp(given) / np.exp(given).sum(1, keepdims=True) if p is None else p
    columns = {"id": ids, "p": pa.array(list(shares), pa.list_(pa.float32()))}
    if logits:
        columns["logits"] = pa.array(list(given), pa.list_(pa.float32()))
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    return folder


def write_inputs(folder, seed=0, **options):
    inputs = {"rows": write_rows(folder / "rows")}
    for i, role in enumerate(ROLES):
        inputs[role] = write_labels(folder / role, seed=10 * seed + i, knows=0.5 + i, **options)
    return inputs


def evaluated(folder, **options):
    ctx = context(folder / "evaluate")
    return evaluate.run(PARAMS, write_inputs(folder, **options), ctx), ctx.result


def test_metrics_and_table_say_the_same(tmp_path):
    metrics, result = evaluated(tmp_path)
    table = pq.read_table(result / "predictions.parquet").to_pydict()
    assert table["id"] == [f"row-{i}" for i in range(ROWS)]
    for role in ROLES:
        classes, p = np.array(table[f"{role}_class"]), np.array(table[f"{role}_p"])
        np.testing.assert_array_equal(classes, p.argmax(1))
        assert metrics[role]["accuracy"] == pytest.approx(np.mean(classes == np.array(table["label"])))
    assert metrics["rows"] == ROWS
    assert metrics["seeds"] == 1
    weak, student, ceiling = (metrics[role]["accuracy"] for role in ROLES)
    assert metrics["pgr"]["value"] == pytest.approx((student - weak) / (ceiling - weak))


def test_labels_are_joined_by_id_and_not_by_position(tmp_path):
    inputs = write_inputs(tmp_path)
    expected = evaluate.run(PARAMS, inputs, context(tmp_path / "in-order"))
    path = inputs["student"] / "labels.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(np.random.default_rng(0).permutation(ROWS)), path)
    assert evaluate.run(PARAMS, inputs, context(tmp_path / "shuffled")) == expected


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    inputs = write_inputs(tmp_path)
    contexts = [context(tmp_path / name) for name in ("one", "two")]
    assert evaluate.run(PARAMS, inputs, contexts[0]) == evaluate.run(PARAMS, inputs, contexts[1])
    one, two = ((ctx.result / "predictions.parquet").read_bytes() for ctx in contexts)
    assert one == two


def test_labels_without_logits_are_scored_by_their_probabilities(tmp_path):
    inputs = write_inputs(tmp_path)
    expected = evaluate.run(PARAMS, inputs, context(tmp_path / "with"))
    inputs["weak"] = write_labels(tmp_path / "bare", seed=0, knows=0.5, logits=False)
    found = evaluate.run(PARAMS, inputs, context(tmp_path / "without"))
    assert found["weak"]["auroc"] == pytest.approx(expected["weak"]["auroc"])


def test_without_a_weak_supervisor_there_is_no_pgr(tmp_path):
    inputs = write_inputs(tmp_path)
    del inputs["weak"]
    ctx = context(tmp_path / "evaluate")
    metrics = evaluate.run(PARAMS, inputs, ctx)
    assert "pgr" not in metrics
    assert not [name for name in pq.read_schema(ctx.result / "predictions.parquet").names if name.startswith("weak")]


def test_five_classes_are_evaluated(tmp_path):
    inputs = {"rows": write_rows(tmp_path / "rows", classes=5)}
    for i, role in enumerate(ROLES):
        inputs[role] = write_labels(tmp_path / role, seed=i, knows=i + 0.5, classes=5)
    metrics = evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))
    assert metrics["classes"] == 5
    assert metrics["weak"]["auroc"] < metrics["ceiling"]["auroc"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([f"row-{i}" for i in range(ROWS - 4)], r"4 missing \(first: row-56, row-57, row-58\)"),
        ([f"row-{i}" for i in range(ROWS + 1)], r"1 extra \(first: row-60\)"),
        ([f"row-{i}" for i in range(5, ROWS + 5)], r"5 missing .*, 5 extra"),
        ([f"row-{i}" for i in range(ROWS)] + ["row-3"], r"1 row ids come twice \(first: row-3\)"),
    ],
)
def test_other_row_ids_are_refused_with_counts_and_the_first_ids(tmp_path, ids, said):
    inputs = write_inputs(tmp_path)
    inputs["student"] = write_labels(tmp_path / "other", ids=ids)
    with pytest.raises(UserError, match=said):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


def test_models_with_different_numbers_of_classes_are_refused(tmp_path):
    inputs = write_inputs(tmp_path)
    inputs["student"] = write_labels(tmp_path / "other", classes=3)
    with pytest.raises(UserError, match=r"different numbers of classes: weak 2 .* student 3"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


def test_test_rows_with_a_class_the_models_lack_are_refused(tmp_path):
    inputs = write_inputs(tmp_path) | {"rows": write_rows(tmp_path / "three", classes=3)}
    with pytest.raises(UserError, match="classes 0 to 2, the models 0 to 1"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


@pytest.mark.parametrize("value", [np.nan, -0.5, np.inf])
def test_values_that_are_no_probabilities_are_refused(tmp_path, value):
    inputs = write_inputs(tmp_path)
    inputs["weak"] = write_labels(tmp_path / "other", p=np.tile(np.array([0.5, value], np.float32), (ROWS, 1)))
    with pytest.raises(UserError, match="no probabilities"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


def test_lists_of_different_lengths_are_refused(tmp_path):
    inputs = write_inputs(tmp_path)
    uneven = [np.full(2 + i % 2, 0.3, np.float32) for i in range(ROWS)]
    inputs["weak"] = write_labels(tmp_path / "other", p=uneven, logits=False)
    with pytest.raises(UserError, match="not all of one length"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


def test_a_truncated_missing_or_foreign_file_is_refused(tmp_path):
    inputs = write_inputs(tmp_path)
    path = inputs["ceiling"] / "labels.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "truncated"))
    pq.write_table(pa.table({"id": ["row-1"], "score": [0.5]}), path)
    with pytest.raises(UserError, match='no column "p"; it has id, score'):
        evaluate.run(PARAMS, inputs, context(tmp_path / "foreign"))
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "missing"))


def test_no_test_rows_are_refused(tmp_path):
    inputs = write_inputs(tmp_path) | {"rows": write_rows(tmp_path / "none", rows=0)}
    with pytest.raises(UserError, match="has no rows: raise the limit of its pool"):
        evaluate.run(PARAMS, inputs, context(tmp_path / "evaluate"))


# --- what a student makes of its supervisor's labels ---------------------------------------------------------


def abstaining(folder, seed=0, classes=3, share=0.3):
    """Inputs whose weak supervisor abstains on a share of the rows."""
    inputs = {"rows": write_rows(folder / "rows", classes=classes)}
    for i, role in enumerate(ROLES):
        inputs[role] = write_labels(folder / role, seed=10 * seed + i, knows=0.7 + i, classes=classes)
    path = inputs["weak"] / "labels.parquet"
    table = pq.read_table(path)
    covered = np.random.default_rng(seed).random(table.num_rows) >= share
    pq.write_table(table.append_column("covered", pa.array(covered)), path)
    return inputs


def by_hand(table, among=None):
    """Lang et al. 2024 by plain counting over the stored table."""
    counts = dict.fromkeys(("rows", "covered", "wrong", "right", "uncovered"), 0)
    good = dict.fromkeys(counts, 0)
    for i, truth in enumerate(table["label"]):
        if among is not None and truth != among:
            continue
        covered = table["weak_covered"][i] if "weak_covered" in table else True
        parts = ["rows", "covered", "right" if table["weak_class"][i] == truth else "wrong"]
        for part in parts if covered else ["rows", "uncovered"]:
            counts[part] += 1
            good[part] += table["student_class"][i] == truth

    def share(part, whole):
        return part / whole if whole else None

    return {
        "coverage": share(counts["covered"], counts["rows"]),
        "weak_error": share(counts["wrong"], counts["covered"]),
        "student_on_covered": share(good["covered"], counts["covered"]),
        "student_on_covered_right": share(good["right"], counts["right"]),
        "student_on_covered_wrong": share(good["wrong"], counts["wrong"]),
        "student_on_uncovered": share(good["uncovered"], counts["uncovered"]),
    }


@pytest.mark.parametrize("partial", [True, False])
def test_correction_and_expansion_are_counted_from_the_stored_rows(tmp_path, partial):
    inputs = abstaining(tmp_path)
    if not partial:
        path = inputs["weak"] / "labels.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["covered"]), path)
    ctx = context(tmp_path / "evaluate")
    found = evaluate.run(PARAMS, inputs, ctx)["pseudolabels"]
    table = pq.read_table(ctx.result / "predictions.parquet").to_pydict()
    assert ("weak_covered" in table) == partial
    for block, among in [(found, None), *((found["per_class"][one], one) for one in range(3))]:
        expected = by_hand(table, among)
        assert {name: block[name]["value"] for name in expected} == pytest.approx(expected)
        for name, value in expected.items():
            low_high = block[name]["interval"]
            assert value is not None or low_high is None
            assert low_high is None or 0 <= low_high[0] <= value <= low_high[1] <= 1
    assert len(found["per_class"]) == 3
    assert (found["student_on_uncovered"]["value"] is None) != partial
    assert (found["coverage"]["value"] < 1) == partial


def test_coverage_leaves_all_other_metrics_as_they_are(tmp_path):
    inputs = abstaining(tmp_path)
    partly = evaluate.run(PARAMS, inputs, context(tmp_path / "partly"))
    path = inputs["weak"] / "labels.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["covered"]), path)
    wholly = evaluate.run(PARAMS, inputs, context(tmp_path / "wholly"))
    assert partly.pop("pseudolabels") != wholly.pop("pseudolabels")
    assert partly == wholly


def test_correction_needs_a_weak_supervisor_and_a_student(tmp_path):
    inputs = abstaining(tmp_path)
    for role in ("weak", "student"):
        given = {name: folder for name, folder in inputs.items() if name != role}
        assert "pseudolabels" not in evaluate.run(PARAMS, given, context(tmp_path / role / "evaluate"))


def test_coverage_that_is_no_truth_value_is_refused(tmp_path):
    inputs = abstaining(tmp_path)
    path = inputs["weak"] / "labels.parquet"
    table = pq.read_table(path).drop_columns(["covered"])
    for wrong in ([1] * ROWS, [True] * (ROWS - 1) + [None]):
        pq.write_table(table.append_column("covered", pa.array(wrong)), path)
        with pytest.raises(UserError, match='"covered" must be true or false'):
            evaluate.run(PARAMS, inputs, context(tmp_path / str(wrong[-1])))


def test_summary_pools_the_seeds_coverage_and_takes_a_seed_that_says_nothing_as_covered(tmp_path):
    results, tables = [], []
    for seed in range(3):
        inputs = abstaining(tmp_path / str(seed), seed=seed)
        if seed == 2:
            path = inputs["weak"] / "labels.parquet"
            pq.write_table(pq.read_table(path).drop_columns(["covered"]), path)
        ctx = context(tmp_path / str(seed) / "evaluate")
        evaluate.run(PARAMS, inputs, ctx)
        results.append(ctx.result)
        tables.append(pq.read_table(ctx.result / "predictions.parquet").to_pydict() | {})
        tables[-1].setdefault("weak_covered", [True] * ROWS)
    names = ("label", "weak_covered", "weak_class", "student_class")
    pooled = {name: [value for table in tables for value in table[name]] for name in names}
    found = summarised(tmp_path, results)["pseudolabels"]
    for block, among in [(found, None), *((found["per_class"][one], one) for one in range(3))]:
        expected = by_hand(pooled, among)
        assert {name: block[name]["value"] for name in expected} == pytest.approx(expected)


# --- summary -------------------------------------------------------------------------------------------------


def summarised(tmp_path, runs, seeds=(0, 1, 2)):
    params = PARAMS | {"seeds": list(seeds)}
    return summary.run(params, {"runs": runs}, context(tmp_path / "summary"))


def test_summary_has_the_runs_figures_and_their_means(tmp_path):
    runs = [evaluated(tmp_path / str(seed), seed=seed) for seed in range(3)]
    metrics = summarised(tmp_path, [result for _, result in runs])
    for role in ROLES:
        for figure in ("accuracy", "auroc", "ece"):
            single = [one[role][figure] for one, _ in runs]
            assert metrics[role]["per_seed"][figure] == pytest.approx(single)
            assert metrics[role][figure] == pytest.approx(np.mean(single))
    assert metrics["pgr"]["per_seed"] == pytest.approx([one["pgr"]["value"] for one, _ in runs])
    assert metrics["seed_list"] == [0, 1, 2]
    assert metrics["seeds"] == 3


def test_summary_refuses_runs_on_other_rows_labels_or_roles(tmp_path):
    _, first = evaluated(tmp_path / "first")
    inputs = write_inputs(tmp_path / "fewer", ids=[f"row-{i}" for i in range(50)])
    inputs["rows"] = write_rows(tmp_path / "fifty", rows=50)
    fewer = context(tmp_path / "fewer-out")
    evaluate.run(PARAMS, inputs, fewer)
    with pytest.raises(UserError, match="10 missing"):
        summarised(tmp_path / "a", [first, fewer.result], seeds=(0, 1))

    inputs = write_inputs(tmp_path / "student")
    del inputs["weak"]
    student = context(tmp_path / "student-out")
    evaluate.run(PARAMS, inputs, student)
    with pytest.raises(UserError, match="roles student, ceiling"):
        summarised(tmp_path / "b", [first, student.result], seeds=(0, 1))

    _, relabelled = evaluated(tmp_path / "relabelled")
    table = pq.read_table(relabelled / "predictions.parquet")
    flipped = pa.array(1 - table.column("label").to_numpy(), pa.int32())
    pq.write_table(table.set_column(1, "label", flipped), relabelled / "predictions.parquet")
    with pytest.raises(UserError, match="other true labels"):
        summarised(tmp_path / "c", [first, relabelled], seeds=(0, 1))


def test_summary_refuses_a_run_without_a_seed(tmp_path):
    _, first = evaluated(tmp_path / "first")
    with pytest.raises(UserError, match="1 runs for 2 seeds"):
        summarised(tmp_path, [first], seeds=(0, 1))


# --- processes -----------------------------------------------------------------------------------------------

REPLAY = """
import json, sys
from pathlib import Path
from w2s_cli.store.context import Context
from w2s_cli.stages import {kind}
folder = Path(sys.argv[1])
inputs = {{name: [Path(one) for one in where] if isinstance(where, list) else Path(where)
          for name, where in json.loads(sys.argv[2]).items()}}
ctx = Context(folder=folder, work=folder / "work", result=folder / "result")
{kind}.run({params!r}, inputs, ctx)
heavy = {{"torch", "transformers", "datasets", "hydra", "omegaconf", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""


def replay(kind, params, inputs, folder, **environment):
    where = {
        name: [str(one) for one in value] if isinstance(value, list) else str(value) for name, value in inputs.items()
    }
    context(folder)
    command = [sys.executable, "-c", REPLAY.format(kind=kind, params=params), str(folder), json.dumps(where)]
    repository = Path(__file__).parents[3]
    return subprocess.run(command, env=os.environ | environment, cwd=repository, capture_output=True, text=True)


def test_evaluate_and_summary_import_no_torch(tmp_path):
    inputs = write_inputs(tmp_path)
    done = replay("evaluate", PARAMS, inputs, tmp_path / "evaluate")
    assert done.returncode == 0, done.stderr
    runs = {"runs": [tmp_path / "evaluate" / "result"]}
    done = replay("summary", PARAMS | {"seeds": [0]}, runs, tmp_path / "summary")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("point", ["evaluate.start", "evaluate.step:3", "summary.start", "summary.step"])
def test_a_kill_at_each_named_point_leaves_the_inputs_to_a_clean_second_run(tmp_path, point):
    kind = point.split(".")[0]
    inputs, params = write_inputs(tmp_path / "inputs"), dict(PARAMS)
    if kind == "summary":
        inputs, params = {"runs": [evaluated(tmp_path / "run")[1]]}, PARAMS | {"seeds": [0]}
    log = tmp_path / "hits"
    killed = replay(kind, params, inputs, tmp_path / "killed", W2S_FAULT=point, W2S_FAULT_LOG=str(log))
    assert killed.returncode == -signal.SIGKILL
    assert log.read_text() == point.split(":")[0] + "\n"
    assert replay(kind, params, inputs, tmp_path / "again").returncode == 0


# --- cautions ---------------------------------------------------------------------------------------------------


def one_class(folder, name, knows=3.0, seed=0):
    """A model that orders the rows well and predicts class 1 on all of them."""
    rng = np.random.default_rng(seed)
    margin = 20 + knows * (np.arange(ROWS) % 2) + rng.standard_normal(ROWS)
    p = 1 / (1 + np.exp(-margin / 10))
    return write_labels(folder / name, p=np.stack([1 - p, p], axis=1).astype(np.float32), logits=False)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_predicts_one_class_in_spite_of_its_auroc_is_cautioned(tmp_path, role):
    inputs = write_inputs(tmp_path)
    assert evaluate.cautions(evaluate.run(PARAMS, inputs, context(tmp_path / "well")), PARAMS, {"seeds": [0]}) == []
    inputs[role] = one_class(tmp_path, "flat")
    metrics = evaluate.run(PARAMS, inputs, context(tmp_path / "flat-evaluate"))
    assert metrics[role]["accuracy"] == 0.5
    assert [other for other in ROLES if any(metrics[other]["per_seed"]["untrained_threshold"])] == [role]
    metrics[role]["per_seed"]["updates"] = [32]  # as the result records it
    [line] = evaluate.cautions(metrics, PARAMS, {"seeds": [7]})
    for word in (role, "0.500", f"AUROC {metrics[role]['auroc']:.3f}", "after 32 updates", "train.epochs", "train.lr"):
        assert word in line
    assert "seed" not in line
    metrics[role]["per_seed"]["updates"] = [0]
    assert "not trained here" in evaluate.cautions(metrics, PARAMS, {"seeds": [7]})[0]


@pytest.mark.parametrize(("right", "words"), [(0.97, "nearly all test rows are of one class"), (0.03, "untrained")])
def test_a_constant_answer_is_called_untrained_only_where_it_is_no_good_answer(right, words):
    flagged = {"accuracy": [right], "auroc": [0.9], "untrained_threshold": [True]}
    [line] = evaluate.cautions({"student": {"per_seed": flagged}}, PARAMS, {"seeds": [0]})
    assert words in line
    assert ("untrained" in line) == (words == "untrained")
    assert f"accuracy {right:.3f}" in line
    assert "AUROC 0.900" in line


def test_of_several_seeds_the_caution_names_the_seeds_concerned(tmp_path):
    folders = []
    for seed in range(3):
        inputs = write_inputs(tmp_path / str(seed), seed=seed)
        if seed != 1:
            inputs["weak"] = one_class(tmp_path, f"weak-{seed}", seed=seed)
        ctx = context(tmp_path / str(seed) / "evaluate")
        evaluate.run(PARAMS, inputs, ctx)
        folders.append(ctx.result)
    metrics = summary.run(PARAMS | {"seeds": [4, 5, 6]}, {"runs": folders}, context(tmp_path / "summary"))
    metrics["weak"]["per_seed"]["updates"] = [30, 31, 32]
    [line] = summary.cautions(metrics, {}, {"seeds": [4, 5, 6]})
    assert "weak supervisor with seeds 4, 6 predicts one class" in line
    assert "after 30 to 32 updates" in line


@pytest.mark.parametrize(("twin", "value"), [("weak", 0.0), ("ceiling", 1.0)])
def test_a_pgr_whose_interval_has_no_width_is_no_certainty(tmp_path, twin, value):
    inputs = write_inputs(tmp_path)
    metrics = evaluate.run(PARAMS, inputs | {"student": inputs[twin]}, context(tmp_path / "twins"))
    assert metrics["pgr"]["value"] == value
    assert metrics["pgr"]["interval"] == [value, value]
    assert metrics["pgr"]["flags"] == ["no_width"]
    [line] = evaluate.cautions(metrics, PARAMS, {"seeds": [0]})
    assert "no width" in line
    assert {"weak": "weak supervisor", "ceiling": "ceiling"}[twin] in line
    low, high = metrics["agreement"]["overall"]["interval"]
    assert high - low > 0.01
    assert twin != "weak" or high == 1
