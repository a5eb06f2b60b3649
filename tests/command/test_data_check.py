"""`w2s data check`: it finds the leaks that peers shipped, and does not cry wolf on our recipes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from transformers import RobertaConfig

from tests.data_sets import local, make, numbered, real, recipe, write_rows
from tests.unit.data.test_leaks import COSMOS_QA, OPENBOOKQA, leaky
from w2s_cli.commands.data_check import show
from w2s_cli.data import bag_of_words
from w2s_cli.data.check import UNLIMITED, Reader, check
from w2s_cli.data.recipes import rows_params
from w2s_cli.paths import locate

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


@pytest.mark.slow
def test_it_finds_none_of_the_above_in_cosmos_qa(tmp_path: Path) -> None:
    data = recipe("cosmos_qa", path=str(real("cosmos_qa")), **ONE_SPLIT)
    found = check(leaky(tmp_path, data, COSMOS_QA), data["classes"])
    assert [tale["words"] for tale in found["telltales"]] == ["none of"]  # one shortcut is one line
    assert all(tale["class"] == 0 for tale in found["telltales"])
    assert any("gives the label away" in problem for problem in found["problems"])
    assert report_of(tmp_path / "ours", data)["problems"] == []


@pytest.mark.slow
def test_it_finds_letters_for_right_and_texts_for_wrong_answers_in_openbookqa(tmp_path: Path) -> None:
    data = recipe("openbookqa", path=str(real("openbookqa")))
    found = check(leaky(tmp_path, data, OPENBOOKQA), data["classes"])
    assert {": b", ": c", ": d"} <= {tale["words"] for tale in found["telltales"]}
    assert found["baseline"]["accuracy"] > 0.75
    ours = report_of(tmp_path / "ours", data)
    assert ours["problems"] == []
    assert ours["baseline"]["accuracy"] < 0.6


@pytest.mark.slow
def test_it_finds_the_label_in_the_prompt_of_ethics(tmp_path: Path) -> None:
    data = recipe("ethics_justice", path=str(real("ethics_justice")), limits={pool: 1500 for pool in HALVES})
    found = report_of(tmp_path / "leaky", {**data, "template": data["template"] + " {label}"})
    assert {"0", "1"} <= {tale["words"] for tale in found["telltales"]}
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
@pytest.mark.slow
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
        "strong_train in weak_train": {"rows": 1, "share": 0.5},
        "test in strong_train": {"rows": 1, "share": 0.5},
        "test in the training pools": {"rows": 1, "share": 0.5},
    }
    assert found["crossings"] == {"weak_train and strong_train": 1}
    assert found["contradictions"] == 2
    assert found["pools"]["weak_train"] == {"rows": 3, "base_rates": [2 / 3, 1 / 3]}
    assert [problem.split(" ")[0] for problem in found["problems"][:3]] == ["1", "1", "1"]


def test_rows_that_stand_in_another_pool_are_counted_and_not_their_distinct_texts() -> None:
    tables = {
        "test": table(["twice"] * 12 + [f"test {n}" for n in range(88)], [0, 1] * 50),
        "weak_train": table(["Twice", *(f"weak {n}" for n in range(99))], [0, 1] * 50),
        "strong_train": table(["twice "] * 3 + [f"strong {n}" for n in range(97)], [0, 1] * 50),
    }
    found = check(tables, ["no", "yes"])
    assert found["duplicates"]["test in the training pools"] == {"rows": 12, "share": 0.12}
    assert found["duplicates"]["strong_train in weak_train"] == {"rows": 3, "share": 0.03}
    drops = "data.drop_overlap=true leaves such rows out of all pools but one"
    groups = f"data.group=[text] deals rows of one text to one pool; {drops}"
    in_weak = "3 rows of strong_train (3.0%) have a text that stands in weak_train too: "
    in_training = "12 rows of test (12.0%) have a text that stands in the training pools too: "
    assert [p for p in found["problems"] if "drop_overlap" in p] == [in_weak + groups, in_training + groups]
    found = check(tables, ["no", "yes"], text_columns=["a", "b"], own_test=True)
    assert [p for p in found["problems"] if "drop_overlap" in p] == [
        in_weak + groups.replace("[text]", "[a,b]"),
        in_training + drops,
    ]


@pytest.mark.parametrize(("rows", "said"), [(0, "no rows"), (1, "only 1 row"), (4, "only 4 rows"), (5, None)])
def test_a_class_of_a_handful_of_rows_is_a_problem(rows: int, said: str | None) -> None:
    names = [f"text {n}" for n in range(60)]
    tables = {
        "weak_train": table(names[:30], [0, 1, 2] * 10),
        "test": table(names[30:], ([0, 1] * 15)[rows:] + [2] * rows),
    }
    problems = check(tables, ["a", "b", "c"])["problems"]
    expected = [f"class c has {said} in test: leave the class out, or add rows of it"] if said else []
    assert [problem for problem in problems if problem.startswith("class")] == expected


@pytest.mark.parametrize(
    ("test", "training", "groups", "differs"),
    [
        (20, 8, 1, True),
        (20, 8, 20, False),
        (12, 8, 1, False),
        (52, 48, 1, False),
        (50, 40, 1, True),
        (50, 46, 1, False),
    ],
)
def test_a_base_rate_that_differs_between_training_and_test_beyond_noise_is_a_problem(
    test: int, training: int, groups: int, differs: bool
) -> None:
    def of(name: str, rate: int) -> pa.Table:  # 400 rows, in groups of some rows each
        labels = [int(n % 100 < rate) for n in range(400)]
        return table([f"{name} {n}" for n in range(400)], labels, [f"{name} {n // groups}" for n in range(400)])

    found = check(
        {"test": of("t", test), "weak_train": of("w", training), "strong_train": of("s", training)}, ["no", "yes"]
    )
    expected = [f"{test}.0% of the test rows are yes, but {training}.0% of the training rows"] if differs else []
    assert [problem.partition(":")[0] for problem in found["problems"] if "are yes, but" in problem] == expected


def test_truncation_is_counted_per_model() -> None:
    tables = {"test": table(["a b c", "a", "a b"], [0, 1, 0])}
    found = check(tables, ["no", "yes"], {"short": Reader(words_of, 2, 8)})["truncation"]["short"]
    assert found == {"max_length": 2, "limit": 8, "rows": 1, "share": 1 / 3, "median": 2.0, "longest": 3}


def words_of(texts: Sequence[str]) -> list[int]:
    """A tokenizer of words."""
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("limit", "advice"),
    [(1, "m reads no more, so take a model with a longer context"), (9, "strong.max_length), up to the model's 9"),
     (UNLIMITED, "raise MODEL.max_length (weak.max_length, strong.max_length)")],
)  # fmt: skip
def test_a_longer_max_length_is_advised_only_where_the_model_can_read_more(limit: int, advice: str) -> None:
    tables = {"test": table(["a b"] * 20, [0, 1] * 10)}
    [problem] = check(tables, ["no", "yes"], {"m": Reader(words_of, 1, limit)})["problems"]
    assert problem.endswith(advice) or (limit == 1 and advice in problem and "raise" not in problem)


def test_a_cut_text_in_twenty_is_no_problem_and_more_are() -> None:
    def found(longer: int) -> list[str]:
        tables = {"test": table([f"{n}" + " x" * (n < longer) for n in range(100)], [0, 1] * 50)}
        return list(check(tables, ["no", "yes"], {"m": Reader(words_of, 1)})["problems"])

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


def test_the_command_says_how_far_each_model_can_read_and_which_rows_no_pool_has(
    tmp_path: Path, tiny: list[str], w2s_inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    models = [word for word in tiny if word.startswith(("weak", "strong")) and ".lr=" not in word]
    rows = numbered(240, text=lambda i: "a very big old dog " * (4 + 12 * (i % 2)))
    words = [f"data.path={write_rows(tmp_path / 'a.jsonl', rows)}", "data.text=text", "data.label=label"]
    shares = ["data.pools.weak_train=0.2", "weak.max_length=16", "strong.max_length=2048"]
    out = w2s_inside("data", "check", "data=local", *models, *words, *shares, code=2).stdout
    assert "are cut at 16 tokens for local (weak): results may not be meaningful; raise MODEL.max_length" in out
    assert "(weak.max_length, strong.max_length), up to the model's 64" in out
    assert "local (strong): 0.00% of the texts are longer than 2,048 tokens" in out
    assert "of the 240 training rows are in no pool (data.pools)" in out


def test_positions_that_count_from_the_pad_id_are_as_many_as_in_training(
    tmp_path: Path, w2s_inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=5000, max_position_embeddings=66, pad_token_id=1, **sizes)
    for name, kind in (("roberta", "roberta"), ("other", "nope")):
        copy = shutil.copytree(locate("bundled:models/wordnet-xs"), tmp_path / name)
        (copy / "config.json").write_text(json.dumps({**config.to_dict(), "model_type": kind}))
        settings = json.loads((copy / "tokenizer_config.json").read_text())
        settings.pop("model_max_length", None)
        (copy / "tokenizer_config.json").write_text(json.dumps(settings))
    path = write_rows(tmp_path / "a.jsonl", numbered(240, text=lambda i: "a very big old dog " * 20))
    words = ["data=local", f"data.path={path}", "data.text=text", "data.label=label"]
    models = ["weak=local", f"weak.path={tmp_path}/roberta", "strong=local", f"strong.path={tmp_path}/other"]
    out = w2s_inside("data", "check", *models, *words, code=2).stdout
    assert "longer than 64 tokens" in out
    assert "no token counts for local (strong)" in out


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
            {"m": Reader(lambda texts: [9 for _ in texts], 8)},
        )
        == 2
    )
    printed = capsys.readouterr().out
    assert "PROBLEM: 100.0% of the texts are cut at 8 tokens for m" in printed
    assert "raise MODEL.max_length" in printed
    assert "its words with the largest weights:" in printed
    assert "m: 100.00% of the texts are longer than 8 tokens" in printed
    assert "note: the train split has 400 rows; the recipe was written for 7" in printed
    assert show(clean, pools(tmp_path / "a", clean), {"m": Reader(lambda texts: [8 for _ in texts], 8)}) == 0
    assert "no problems found" in capsys.readouterr().out
    leak = local(
        write_rows(tmp_path / "b.jsonl", numbered(400, text=lambda i: f"words {i} is {'good' if i % 2 else 'bad'}"))
    )
    assert show(leak, pools(tmp_path / "b", leak), {}) == 2
    assert 'PROBLEM: "good" gives the label away' in capsys.readouterr().out
