"""`w2s data check`: it finds the leaks that peers shipped, and does not cry wolf on our recipes."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.data_sets import local, make, numbered, real, recipe, write_rows
from tests.unit.data.test_leaks import COSMOS_QA, OPENBOOKQA, leaky
from w2s_cli.commands.data_check import show
from w2s_cli.data import bag_of_words
from w2s_cli.data.check import check
from w2s_cli.data.recipes import rows_params

HALVES = ("weak_train", "strong_train", "test")
ONE_SPLIT = {
    "splits": {"train": "validation", "test": None},
    "pools": {"test": 0.4, "weak_train": 0.3, "strong_train": 0.3},
}


def pools(
    folder: Path, data: Mapping[str, Any], names: Sequence[str] = HALVES
) -> dict[str, tuple[pa.Table, dict[str, Any]]]:
    found = {}
    for pool in names:
        rows, metrics = make(folder / pool, data, pool)
        split = rows_params(data, pool=pool, source={"sha256": "0"})["split"]
        found[pool] = pa.Table.from_pylist(rows), {**metrics, "split": split}
    return found


def report_of(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    made = pools(folder, data)
    return check({pool: table for pool, (table, _) in made.items()}, made["test"][1]["classes"])


def test_it_finds_none_of_the_above_in_cosmos_qa(tmp_path: Path) -> None:
    data = recipe("cosmos_qa", path=str(real("cosmos_qa")), **ONE_SPLIT)
    found = check(leaky(tmp_path, data, COSMOS_QA), data["classes"])
    assert {"none of", "above choices"} <= {tale["words"] for tale in found["telltales"]}
    assert all(tale["class"] == 0 for tale in found["telltales"])
    assert any("gives the label away" in problem for problem in found["problems"])
    assert report_of(tmp_path / "ours", data)["problems"] == []


def test_it_finds_letters_for_right_and_texts_for_wrong_answers_in_openbookqa(tmp_path: Path) -> None:
    data = recipe("openbookqa", path=str(real("openbookqa")))
    found = check(leaky(tmp_path, data, OPENBOOKQA), data["classes"])
    assert {": b", ": c", ": d"} <= {tale["words"] for tale in found["telltales"]}
    assert found["baseline"]["accuracy"] > 0.75
    ours = report_of(tmp_path / "ours", data)
    assert ours["problems"] == []
    assert ours["baseline"]["accuracy"] < 0.6


def test_it_finds_the_label_in_the_prompt_of_ethics(tmp_path: Path) -> None:
    data = recipe("ethics_justice", path=str(real("ethics_justice")), limits={pool: 1500 for pool in HALVES})
    found = report_of(tmp_path / "leaky", {**data, "template": data["template"] + " {label}"})
    assert {": 0", ": 1"} <= {tale["words"] for tale in found["telltales"]}
    assert any("words alone reach 100.0%" in problem for problem in found["problems"])
    assert report_of(tmp_path / "ours", data)["problems"] == []


@pytest.mark.parametrize(
    ("name", "folder", "changes"),
    [
        ("boolq", "boolq", {**ONE_SPLIT, "label": "label"}),
        ("rotten_tomatoes", "rotten_tomatoes", {}),
        (
            "anthropic_hh",
            "hh_rlhf_harmless",
            {"splits": {"train": "single_turn_train_gt.jsonl.gz", "test": "single_turn_test.jsonl.gz"}},
        ),
    ],
)
def test_our_recipes_have_no_shortcut(tmp_path: Path, name: str, folder: str, changes: dict[str, Any]) -> None:
    found = report_of(tmp_path, recipe(name, path=str(real(folder)), **changes))
    assert found["problems"] == []
    assert found["baseline"]["accuracy"] > found["baseline"]["chance"] - 0.05


def test_the_bundled_set_has_no_duplicates_and_no_shortcut(tmp_path: Path) -> None:
    found = report_of(tmp_path, recipe("wordnet_living"))
    assert (found["duplicates"], found["crossings"], found["problems"]) == ({}, {}, [])


def table(texts: Sequence[str], labels: Sequence[int], groups: Sequence[str] | None = None) -> pa.Table:
    ids = [f"{n}" for n in range(len(texts))]
    columns = {"id": ids, "group": list(groups or ids), "text": list(texts), "label": pa.array(labels, pa.int32())}
    return pa.table(columns)


def test_duplicates_and_crossings_are_counted_within_and_across_pools() -> None:
    tables = {
        "weak_train": table(["One  two", "one TWO", "three"], [0, 1, 0], ["a", "b", "c"]),
        "strong_train": table(["four", "three "], [0, 1], ["c", "d"]),
        "test": table(["five", "four"], [1, 0], ["e", "f"]),
    }
    found = check(tables, ["no", "yes"])
    assert found["duplicates"] == {
        "weak_train": {"rows": 1, "share": 1 / 3},
        "weak_train and strong_train": {"rows": 1, "share": 0.5},
        "strong_train and test": {"rows": 1, "share": 0.5},
    }
    assert found["crossings"] == {"weak_train and strong_train": 1}
    assert found["contradictions"] == 2
    assert found["pools"]["weak_train"] == {"rows": 3, "base_rates": [2 / 3, 1 / 3]}
    assert [problem.split(" ")[0] for problem in found["problems"]] == ["1", "1", "1"]


def test_truncation_is_counted_per_model() -> None:
    tables = {"test": table(["a b c", "a", "a b"], [0, 1, 0])}
    words = {"short": (lambda texts: [len(text.split()) for text in texts], 2)}
    found = check(tables, ["no", "yes"], words)["truncation"]["short"]
    assert found == {"max_length": 2, "rows": 1, "share": 1 / 3, "median": 2.0, "longest": 3}


def test_a_cut_text_in_twenty_is_no_problem_and_more_are() -> None:
    def found(longer: int) -> list[str]:
        tables = {"test": table([f"{n}" + " x" * (n < longer) for n in range(100)], [0, 1] * 50)}
        return list(check(tables, ["no", "yes"], {"m": (lambda texts: [len(t.split()) for t in texts], 1)})["problems"])

    assert found(5) == []
    assert [problem.split(" ")[0] for problem in found(6)] == ["6.0%"]


def test_words_alone_are_held_against_the_most_frequent_class_of_the_test_rows() -> None:
    texts = [f"alike {n}" for n in range(40)]
    tables = {"weak_train": table(texts, [1] * 30 + [0] * 10), "test": table(texts[:10], [0] * 7 + [1] * 3)}
    baseline = check(tables, ["no", "yes"])["baseline"]
    assert baseline["chance"] == 0.7
    without_words = {
        pool: table([str(n) for n in range(made.num_rows)], made["label"].to_pylist()) for pool, made in tables.items()
    }
    silent = check(without_words, ["no", "yes"])["baseline"]
    assert (silent["chance"], silent["accuracy"]) == (0.7, 0.3)


def test_the_data_are_read_before_the_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    code = (
        "import sys; from w2s_cli.commands.data_check import run\nfrom w2s_cli.errors import UserError\n"
        f"try: run(['check', 'data=local', 'data.path={tmp_path}/empty.jsonl', 'data.text=text', 'data.label=label'])\n"
        "except UserError as error: print(error, 'transformers' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.endswith("empty.jsonl has no rows. False\n")


def test_the_classifier_finds_the_minimum_that_newton_finds() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), 6)) for _ in range(300)]
    labels = np.array([int("a" in text) + int("b" in text and "c" in text) for text in texts])
    rows = [bag_of_words.features(text) for text in texts]
    words = bag_of_words.vocabulary(rows)
    x = bag_of_words.matrix([bag_of_words.Features(row) for row in rows], words)
    weights, bias = bag_of_words.fit(x, labels, columns=len(words), classes=3)
    linear = pytest.importorskip("sklearn.linear_model")
    dense = np.zeros((300, len(words)))
    dense[x.rows, x.columns] = x.values
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1)
    reference = linear.LogisticRegression(C=1 / bag_of_words.PENALTY, max_iter=5000, tol=1e-8).fit(dense, labels)
    ours = bag_of_words.softmax(x.times(weights) + bias)
    np.testing.assert_allclose(ours, reference.predict_proba(dense), atol=0.03)


def test_no_telltale_by_chance_in_random_labels() -> None:
    rng = np.random.default_rng(0)
    rows = [bag_of_words.features(" ".join(map(str, rng.integers(0, 300, 40)))) for _ in range(400)]
    words = bag_of_words.vocabulary(rows)
    x = bag_of_words.matrix([bag_of_words.Features(row) for row in rows], words)
    for base in (0.5, 0.1, 0.03):
        labels = (rng.random(400) < base).astype(np.int64)
        assert bag_of_words.telltales(x, labels, list(words), classes=2) == []


def test_the_report_is_printed_and_a_problem_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = local(write_rows(tmp_path / "a.jsonl", numbered(400, text=lambda i: f"words {i % 37} {i * 7 % 41} {i}")))
    assert (
        show(
            {**clean, "expected": {"train": 7}},
            pools(tmp_path / "a", clean),
            {"m": (lambda texts: [9 for _ in texts], 8)},
        )
        == 2
    )
    printed = capsys.readouterr().out
    assert "PROBLEM: 100.0% of the texts are cut at 8 tokens for m" in printed
    assert "raise MODEL.max_length" in printed
    assert "its words with the largest weights:" in printed
    assert "m: 100.00% of the texts are longer than 8 tokens" in printed
    assert "note: the train split has 400 rows; the recipe was written for 7" in printed
    assert show(clean, pools(tmp_path / "a", clean), {"m": (lambda texts: [8 for _ in texts], 8)}) == 0
    assert "no problems found" in capsys.readouterr().out
    leak = local(
        write_rows(tmp_path / "b.jsonl", numbered(400, text=lambda i: f"words {i} is {'good' if i % 2 else 'bad'}"))
    )
    assert show(leak, pools(tmp_path / "b", leak), {}) == 2
    assert 'PROBLEM: "good" gives the label away' in capsys.readouterr().out
