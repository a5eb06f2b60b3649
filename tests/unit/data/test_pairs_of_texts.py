"""Pairs: two texts and which is the better, in an order that says nothing; prompts that stay in one pool; what words alone give away."""

import gzip
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data_sets import local, make, numbered, read_gz, real, recipe, run_stage, write_rows
from w2s_cli.data import bag_of_words
from w2s_cli.data.check import Reader, check
from w2s_cli.data.recipes import rows_params
from w2s_cli.data.sources import fingerprint
from w2s_cli.data.transforms.pair import group, pair
from w2s_cli.errors import UserError
from w2s_cli.paths import PACKAGE
from w2s_cli.pipeline import kinds

POOLS = ("test", "weak_train", "strong_train")
MARKER = "\n\nAssistant:"
FIELDS: dict[str, Any] = {
    "text": None,
    "label": None,
    "template": "{first}",
    "second": "{second}",
    "transform": "pair",
    "options": {"marker": MARKER},
    "classes": ["first", "second"],
}


def dialogue(question: str, reply: str) -> str:
    return f"\n\nHuman: {question}{MARKER} {reply}"


def pairs(path: Path, **changes: Any) -> dict[str, Any]:
    return local(path, **{**FIELDS, **changes})


def some(count: int) -> list[dict[str, Any]]:
    """Two pairs to a question."""
    return [
        {"chosen": dialogue(f"q{i // 2}?", f"good {i}"), "rejected": dialogue(f"q{i // 2}?", f"bad {i}")}
        for i in range(count)
    ]


def test_a_pair_has_two_texts_and_class_1_means_that_the_second_is_better(tmp_path: Path) -> None:
    data = pairs(write_rows(tmp_path / "a.jsonl", some(600)))
    rows = [row for pool in POOLS for row in make(tmp_path / pool, data, pool)[0]]
    assert len(rows) == 600
    for row in rows:
        better, worse = (row["second"], row["text"]) if row["label"] else (row["text"], row["second"])
        assert "good" in better
        assert "bad" in worse
        assert better.partition(MARKER)[0] == worse.partition(MARKER)[0]
    assert abs(sum(row["label"] for row in rows) - 300) < 50  # 4 standard deviations


def test_the_order_in_a_pair_says_nothing_about_the_place_in_a_pool(tmp_path: Path) -> None:
    data = pairs(write_rows(tmp_path / "a.jsonl", some(600)), limits={"weak_train": 60})
    assert 15 < sum(row["label"] for row in make(tmp_path / "w", data, "weak_train")[0]) < 45


def test_a_transform_may_not_draw_what_decides_the_place_in_a_pool(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "data" / "transforms"
    folder.mkdir(parents=True)
    (folder / "late.py").write_text("def late(row, *, draw):\n    return {'label': int(draw('order') < 0.5)}\n")
    path = write_rows(tmp_path / "a.jsonl", numbered(60))
    data = local(path, transform="late", classes=["a", "b"], pools={"weak_train": 1.0})
    source = {"sha256": fingerprint(path, data["splits"])}
    params = rows_params(data, pool="weak_train", source=source, transform_file=folder / "late.py")
    execution = {"data_path": str(path), "folders": [str(tmp_path / "mine")]}
    with pytest.raises(UserError, match=r'late draws for "order".*another name'):
        run_stage(tmp_path / "1", params, execution)


def test_a_prompt_never_crosses_pools(tmp_path: Path) -> None:
    data = pairs(write_rows(tmp_path / "a.jsonl", some(600)))
    prompts = [{row["text"].partition(MARKER)[0] for row in make(tmp_path / p, data, p)[0]} for p in POOLS]
    groups = [{row["group"] for row in make(tmp_path / p, data, p)[0]} for p in POOLS]
    assert len(set.union(*prompts)) == sum(map(len, prompts)) == 300
    assert len(set.union(*groups)) == sum(map(len, groups)) == 300


def test_columns_that_are_named_group_before_the_transform_does(tmp_path: Path) -> None:
    rows = [{**row, "topic": i % 7} for i, row in enumerate(some(100))]
    data = pairs(write_rows(tmp_path / "a.jsonl", rows), group=["topic"], pools={"weak_train": 1.0})
    assert len({row["group"] for row in make(tmp_path / "w", data, "weak_train")[0]}) == 7


def test_pairs_that_compare_nothing_are_left_out(tmp_path: Path) -> None:
    odd = [
        {"chosen": dialogue("q", "same"), "rejected": dialogue("q", "same ")},
        {"chosen": dialogue("one", "a"), "rejected": dialogue("two", "b")},
        {"chosen": None, "rejected": dialogue("two", "b")},
    ]
    data = pairs(write_rows(tmp_path / "a.jsonl", some(60) + odd), pools={"weak_train": 1.0})
    rows, metrics = make(tmp_path / "w", data, "weak_train")
    assert len(rows) == 60
    assert metrics["dropped"] == {"left out by pair": 3}


def test_two_equal_columns_are_no_pair(tmp_path: Path) -> None:
    rows = numbered(60, other=lambda i: "text 7" if i == 7 else f"other {i}")
    data = local(write_rows(tmp_path / "a.jsonl", rows), second="{other}", pools={"weak_train": 1.0})
    found, metrics = make(tmp_path / "w", data, "weak_train")
    assert metrics["dropped"] == {"with two equal texts": 1}
    assert {(row["text"], row["second"]) for row in found} == {(f"text {i}", f"other {i}") for i in range(60) if i != 7}


def test_balanced_pairs_keep_both_texts_of_a_row(tmp_path: Path) -> None:
    rows = numbered(200, other=lambda i: f"other {i}", label=lambda i: int(i % 5 == 0))
    data = local(write_rows(tmp_path / "a.jsonl", rows), second="{other}", pools={"weak_train": 1.0}, balanced=True)
    found, metrics = make(tmp_path / "w", data, "weak_train")
    assert metrics["base_rates"] == {"0": 0.5, "1": 0.5}
    assert all(row["second"] == "other " + row["text"].split()[1] for row in found)


def test_scores_say_which_is_better_and_ties_are_left_out() -> None:
    def made(high: float, low: float, margin: float = 0.0) -> dict[str, Any] | None:
        row = {"chosen": "a", "rejected": "b", "s": high, "t": low}
        return pair(row, draw=lambda _: 0.9, scores=["s", "t"], margin=margin)

    assert made(2, 1) == {
        "first": "a", "second": "b", "prompt": "", "first_reply": "a", "second_reply": "b", "label": 0
    }  # fmt: skip
    turned = made(1, 2)
    assert turned is not None
    assert (turned["first"], turned["second"], turned["label"]) == ("b", "a", 0)
    assert made(1, 1) is None
    assert made(2, 1, margin=1.0) is None
    assert made(2.1, 1, margin=1.0) is not None


def test_chat_messages_become_one_dialogue() -> None:
    asked = [{"role": "user", "content": "Hi?"}]
    row = {
        "chosen": [*asked, {"role": "assistant", "content": "Hello."}],
        "rejected": [*asked, {"role": "assistant", "content": "No."}],
    }
    made = pair(row, draw=lambda _: 0.1)
    assert made == {
        "first": "\n\nHuman: Hi?\n\nAssistant: No.",
        "second": "\n\nHuman: Hi?\n\nAssistant: Hello.",
        "prompt": "\n\nHuman: Hi?\n\nAssistant:",
        "first_reply": " No.",
        "second_reply": " Hello.",
        "label": 1,
    }
    assert group(row) == [made["prompt"].strip()]


def test_without_a_prompt_the_two_responses_are_the_group_whichever_is_better() -> None:
    assert group({"chosen": "a", "rejected": "b"}) == group({"chosen": "b", "rejected": "a"}) == ["a", "b"]


def test_pairs_that_are_too_long_are_left_out() -> None:
    row = {"chosen": "a" * 10, "rejected": "b" * 11}
    assert pair(row, draw=lambda _: 0.1, longest=11) is not None
    assert pair(row, draw=lambda _: 0.1, longest=10) is None


def test_only_pairs_have_a_second_column_and_only_their_keys_know_of_it(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", numbered(60, other=lambda i: f"other {i}"))
    data = local(path)
    source = {"sha256": fingerprint(path, data["splits"])}
    single, double = (rows_params({**data, "second": s}, pool="test", source=source) for s in (None, "{other}"))
    assert "second" not in kinds.find("rows").identity_params(single)
    assert kinds.find("rows").identity_params(double)["second"] == "{other}"
    for name, params in (("single", single), ("double", double)):
        run_stage(tmp_path / name, params, {"data_path": str(path)})
    names = {name: pq.read_schema(tmp_path / name / "rows.parquet").names for name in ("single", "double")}
    assert names == {"single": ["id", "group", "text", "label"], "double": ["id", "group", "text", "label", "second"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"second": "{othr}"}, r'no column "othr" \(data\.second\).*Did you mean "other"'),
        ({"second": "words"}, r"data\.second .* names no column"),
        ({"second": "{other"}, r"data\.second .*written twice"),
        ({"second": "{other}", "classes": ["a", "b", "c"]}, "pairs .* (need|have) two classes"),
        ({"second": "{other}", "label": "three"}, "pairs .* (need|have) two classes"),
        ({"transform": "pair", "second": "{second}", "template": "{first}", "text": None, "classes": ["a", "b"]},
         'no column "chosen", which the transform pair asks for'),
    ],
)  # fmt: skip
def test_wrong_pair_settings_are_refused_with_advice(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    rows = numbered(60, other=lambda i: f"other {i}", three=lambda i: i % 3)
    data = local(write_rows(tmp_path / "a.jsonl", rows), **changes)
    with pytest.raises(UserError, match=message):
        make(tmp_path / "w", data, "test")


def test_real_pairs_of_hh_rlhf(tmp_path: Path) -> None:
    folder = real("hh_rlhf_harmless")
    splits = {"train": "single_turn_train_gt.jsonl.gz", "test": "single_turn_test.jsonl.gz"}
    data = pairs(folder, splits=splits, pools={"weak_train": 0.5, "strong_train": 0.5})
    source = {row["chosen"] for row in read_gz(folder / "single_turn_train_gt.jsonl.gz")}
    found = {pool: make(tmp_path / pool, data, pool) for pool in ("weak_train", "strong_train")}
    dropped = sum(sum(metrics["dropped"].values()) for _, metrics in found.values())
    assert sum(len(rows) for rows, _ in found.values()) + dropped == 4000
    assert dropped < 40  # identical answers and other prompts
    for rows, metrics in found.values():
        assert all((row["second"] if row["label"] else row["text"]) in source for row in rows)
        assert abs(metrics["base_rates"]["1"] - 0.5) < 0.05
    one, other = ({row["text"].partition(MARKER)[0] for row in rows} for rows, _ in found.values())
    assert not one & other


def report_of(folder: Path, data: dict[str, Any]) -> dict[str, Any]:
    tables = {pool: pa.Table.from_pylist(make(folder / pool, data, pool)[0]) for pool in POOLS}
    return check(tables, data["classes"])


def test_words_alone_find_a_leak_in_pairs_and_nothing_in_honest_ones(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = ["apple", "bread", "chair", "door", "earth", "flame", "grape", "house"]

    def rows(leak: str) -> list[dict[str, Any]]:
        return [
            {
                "chosen": dialogue(f"which one {i}?", " ".join(rng.choices(words, k=3)) + leak),
                "rejected": dialogue(f"which one {i}?", " ".join(rng.choices(words, k=3)) + " so"),
            }
            for i in range(1500)
        ]

    leaky = report_of(tmp_path / "leaky", pairs(write_rows(tmp_path / "a.jsonl", rows(" indeed"))))
    assert leaky["baseline"]["accuracy"] == 1.0
    assert {(tale["words"], tale["class"]) for tale in leaky["telltales"]} >= {("indeed", 1), ("so", 0)}
    assert any('"indeed" gives the label away' in p and p.endswith("are better") for p in leaky["problems"])
    honest = report_of(tmp_path / "honest", pairs(write_rows(tmp_path / "b.jsonl", rows(" so"))))
    assert honest["telltales"] == []
    assert honest["baseline"]["accuracy"] < 0.6


def test_turning_every_pair_round_turns_the_baseline_round() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(30)]
    rows = [bag_of_words.Features(set(rng.choice(words, 4)), set(rng.choice(words, 4))) for _ in range(300)]
    rows = [bag_of_words.Features(row.plus - row.minus, row.minus - row.plus) for row in rows]
    turned = [bag_of_words.Features(row.minus, row.plus) for row in rows]
    labels = np.array([int(min(row.plus | row.minus) in row.plus) for row in rows])
    weight = bag_of_words.vocabulary([{*row.plus, *row.minus} for row in rows])
    x, back = bag_of_words.matrix(rows, weight), bag_of_words.matrix(turned, weight)
    one, zero = bag_of_words.fit(x, labels, columns=len(weight), classes=2, bias=False)
    other, _ = bag_of_words.fit(back, 1 - labels, columns=len(weight), classes=2, bias=False)
    np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(x.times(one), -back.times(one), atol=1e-12)
    assert (zero == 0).all()
    assert ((x.times(one)).argmax(axis=1) == labels).mean() > 0.7


def test_a_pair_in_the_other_order_is_a_duplicate_and_contradicts_only_with_another_winner() -> None:
    def table(rows: list[tuple[str, str, int]]) -> pa.Table:
        first, second, label = zip(*rows, strict=True)
        ids = [f"{n}" for n in range(len(rows))]
        columns = {"id": ids, "group": ids, "text": list(first), "second": list(second)}
        return pa.table({**columns, "label": pa.array(label, pa.int32())})

    tables = {
        "weak_train": table([("a", "B b", 1), ("c", "d", 0)]),
        "test": table([("b  b", "A", 0), ("d", "c", 0), ("e", "f", 1)]),
    }
    found = check(tables, ["first", "second"], {"short": Reader(lambda texts: [len(t.split()) for t in texts], 1)})
    both = {"rows": 2, "share": 2 / 3}
    assert found["duplicates"] == {"test in weak_train": both, "test in the training pools": both}
    assert found["contradictions"] == 1
    assert found["truncation"]["short"]["rows"] == 2


def test_the_bundled_pairs_have_the_pools_of_their_recipe_and_no_question_twice(tmp_path: Path) -> None:
    data = recipe("hh_harmless_small")
    made = {pool: make(tmp_path / pool, data, pool) for pool in ("test", *data["pools"])}
    rows = {pool: found for pool, (found, _) in made.items()}
    assert sum(len(found) for pool, found in rows.items() if pool != "test") == data["expected"]["train"]
    assert len(rows["test"]) == data["expected"]["test"]
    questions = [{row["text"].partition("\n")[0].lower() for row in found} for found in rows.values()]
    assert len(set.union(*questions)) == sum(map(len, questions))
    assert all(not metrics["dropped"] for _, metrics in made.values())
    tables = {pool: pa.Table.from_pylist(found) for pool, found in rows.items()}
    found = check(tables, data["classes"])
    assert (found["duplicates"], found["crossings"], found["contradictions"], found["problems"]) == ({}, {}, 0, [])
    assert found["baseline"]["interval"][0] > 0.5  # words say something: there is a task


def test_the_bundled_pairs_are_what_their_script_makes(tmp_path: Path) -> None:
    folder, script = real("hh_rlhf_harmless"), Path(__file__).parents[3] / "scripts" / "make_hh_data.py"
    files = [str(folder / f"single_turn_{name}.jsonl.gz") for name in ("test", "train_w2s", "train_gt")]
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path), *files], check=True, capture_output=True)
    for split in ("train", "test"):
        bundled = PACKAGE / "bundled" / "data" / "hh_harmless" / f"{split}.jsonl.gz"
        assert gzip.decompress((tmp_path / bundled.name).read_bytes()) == gzip.decompress(bundled.read_bytes())
        assert bundled.stat().st_size < 1.5e6
