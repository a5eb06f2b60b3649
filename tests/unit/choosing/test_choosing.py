"""Every rule that chooses texts, on texts made by hand."""

from collections import Counter

import numpy as np
import pytest

from tests.unit.choosing.hand_made import named, shuffled, source, texts
from w2s_cli.choosing import Place, Source, majority
from w2s_cli.choosing.agreement import agreement
from w2s_cli.choosing.by_score import by_score
from w2s_cli.choosing.errors import errors
from w2s_cli.choosing.graded import graded
from w2s_cli.choosing.matched import matched
from w2s_cli.choosing.self_consistency import self_consistency
from w2s_cli.choosing.tidy import repeated, tidy
from w2s_cli.choosing.union import union
from w2s_cli.errors import UserError

WEAK = source("weak", {"a": ["1"], "b": ["2"], "c": [None], "d": ["4"], "e": [None], "f": ["6"]})
OWN = source("own", {"a": ["1"], "b": ["9"], "c": ["3"], "d": [None], "e": [None], "g": ["7"]})


@pytest.mark.parametrize(
    ("keep", "kept"), [("first", ["weak a 0"]), ("second", ["own a 0"]), ("both", ["weak a 0", "own a 0"])]
)
def test_agreement_keeps_rows_with_one_answer_and_no_answer_agrees_with_nothing(keep: str, kept: list[str]) -> None:
    given = texts(WEAK, OWN)
    chosen = agreement(given, keep=keep)  # type: ignore[arg-type]
    assert named(given, chosen.places) == kept
    assert chosen.diagnostics == {"compared": 5, "agreed": 1, "without an answer": 3}


def test_agreement_compares_first_samples_by_row_whatever_the_order_of_files() -> None:
    one = source("one", {"a": ["1", "2"], "b": ["3", "4"]})
    two = source("two", {"b": ["3", "0"], "a": ["2", "1"]})
    assert named(texts(one, two), agreement(texts(one, two)).places) == ["one b 0"]


@pytest.mark.parametrize("count", [1, 3])
def test_agreement_needs_two_sources_with_grades(count: int) -> None:
    with pytest.raises(
        UserError, match=rf"takes 2 sources \(the weak supervisor's texts .*, and the stage names {count}"
    ):
        agreement(texts(*[WEAK] * count))
    without = source("bare", {"a": ["1"]}, answers=None)
    with pytest.raises(
        UserError, match=r'name a grade stage for "bare" \(grades: \[STAGE, …\], one for each of texts\)'
    ):
        agreement(texts(WEAK, without))


def test_the_majority_is_of_all_samples_and_the_first_answer_wins_a_tie() -> None:
    own = source(
        "own",
        {
            "a": ["x", "y", "y", None, "x"],
            "b": [None, None],
            "c": ["z"],
            "d": [None, None, None, "w"],
            "e": ["q", "p", "p"],
        },
    )
    found = {row: majority(own, places) for row, places in own.by_row().items()}
    assert found["a"] == ("x", 0.4, [0, 4], [1, 2, 3])
    assert found["b"] == (None, 0.0, [], [5, 6])
    assert found["c"] == ("z", 1.0, [7], [])
    assert found["e"] == ("p", 2 / 3, [13, 14], [12])
    assert found["d"] == ("w", 0.25, [11], [8, 9, 10])  # more samples without an answer make no majority


def test_self_consistency_keeps_the_modal_answer_from_the_threshold_on() -> None:
    own = source(
        "own", {"half": ["1", "2", "1", "3"], "all": ["5"] * 4, "tied": ["8", "9"] * 2, "quarter": ["1", "2", "3", "4"], "no": [None] * 4}
    )  # fmt: skip
    given = texts(own)
    for threshold, rows in ((0.0, 4), (0.25, 4), (0.26, 3), (0.5, 3), (0.51, 1), (1.0, 1)):
        chosen = self_consistency(given, threshold=threshold)
        assert len(chosen.places) == rows
        assert chosen.diagnostics == {"below the threshold": 4 - rows, "without an answer": 1}
    assert named(given, self_consistency(given).places) == ["own half 0", "own all 0", "own tied 0", "own quarter 0"]
    assert named(given, self_consistency(given, threshold=0.5, most=2).places)[:2] == ["own half 0", "own half 2"]
    assert len(self_consistency(given, threshold=1.0, most=9).places) == 4


def test_self_consistency_takes_a_repeated_text_once() -> None:
    own = source("own", {"a": ["1", "1", "2", "1"]}, texts=["same", "same", "x", "other"])
    assert [place.at for place in self_consistency(texts(own), most=9).places] == [0, 3]


def test_every_row_keeps_one_text_where_texts_are_graded_and_nothing_votes_for_the_first_sample() -> None:
    own = source(
        "own", {"a": ["1", "2", "2"], "no": [None, None, None], "b": [None, "3"]}, scores=[3, 2, 2, 0, 5, 7, 8, 0]
    )
    given = texts(own)
    for how, best in (("max", "own a 0"), ("sum", "own a 1")):
        chosen = by_score(given, how=how, every_row=True)  # type: ignore[arg-type]
        assert named(given, chosen.places) == [best, "own no 0", "own b 1"]
        assert chosen.diagnostics == {"without an answer": 0}
        learned = by_score(given, how=how)  # type: ignore[arg-type]
        assert (named(given, learned.places), learned.diagnostics) == ([best, "own b 1"], {"without an answer": 1})
    for limits in ({}, {"threshold": 0.9, "most": 2}):
        voted = self_consistency(given, **limits, every_row=True)  # type: ignore[arg-type]
        assert named(given, voted.places) == ["own a 1", "own no 0", "own b 1"]
        assert voted.diagnostics == {"below the threshold": 0, "without an answer": 0}


def test_graded_needs_the_truth_and_a_text_without_an_answer_is_neither() -> None:
    own = source("own", {"a": ["1", "2"], "b": [None, "4"]}, right=[True, False, False, True])
    given = texts(own, source("more", {"a": ["3"]}, right=[False]))
    right, wrong = graded(given), graded(given, keep="wrong")
    assert (named(given, right.places), right.diagnostics) == (["own a 0", "own b 1"], {"not right": 3})
    assert (named(given, wrong.places), wrong.diagnostics) == (["own a 1", "more a 0"], {"not wrong": 3})
    for rule in (graded, errors):
        with pytest.raises(UserError, match="its file must say NEEDS_TRUTH = True"):
            rule(texts(source("own", {"a": ["1"]})))
        with pytest.raises(UserError, match='name a grade stage for "own"'):
            rule(texts(source("own", {"a": ["1"]}, answers=None, right=[True])))


def test_errors_have_exact_counts_and_a_larger_rate_has_the_rows_of_a_smaller_one() -> None:
    rows = [f"r{number}" for number in range(41)]
    both = source(
        "own", {**{row: ["1", "2", "3"] for row in rows}, "right only": ["1"], "wrong only": ["2"], "empty": ["1", None]},
        right=[*[True, False, False] * 41, True, False, True, False],
    )  # fmt: skip
    given, before = texts(both), set[str]()
    for rate in (0.0, 0.1, 0.25, 0.5, 0.77, 1.0):
        chosen = errors(given, rate=rate)
        assert chosen.diagnostics == {"rows with both": 41, "wrong": round(rate * 41)}
        samples = {both.ids[place.at]: both.samples[place.at] for place in chosen.places}
        assert len(chosen.places) == len(samples) == 41
        mistaken = {row for row, sample in samples.items() if sample == 1}
        assert len(mistaken) == round(rate * 41)
        assert set(samples.values()) <= {0, 1}  # the first right and the first wrong text
        assert before <= mistaken
        before = mistaken
    other = errors(texts(both, seed=1), rate=0.5)
    assert {place for place in other.places} != {place for place in errors(given, rate=0.5).places}
    assert errors(given, rate=0.5, seed=1).places == other.places  # a draw of the rule's own


def test_matched_takes_as_many_rows_or_tokens_as_the_other_has() -> None:
    tokens = [3, 9, 4, 6, 5, 2, 8, 7]
    large = source("large", {f"r{number}": ["1"] for number in range(8)}, tokens=tokens)
    small = source("small", {"r0": ["1", "1"], "r1": ["1"]}, tokens=[10, 4, 6])
    given = texts(large, small)
    rows = matched(given)
    assert (len(rows.places), rows.diagnostics) == (3, {"matched": 3, "taken": 3})
    by_tokens = matched(given, by="tokens")
    taken = sum(tokens[place.at] for place in by_tokens.places)
    assert by_tokens.diagnostics == {"matched": 20, "taken": taken}
    assert 20 - max(tokens) < taken <= 20
    shorter = min(len(rows.places), len(by_tokens.places))
    assert list(rows.places)[:shorter] == list(by_tokens.places)[:shorter]  # one drawn order
    assert {place.source for place in [*rows.places, *by_tokens.places]} == {0}
    assert len(matched(texts(small, large)).places) == 3  # no more than there are
    draws = {tuple(matched(texts(large, small, seed=seed)).places) for seed in range(5)}
    assert len(draws) > 1


def test_tidy_leaves_out_cut_looping_short_and_long_texts_and_counts_each_once() -> None:
    loop = "so we have it that this is so again " * 4
    own = source(
        "own", {f"r{number}": ["1"] for number in range(6)}, texts=["a fine text", loop, loop, "", "b", "c " * 9],
        tokens=[3, 36, 36, 0, 1, 900], whole=[True, True, False, True, True, True],
    )  # fmt: skip
    given = texts(own)
    chosen = tidy(given, longest=100)
    assert [place.at for place in chosen.places] == [0, 4]
    assert chosen.diagnostics == {"cut": 1, "loop": 1, "too short": 1, "too long": 1}
    assert [place.at for place in tidy(given, cut=True, repeats=1.0, shortest=2).places] == [0, 1, 2, 5]
    assert [place.at for place in tidy(given, cut=True, shortest=3, longest=36).places] == [0]


def test_the_repeated_share_counts_word_sequences_that_stood_before() -> None:
    assert repeated("a b c d", 2) == 0
    assert repeated("a b a b a b", 2) == pytest.approx(3 / 5)  # ab ba ab ba ab: two different ones of five
    assert repeated("a b", 8) == 0
    assert repeated("", 1) == 0
    assert repeated("x x x x", 1) == 0.75


def test_union_has_all_texts_and_equal_ones_of_a_row_once() -> None:
    one = source("one", {"a": ["1", "2"], "b": ["3"]}, texts=["same", "same", "same"])
    two = source("two", {"a": ["1"], "c": ["4"]}, texts=["same", "new"], answers=None)
    chosen = union(texts(one, two))
    assert chosen.places == [Place(0, 0), Place(0, 2), Place(1, 1)]
    assert chosen.diagnostics == {"repeated": 2}


def test_no_order_of_texts_or_rows_changes_what_is_chosen() -> None:
    rows = [f"r{number}" for number in range(60)]
    draw = np.random.default_rng(0)
    own = source("own", {row: [str(draw.integers(3))] for row in rows}, right=draw.random(60) < 0.5, tokens=[4] * 60)
    second = source("two", {row: [str(draw.integers(3))] for row in rows}, right=draw.random(60) < 0.5)

    def chosen(first: Source, other: Source, order: list[str]) -> list[Counter[str]]:
        given = texts(first, other, rows=order)
        found = [
            errors(given, rate=0.3),
            matched(texts(first, source("m", {"r0": ["1"] * 20}), rows=order)),
            agreement(given),
        ]
        return [Counter(named(given, one.places)) for one in found]

    assert chosen(own, second, rows) == chosen(shuffled(own), shuffled(second, 1), rows[::-1])
