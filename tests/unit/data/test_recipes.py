"""Every recipe of configs/data: it makes the texts and labels that it promises of rows as the source documents them, and of real ones."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data_schemas import PROBLEMS, SCHEMAS, Row
from tests.data_sets import Result, make, read_gz, real, recipe
from w2s_cli.data.pools import POOLS
from w2s_cli.data.recipes import drift
from w2s_cli.data.transforms.choice import choice
from w2s_cli.data.transforms.lettered import lettered
from w2s_cli.data.transforms.reply import reply
from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, load_grader
from w2s_cli.paths import configs_folder

ROWS = 120
OWN = ("local", "lichess", "lichess_moves")  # tested by themselves


def names() -> list[str]:
    """The data sets of configs/data that are tested here by hand-made rows."""
    every = sorted(path.stem for path in (configs_folder() / "data").glob("*.yaml"))
    return [name for name in every if name not in OWN and not recipe(name)["prompt"]]


def of_problems() -> list[str]:
    """The data sets of configs/data whose answers are texts."""
    every = sorted(path.stem for path in (configs_folder() / "data").glob("*.yaml"))
    return [name for name in every if name not in OWN and recipe(name)["prompt"]]


def written(folder: Path, data: dict[str, Any], row: Callable[[int], Row]) -> dict[str, list[Row]]:
    """Write `ROWS` rows to the files of the recipe's splits; role → the rows as they are read."""
    folder.mkdir()
    found = {}
    for role, split in data["splits"].items():
        if split is None:
            continue
        rows = [row(i + (1000 if role == "test" else 0)) for i in range(ROWS)]
        if "*" in split:
            half = ROWS // 2
            for number, part in enumerate((rows[:half], rows[half:])):
                rows[number * half : number * half + half] = [{"file": f"part{number}", **r} for r in part]
                save(folder / split.replace("*", f"part{number}"), part)
        else:
            save(folder / (split if "." in split else f"{split}.jsonl"), rows)
        found[role] = rows
    return found


def save(path: Path, rows: list[Row]) -> None:
    import gzip

    path.parent.mkdir(exist_ok=True, parents=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def every_pool(folder: Path, data: dict[str, Any]) -> dict[str, Result]:
    """All pools that the recipe gives rows."""
    used = [pool for pool in POOLS if data["pools"].get(pool) or (pool == "test" and data["splits"].get("test"))]
    return {pool: make(folder / f"pool-{pool}", data, pool) for pool in used}


def test_every_data_set_has_hand_made_rows() -> None:
    assert names() == sorted(SCHEMAS)
    assert of_problems() == sorted(PROBLEMS)


@pytest.mark.parametrize("name", names())
def test_rows_of_the_documented_fields_become_the_promised_texts_and_labels(tmp_path: Path, name: str) -> None:
    row, texts = SCHEMAS[name]
    data = {**recipe(name), "balanced": False, "path": str(tmp_path / "source"), "limits": {}, "id": None}
    source = written(tmp_path / "source", data, row)
    made = every_pool(tmp_path, data)
    assert {"weak_train", "strong_train", "test"} <= set(made)
    for pool, (rows, metrics) in made.items():
        assert not metrics["dropped"]
        for found in rows:
            role, number = found["id"].split("-")
            allowed = texts(source[role][int(number)])
            shown = (found["text"], found["second"]) if data["second"] else found["text"]
            assert shown in allowed[found["label"]], (pool, found, allowed)
    assert sum(len(rows) for rows, _ in made.values()) == sum(map(len, source.values()))
    kept = [rows for pool, (rows, _) in made.items() if not (pool == "test" and data["splits"].get("test"))]
    groups = [{found["group"] for found in rows} for rows in kept]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert {found["label"] for rows in kept for found in rows} == {0, 1}


@pytest.mark.parametrize("name", of_problems())
def test_rows_of_the_documented_fields_become_the_promised_problems(tmp_path: Path, name: str) -> None:
    row, parts = PROBLEMS[name]
    data = {**recipe(name), "path": str(tmp_path / "source"), "limits": {}, "id": None}
    if data["hub"] == "EleutherAI/hendrycks_math":  # the hub's files are parquet
        data["splits"] = {role: split.replace("parquet", "jsonl") for role, split in data["splits"].items()}
    source = written(tmp_path / "source", data, row)
    made = every_pool(tmp_path, data)
    assert {"test"} if name == "math500" else {"weak_train", "strong_train", "test"} <= set(made)
    for rows, metrics in made.values():
        assert not metrics["dropped"]
        assert not metrics["classes"]
        for found in rows:
            role, number = found["id"].split("-")
            promised = parts(source[role][int(number)])
            assert {part: found.get(part) for part in promised} == promised
            assert "label" not in found
    assert sum(len(rows) for rows, _ in made.values()) == sum(map(len, source.values()))
    groups = [{found["group"] for found in rows} for pool, (rows, _) in made.items() if pool != "test"]
    assert len(set[str]().union(*groups)) == sum(map(len, groups))
    graded_by_the_recipe(data, made)


def graded_by_the_recipe(data: dict[str, Any], made: dict[str, Result]) -> None:
    """The grader of a recipe reads every right answer, and finds every solution right."""
    if not data["answer"]:
        return
    grader = load_grader({"name": data["grader"], "args": {}})
    for rows, _ in made.values():
        for found in rows:
            problem = Problem(found["prompt"], found["answer"])
            grade = grader.grade(found["solution"], problem, grader.answer(problem))
            assert (grade.outcome, grade.well_formed) == ("right", True), found


@pytest.mark.parametrize("name", [name for name in names() if recipe(name)["balanced"]])
def test_pools_are_balanced_where_the_recipe_says_so(tmp_path: Path, name: str) -> None:
    row, _ = SCHEMAS[name]
    data = {**recipe(name), "path": str(tmp_path / "source")}
    written(tmp_path / "source", data, row)
    metrics = make(tmp_path / "pool", data, "weak_train")[1]
    assert metrics["base_rates"] == {"0": 0.5, "1": 0.5}


@pytest.mark.parametrize(
    "name", ["dream", "multirc", "hellaswag", "ethics_virtue", "hh_harmless", "social_i_qa", "mc_taco"]
)
def test_rows_that_share_a_passage_or_a_prompt_are_one_group(tmp_path: Path, name: str) -> None:
    row, _ = SCHEMAS[name]
    data = {**recipe(name), "balanced": False, "path": str(tmp_path / "source"), "limits": {}}
    written(tmp_path / "source", data, row)
    groups: dict[int, set[str]] = {}
    for pool in ("weak_train", "strong_train"):
        for found in make(tmp_path / pool, data, pool)[0]:
            groups.setdefault(int(found["id"].split("-")[1]) // 2, set()).add(found["group"])
    assert len(groups) == ROWS // 2
    assert all(len(group) == 1 for group in groups.values())


def test_wts_safety_reads_a_csv_file(tmp_path: Path) -> None:
    with (tmp_path / "safety.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "is_safe"])
        table.writerows([f"How, say, {i}?\n", i % 3 == 0] for i in range(300))
    data = recipe("wts_safety", path=str(tmp_path / "safety.csv"))
    found = every_pool(tmp_path, data)
    assert sum(len(rows) for rows, _ in found.values()) == 300
    assert all(
        (int(row["text"].split()[-1][:-1]) % 3 == 0) == row["label"] for rows, _ in found.values() for row in rows
    )


def test_options_are_counted_from_the_number_that_the_recipe_gives() -> None:
    row = {"a": "x", "b": "y", "label": "2", "text": "2"}
    draw = lambda _: 0.1  # noqa: E731
    shown = [choice(row, draw=draw, choices=["a", "b"], answer="label", first=first) for first in (1, 2)]
    assert [found and found["answer"] for found in shown] == ["y", "x"]
    assert choice(row, draw=draw, choices=["a", "b"], answer="label") is None  # there is no option 2
    exact = choice({**row, "a": "7", "b": "2"}, draw=draw, choices=["a", "b"], answer="text", by_text=True)
    assert exact is not None
    assert exact["answer"] == "2"
    assert choice(row, draw=draw, choices=["a", "b"], answer="text", by_text=True) is None


def test_a_drift_of_size_or_base_rate_is_reported_and_chance_is_not() -> None:
    expected = {"train": 100, "base_rate": {"train": 0.62, "test": 0.5}}
    assert drift(expected, split="train", rows=100, base_rate=0.635, counted=10_000) == []
    assert "62.0%" in drift(expected, split="train", rows=100, base_rate=0.66, counted=10_000)[0]
    assert drift(expected, split="train", rows=100, base_rate=0.66, counted=500) == []
    assert "written for 100" in drift(expected, split="train", rows=99, base_rate=0.62, counted=99)[0]
    assert drift(expected, split="test", rows=7, base_rate=0.9, counted=7) == []
    assert len(drift({"base_rate": 0.5}, split="test", rows=900, base_rate=0.9, counted=900)) == 1
    assert drift(None, split="test", rows=7, base_rate=0.9, counted=900) == []


def test_the_rows_stage_reports_a_drifted_base_rate_also_of_balanced_pools(tmp_path: Path) -> None:
    rows = [{"sentence": f"s {i}", "label": int(i % 5 == 0)} for i in range(2000)]
    for split in ("train", "validation"):
        save(tmp_path / "source" / f"{split}.jsonl", rows)
    data = recipe("cola", path=str(tmp_path / "source"))
    metrics = make(tmp_path / "w", data, "weak_train", expected={"train": 2000, "base_rate": 0.7})[1]
    assert metrics["base_rates"]["1"] == 0.5
    assert abs(metrics["usable"]["base_rates"]["1"] - 0.2) < 0.05
    assert "written for 70.0%" in (tmp_path / "w/log.txt").read_text()


# --- real rows

HALF = {"splits": {"train": "validation", "test": None}, "pools": {"test": 0.4, "weak_train": 0.3, "strong_train": 0.3}}
REAL: dict[str, tuple[str, dict[str, Any]]] = {  # recipe → (folder of real rows, what differs from the hub's form)
    "boolq": ("boolq", {**HALF, "label": "label"}),
    "cosmos_qa": ("cosmos_qa", HALF),
    "openbookqa": ("openbookqa", {}),
    "piqa": ("piqa", HALF),
    "ethics_deontology": ("ethics_deontology", {}),
    "ethics_justice": ("ethics_justice", {}),
    "ethics_utilitarianism": ("ethics_utilitarianism", {"options": {"options": ["baseline", "less_pleasant"]}}),
    "commonsense_qa_2": ("commonsense_qa_2", {}),
    "rotten_tomatoes": ("rotten_tomatoes", {}),
    "anthropic_persona": (
        "anthropic_evals_persona",
        {"splits": {"train": "train", "test": "test"}, "template": "Persona: {persona}\nStatement: {statement}", "label": "label",
         "pools": {"weak_train": 0.5, "strong_train": 0.5}},
    ),
    "hh_harmless": (
        "hh_rlhf_harmless",
        {"splits": {"train": "single_turn_train_gt.jsonl.gz", "test": "harmless_base_test.jsonl.gz"}},
    ),
}  # fmt: skip
MAY_DROP = 0.01  # of the rows
DROPS = {"cosmos_qa": 0.2}  # questions whose right answer is "none of the above"


@pytest.mark.parametrize("name", REAL)
@pytest.mark.slow
def test_real_rows_have_the_sizes_and_base_rates_of_the_recipe(tmp_path: Path, name: str) -> None:
    folder, changes = REAL[name]
    data = {**recipe(name, **{**changes, "path": str(real(folder))}), "balanced": False, "limits": {}}
    found = every_pool(tmp_path, data)
    of_train = [result for pool, result in found.items() if not (pool == "test" and data["splits"]["test"])]
    source = of_train[0][1]["source_rows"]
    dropped = sum(sum(metrics["dropped"].values()) for _, metrics in of_train)
    assert sum(len(rows) for rows, _ in of_train) + dropped == source
    assert dropped <= DROPS.get(name, MAY_DROP) * source
    groups = [{row["group"] for row in rows} for rows, _ in of_train]
    assert len(set.union(*groups)) == sum(map(len, groups))
    rates = {"base_rate": (data["expected"] or {}).get("base_rate")}
    part = (
        name in ("hh_harmless", "anthropic_persona") or changes.get("splits") == HALF["splits"]
    )  # not all rows are here
    known = rates if part else {**rates, **data["expected"]}
    for pool, (_, metrics) in found.items():
        split = "test" if pool == "test" and data["splits"]["test"] else "train"
        usable = metrics["usable"]
        assert drift(
            known, split=split, rows=metrics["source_rows"], base_rate=usable["base_rates"]["1"], counted=usable["rows"]
        ) == []  # fmt: skip


OF_PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "gsm8k": ("gsm8k", {}),
    "arc_text": ("arc_challenge", {"options": {"choices": "choices", "answer": "label"}}),
    "openbookqa_text": ("openbookqa", {}),
    "arithmetic": ("bundled", {"path": "bundled:data/arithmetic"}),
}


@pytest.mark.parametrize("name", OF_PROBLEMS)
def test_real_problems_have_the_sizes_of_the_recipe_and_right_solutions(tmp_path: Path, name: str) -> None:
    folder, changes = OF_PROBLEMS[name]
    data = {**recipe(name, **{"path": None if folder == "bundled" else str(real(folder)), **changes}), "limits": {}}
    made = every_pool(tmp_path, data)
    of_train = [result for pool, result in made.items() if pool != "test"]
    assert not any(metrics["dropped"] for _, metrics in made.values())
    assert sum(len(rows) for rows, _ in of_train) == data["expected"]["train"]
    assert len(made["test"][0]) == data["expected"]["test"]
    groups = [{row["group"] for row in rows} for rows, _ in of_train]
    assert len(set.union(*groups)) == sum(map(len, groups))
    graded_by_the_recipe(data, made)


def test_real_solutions_of_gsm8k_have_no_calculator_marks(tmp_path: Path) -> None:
    rows, _ = make(tmp_path / "t", recipe("gsm8k", path=str(real("gsm8k"))), "test")
    source = read_gz(real("gsm8k") / "test.jsonl.gz")
    assert sum("<<" in row["answer"] for row in source) > 1000
    for row in rows:
        assert not {"<<", ">>"} & {row["solution"][at : at + 2] for at in range(len(row["solution"]))}
        last = source[int(row["id"].split("-")[1])]["answer"].split("#### ")[1]
        assert row["solution"].endswith(f"#### {last}")


def test_real_chess_puzzles_become_positions_with_a_legal_best_move(tmp_path: Path) -> None:
    chess = pytest.importorskip("chess")
    splits, pools = {"train": "train", "test": "test"}, {"weak_train": 0.5, "strong_train": 0.5}
    data = recipe("lichess_moves", path=str(real("lichess_puzzles")), splits=splits, pools=pools, limits={"test": 400})
    rows, metrics = make(tmp_path / "t", data, "test")
    assert len(rows) == 400
    assert set(metrics["levels"]) == {"1", "2", "3", "4"}
    source = read_gz(real("lichess_puzzles") / "test.jsonl.gz")
    for row in rows:
        puzzle = source[int(row["id"].split("-")[1])]
        board = chess.Board(puzzle["FEN"])
        first, solution = puzzle["Moves"].split()[:2]
        board.push_uci(first)
        assert row["prompt"] == f"Position: {board.fen()}\nBest move:"
        assert board.parse_san(row["answer"]).uci() == solution
        rating = int(puzzle["Rating"])
        assert row["level"] == ("1" if rating < 1000 else "2" if rating < 1500 else "3" if rating < 2000 else "4")
    graded_by_the_recipe(data, {"test": (rows, metrics)})
    computer = {**data, "options": {"notation": "computer"}}
    assert {len(row["answer"]) for row in make(tmp_path / "c", computer, "test")[0]} <= {4, 5}


def test_a_puzzle_without_a_solution_or_a_rating_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("chess")
    start = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
    rows = [{"FEN": start, "Moves": "e2e4 e7e5", "Rating": rating} for rating in (900, 1000, None)]
    rows += [
        {"FEN": start, "Moves": moves, "Rating": 900} for moves in ("e2e5 e7e5", "e2e4 e7e4", "e2e4", "no moves", None)
    ]
    rows += [{"FEN": "no board", "Moves": "e2e4 e7e5", "Rating": 900}]
    save(tmp_path / "source" / "train.jsonl", rows)
    data = recipe("lichess_moves", path=str(tmp_path / "source"), group=[], limits={}, pools={"weak_train": 1.0})
    made, metrics = make(tmp_path / "w", data, "weak_train")
    assert sorted((row["answer"], row["level"]) for row in made) == [("e5", "1"), ("e5", "2")]
    assert metrics["dropped"] == {"left out by best_move": 6, "without a level (column level)": 1}


def test_options_are_lettered_in_order_whatever_the_source_calls_them() -> None:
    made = lettered({"c": ["ice\n cream", "fire!"], "a": 2}, draw=lambda _: 0.1, choices="c", answer="a", first=1)
    assert made == {"listed": "A) ice cream\nB) fire!", "letter": "B", "solution": "The answer is B) fire!"}
    by_text = lettered(
        {"x": "ice", "y": "fire", "a": "ice"}, draw=lambda _: 0.1, choices=["x", "y"], answer="a", by_text=True
    )
    assert by_text is not None
    assert by_text["solution"] == "The answer is A) ice."
    for row in (
        {"c": ["ice", "fire"], "a": 2},
        {"c": ["ice"], "a": 0},
        {"c": None, "a": 0},
        {"c": ["ice", "fire"], "a": None},
    ):
        assert lettered(row, draw=lambda _: 0.1, choices="c", answer="a") is None


def test_a_chat_that_does_not_end_with_the_assistant_is_left_out() -> None:
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert reply({"chosen": said}, draw=lambda _: 0.1, messages="chosen") == {"reply": "So."}
    for messages in (said[:1], [], None):
        assert reply({"chosen": messages}, draw=lambda _: 0.1, messages="chosen") is None


def test_real_chess_puzzles_show_the_solution_and_a_legal_move(tmp_path: Path) -> None:
    chess = pytest.importorskip("chess")
    folder = real("lichess_puzzles")
    splits, pools = {"train": "train", "test": "test"}, {"weak_train": 0.5, "strong_train": 0.5}
    data = recipe("lichess", path=str(folder), splits=splits, pools=pools, limits={"test": 400})
    rows, metrics = make(tmp_path / "t", data, "test")
    assert len(rows) == 400
    assert abs(metrics["base_rates"]["1"] - 0.5) < 0.1
    source = read_gz(folder / "test.jsonl.gz")
    places = set()
    for row in rows:
        puzzle = source[int(row["id"].split("-")[1])]
        fen, one, two, shown = row["text"].split("\n")
        first, solution = puzzle["Moves"].split()[:2]
        board = chess.Board(puzzle["FEN"])
        board.push_uci(first)
        moves = [one.removeprefix("1) "), two.removeprefix("2) ")]
        assert board.fen() == fen
        assert all(board.is_legal(chess.Move.from_uci(move)) for move in moves)
        assert moves.count(solution) == 1
        place = int(shown.removeprefix("A: ")) - 1
        assert (moves[place] == solution) == row["label"]
        wrong = chess.Move.from_uci(moves[1 - moves.index(solution)])
        board.push(wrong)
        assert not board.is_checkmate()
        places.add((moves.index(solution), row["label"]))
    assert len(places) == 4


def test_a_puzzle_that_is_none_is_left_out() -> None:
    pytest.importorskip("chess")
    from w2s_cli.data.transforms.legal_move import legal_move

    start = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
    fine = legal_move({"FEN": start, "Moves": "e2e4 e7e5"}, draw=lambda _: 0.1)
    assert fine is not None
    assert "e7e5" in (fine["one"], fine["two"])
    for moves in ("e2e5 e7e5", "e2e4 e7e4", "e2e4", "no moves", None):
        assert legal_move({"FEN": start, "Moves": moves}, draw=lambda _: 0.1) is None
    assert legal_move({"FEN": "no board", "Moves": "e2e4 e7e5"}, draw=lambda _: 0.1) is None


def test_without_the_chess_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from w2s_cli.data.transforms.best_move import best_move
    from w2s_cli.data.transforms.legal_move import legal_move

    monkeypatch.setitem(sys.modules, "chess", None)
    for transform in (legal_move, best_move):
        with pytest.raises(UserError, match="pip install chess"):
            transform({"FEN": "x", "Moves": "y"}, draw=lambda _: 0.1)
