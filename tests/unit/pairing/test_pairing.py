"""Every rule that makes pairs, on texts made by hand; the paper's against a second implementation of its description."""

import random
from collections import Counter

import pytest

from tests.unit.choosing.hand_made import shuffled, source, texts
from w2s_cli.choosing import Texts
from w2s_cli.errors import UserError
from w2s_cli.pairing import Paired
from w2s_cli.pairing.ranked import ranked
from w2s_cli.pairing.scored import scored
from w2s_cli.pairing.weak_side import weak_side


def named(given: Texts, paired: Paired) -> list[tuple[str, str]]:
    """(chosen, rejected) of each pair."""
    return [(given.sources[a.source].texts[a.at], given.sources[b.source].texts[b.at]) for a, b in paired.pairs]


def drawn_texts(rows: int = 600, samples: int = 10, seed: int = 0) -> Texts:
    """Rows from easy to hopeless: the student's samples are right with a chance of their own, and so is the weak answer."""
    draw = random.Random(seed)
    weak: dict[str, list[str | None]] = {}
    own: dict[str, list[str | None]] = {}
    for number in range(rows):
        sure = draw.random()

        def said(sure: float = sure) -> str | None:
            if draw.random() < 0.05:
                return None
            return "right" if draw.random() < sure else f"wrong {draw.randrange(3)}"

        own[f"r{number}"] = [said() for _ in range(samples)]
        weak[f"r{number}"] = [said()]
    return texts(source("weak", weak), source("own", own), seed=seed)


def stage_two(weak: str | None, samples: list[str | None], low: float, high: float) -> tuple[str, list[int]] | str:
    """Yang et al. 2024, stage II, from its description: (which side is the weak text's, the samples that may be the other side)."""
    said = [answer or "" for answer in samples]
    modal = max(dict.fromkeys(said), key=said.count)
    confidence = said.count(modal) / len(said)
    if confidence < low or modal == "":
        return "no majority"
    positive = [at for at, answer in enumerate(said) if answer == modal]
    negative = [at for at, answer in enumerate(said) if answer != modal]
    if weak is None:
        return "no weak answer"
    if weak == modal:
        return ("weak chosen", negative) if negative else "too easy"
    return ("weak rejected", positive) if confidence >= high else "unsure"


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize(("low", "high"), [(0.6, 0.8), (0.5, 0.5), (0.7, 1.0)])
def test_weak_side_is_the_papers_second_stage(low: float, high: float, most: int) -> None:
    given = drawn_texts()
    weak, own = given.sources
    assert weak.answers is not None
    assert own.answers is not None
    paired = weak_side(given, low=low, high=high, most=most)
    made: dict[str, list[tuple[bool, int]]] = {}
    for chosen, rejected in paired.pairs:
        row = given.sources[chosen.source].ids[chosen.at]
        other = chosen if chosen.source == 1 else rejected
        assert {chosen.source, rejected.source} == {0, 1}  # one side is always the weak text
        assert {weak.ids[chosen.at] if chosen.source == 0 else weak.ids[rejected.at], own.ids[other.at]} == {row}
        made.setdefault(row, []).append((chosen.source == 0, own.samples[other.at]))
    counts: Counter[str] = Counter()
    for at, row in enumerate(weak.ids):
        expected = stage_two(weak.answers[at], own.answers[10 * at : 10 * at + 10], low, high)
        if isinstance(expected, str):
            counts[expected] += 1
            assert row not in made
            continue
        side, allowed = expected
        assert len(made[row]) == min(most, len(allowed))
        assert {chosen for chosen, _ in made[row]} == {side == "weak chosen"}
        assert {sample for _, sample in made[row]} <= set(allowed)
        assert len({sample for _, sample in made[row]}) == len(made[row])
        counts[side] += len(made[row])
    assert paired.diagnostics == {**dict.fromkeys(paired.diagnostics, 0), **counts}
    assert len([name for name, count in paired.diagnostics.items() if count]) >= 5


def test_weak_side_takes_the_shares_themselves() -> None:
    weak = {"six": ["1"], "eight": ["2"], "seven": ["2"], "easy": ["1"], "none": [None]}
    own = {
        "six": ["1"] * 6 + ["0"] * 4, "eight": ["1"] * 8 + ["0"] * 2, "seven": ["1"] * 7 + ["0"] * 3,
        "easy": ["1"] * 10, "none": ["1"] * 10,
    }  # fmt: skip
    given = texts(source("weak", weak), source("own", own))
    paired = weak_side(given)
    assert [(chosen[:8], rejected[:8]) for chosen, rejected in named(given, paired)] == [
        ("weak six", "own six "),
        ("own eigh", "weak eig"),
    ]
    counts = {"weak chosen": 1, "weak rejected": 1, "no majority": 0, "unsure": 1, "too easy": 1, "no weak answer": 1}
    assert paired.diagnostics == counts


def test_weak_side_pairs_neither_empty_nor_repeated_texts() -> None:
    weak = source("weak", {"a": ["1"], "b": ["1"]})
    own = source(
        "own",
        {"a": ["1", "1", "1", None, "2", "2"], "b": ["1", "1", None]},
        texts=["x"] * 3 + ["", "y", "y", "x", "x", ""],
    )
    given = texts(weak, own)
    paired = weak_side(given, low=0.5, most=9)
    assert named(given, paired) == [("weak a 0", "y")]
    assert paired.diagnostics["too easy"] == 1


def test_samples_are_drawn_evenly_and_another_seed_draws_others() -> None:
    rows = [f"r{number}" for number in range(900)]
    weak = source("weak", {row: ["2"] for row in rows})
    own = source("own", {row: ["1"] * 3 for row in rows})
    drawn = [
        tuple(own.samples[pair.chosen.at] for pair in weak_side(texts(weak, own, seed=seed)).pairs) for seed in range(2)
    ]
    assert drawn[0] != drawn[1]
    counts = Counter(drawn[0])
    assert all(240 < counts[sample] < 360 for sample in range(3))


def test_no_order_of_texts_changes_the_pairs() -> None:
    given = drawn_texts(200)
    weak, own = given.sources
    mixed = texts(shuffled(weak), shuffled(own, 1), rows=list(reversed(given.rows)))
    assert Counter(named(mixed, weak_side(mixed, most=2))) == Counter(named(given, weak_side(given, most=2)))


BETTER = source("better", {"a": ["1", "2"], "b": ["1", "1"], "c": ["1"]})
WORSE = source("worse", {"c": ["1"], "b": ["1"], "d": ["1"]}, texts=["worse c 0", "better b 0", "worse d 0"])


@pytest.mark.parametrize(
    ("order", "pairs", "equal"),
    [
        ("given", [("better c 0", "worse c 0")], 1),  # the two texts of row b are the same
        ("reversed", [("worse c 0", "better c 0")], 1),
        ("tied", [("better a 0", "better a 1"), ("better b 0", "better b 1")], 0),
    ],
)
def test_ranked_pairs_the_writers_whatever_they_say(order: str, pairs: list[tuple[str, str]], equal: int) -> None:
    given = texts(BETTER, WORSE)
    paired = ranked(given, order=order)  # type: ignore[arg-type]
    assert named(given, paired) == pairs
    assert paired.diagnostics == {"equal": equal}


def test_ranked_needs_the_sources_and_samples_of_its_order() -> None:
    with pytest.raises(UserError, match=r"takes 2 sources \(the better writer's texts and the worse one's\)"):
        ranked(texts(BETTER))
    with pytest.raises(
        UserError, match="order=tied compares two samples of the first source, and it has one for each row"
    ):
        ranked(texts(WORSE), order="tied")
    assert len(ranked(texts(BETTER), order="tied").pairs) == 2


def test_scored_pairs_the_largest_differences_first_from_the_margin_on() -> None:
    own = source(
        "own", {"a": ["1"] * 5, "b": ["1"] * 2, "c": ["1"] * 2}, scores=[0.1, 0.9, 0.5, 0.7, 0.3, 0.2, 0.25, 0.5, 0.5],
        right=[True, False, True, False, True, False, True, True, True],
    )  # fmt: skip
    given = texts(own)
    one = scored(given)
    counts = {"within the margin": 2, "texts without a score": 0}
    assert (named(given, one), one.diagnostics) == ([("own a 1", "own a 0")], counts)
    many = named(given, scored(given, most=9))
    assert many == [("own a 1", "own a 0"), ("own a 3", "own a 4")]  # no sample is in two pairs
    assert named(given, scored(given, most=9, margin=0.5)) == many[:1]
    assert len(scored(given, margin=0.0, most=9).pairs) == 3  # equal scores make no pair at any margin
    with_truth = named(given, scored(given, correctness=True))
    assert with_truth == [("own a 2", "own a 3"), ("own b 1", "own b 0")]


def test_scored_needs_scores_and_for_correctness_the_truth() -> None:
    bare = source("own", {"a": ["1", "2"]})
    with pytest.raises(
        UserError, match=r'name a score stage for "own" \(scores: \[STAGE, …\], one for each of texts\)'
    ):
        scored(texts(bare))
    with_scores = source("own", {"a": ["1", "2"]}, scores=[0.0, 1.0])
    assert len(scored(texts(with_scores)).pairs) == 1
    with pytest.raises(UserError, match="NEEDS_TRUTH"):
        scored(texts(with_scores), correctness=True)
    with pytest.raises(UserError, match="takes 1 sources"):
        scored(texts(with_scores, with_scores))


def test_scored_pairs_no_text_with_itself() -> None:
    own = source("own", {"a": ["1"] * 3}, texts=["same", "same", "other"], scores=[0.9, 0.1, 0.5])
    assert scored(texts(own), most=9).pairs == []


def test_scored_passes_over_texts_without_a_score() -> None:
    scores = [0.1, float("nan"), 0.5, float("nan"), 0.9, float("nan")]
    own = source("own", {"a": ["1", None, "1"], "b": [None, "1"], "c": [None]}, scores=scores, right=[True, False] * 3)
    given = texts(own)
    for correctness in (False, True):
        paired = scored(given, most=9, correctness=correctness)
        assert named(given, paired) == [("own a 2", "own a 0")]
        assert paired.diagnostics == {"within the margin": 2, "texts without a score": 3}
