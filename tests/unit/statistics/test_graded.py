"""Graded answers: accuracy over samples, pass@k, majorities, the floor of the ratio, levels, intervals."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from w2s_cli.statistics.figures import Integers
from w2s_cli.statistics.graded import Answers, majority_right, pass_at, report, votes_right
from w2s_cli.statistics.intervals import share_interval


def answers(right: list[list[int]], samples: int = 1) -> Answers:
    """One role; `right` is [seeds][rows]."""
    counts = np.array(right, dtype=np.int64)
    full = np.full_like(counts, samples)
    said = np.array([["4"] * count + ["5"] * (samples - count) for count in counts.flatten()], dtype=object)
    votes = votes_right(said, said == "4").reshape(*counts.shape, -1)
    return Answers(counts, full, np.zeros_like(counts), full * 7, full, votes)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("right", range(6))
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_with_a_right_one(k: int, right: int) -> None:
    samples = [1] * right + [0] * (5 - right)
    choices = list(combinations(samples, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert pass_at(k, np.array([[right]]), np.array([[5]]))[0, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "right", "expected"),
    [
        (["4", "5", "4"], [True, False, True], True),
        (["5", "4", "5"], [False, True, False], False),
        (["4", "5"], [True, False], True),  # a tie goes to the first
        (["5", "4"], [False, True], False),
        (["", "", "4"], [False, False, True], True),  # no answer has no vote
        (["", ""], [False, False], False),
    ],
)
def test_the_majority_is_the_most_frequent_answer_and_no_answer_has_no_vote(
    said: list[str], right: list[bool], expected: bool
) -> None:
    assert majority_right(np.array([said], dtype=object), np.array([right])).tolist() == [expected]


def test_maj_at_k_is_the_share_of_whole_groups_of_k_samples_whose_majority_is_right() -> None:
    said = np.array([["4", "5", "4", "4", "5", "5", "4"]], dtype=object)
    right = said == "4"
    # 1: 4 of 7; 2: the groups 45, 44, 55 (the last 4 is in none), of which a tie goes to the first; 5: 45445; 7: all
    assert votes_right(said, right).tolist() == [[pytest.approx(4 / 7), pytest.approx(2 / 3), 1.0, 1.0]]


def roles(floor: str = "weak", levels: list[str] | None = None) -> dict[str, Any]:
    generator = np.random.default_rng(0)

    def drawn(share: float) -> Answers:
        return answers((generator.random((3, 200)) < share).astype(int).tolist())

    by_role = {"weak": drawn(0.3), "student": drawn(0.6), "ceiling": drawn(0.8), "untuned": drawn(0.1)}
    return report(by_role, levels, floor=floor, draws=500, confidence=0.95, redrawn=True)


@pytest.mark.parametrize("floor", ["weak", "untuned"])
def test_the_recovered_gap_starts_from_the_floor_that_the_method_names(floor: str) -> None:
    metrics = roles(floor)
    blocks = {**metrics, **metrics["others"]}
    low, student, ceiling = (blocks[role]["accuracy"] for role in (floor, "student", "ceiling"))
    pgr = metrics["pgr"]
    assert pgr["value"] == pytest.approx((student - low) / (ceiling - low))
    assert pgr["interval"][0] < pgr["value"] < pgr["interval"][1]
    gain = metrics["differences"]["student_minus_untuned"]
    assert gain["value"] == pytest.approx(blocks["student"]["accuracy"] - blocks["untuned"]["accuracy"])


def test_levels_split_the_accuracy_of_every_role() -> None:
    levels = [str(1 + row % 12) for row in range(200)]
    metrics = roles(levels=levels)
    split = metrics["levels"]
    assert list(split) == [str(level) for level in range(1, 13)]  # 10 comes after 9
    rows = {level: figures["rows"] for level, figures in split.items()}
    weighted = sum(figures["student"] * rows[level] for level, figures in split.items()) / 200
    assert weighted == pytest.approx(metrics["student"]["accuracy"])


def test_one_greedy_text_has_the_interval_of_a_share_and_several_samples_one_within_zero_and_one() -> None:
    right = [[1, 0, 1, 1] * 25]
    greedy = report({"student": answers(right)}, None, floor="weak", draws=500, confidence=0.95)["student"]
    cells = np.array(right, dtype=np.float64)
    assert greedy["interval"] == pytest.approx(share_interval(cells, np.ones_like(cells), 0.95, 500))
    several = report({"student": answers([[4, 1, 4, 4] * 25], 4)}, None, floor="weak", draws=500, confidence=0.95)[
        "student"
    ]
    assert several["accuracy"] == pytest.approx(13 / 16)
    assert 0 <= several["interval"][0] < 13 / 16 < several["interval"][1] <= 1
    assert several["texts"]["pass_at"] == {"1": pytest.approx(13 / 16), "2": pytest.approx(0.875), "4": 1.0}
    assert several["texts"]["majority_at"] == {"1": pytest.approx(13 / 16), "2": pytest.approx(0.875), "4": 0.75}
    assert several["texts"]["majority"] == 0.75


def test_seeds_are_joined_row_by_row() -> None:
    first, second = answers([[1, 0, 0]]), answers([[1, 1, 0]])
    joined = Answers.joined([first, second])
    assert joined.cells.tolist() == [[1, 0, 0], [1, 1, 0]]
    right: Integers = joined.right
    assert right.shape == (2, 3)
