"""Rules that choose the texts from which a student learns. One file each, with one public function of the file's name.

    def agreement(texts, *, …) -> Chosen

* `texts` has the sources, the stages whose texts can be chosen, in the order of the method's YAML: their texts, and where the stage names
  them, the answers in these texts and scores. The keyword arguments are the `args` of the rule in the method.
* A file sets `NEEDS_TRUTH = True` if it asks whether answers are right. Plans read it from the syntax tree; without it a rule does not
  see that.
* Random choices come from `chance`, a draw by row id: they depend on no order.
* An empty answer agrees with nothing: a text without one is in no majority, and equal to no other.
* To add a rule, put `choosing/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited. Rules that make
  pairs are in `w2s_cli/pairing/`, and take the same `texts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from w2s_cli.errors import UserError
from w2s_cli.statistics.draw import uniform
from w2s_cli.statistics.figures import Booleans, Floats
from w2s_cli.statistics.majority import modal_answer


class Place(NamedTuple):
    """One text: the number of its source, and its place there."""

    source: int
    at: int


@dataclass(frozen=True)
class Source:
    """The texts of one stage."""

    name: str
    ids: list[str]  # row of each text
    samples: list[int]
    texts: list[str]
    tokens: list[int]  # their lengths; of texts that no model wrote in words
    whole: Booleans  # [texts] false where a text was cut
    answers: list[str | None] | None = None  # of a text without one None, never ""; None without grades
    right: Booleans | None = None  # [texts]; None without grades, or unless the rule NEEDS_TRUTH
    scores: Floats | None = None  # [texts], NaN of a text that says nothing; None without scores

    def by_row(self) -> dict[str, list[int]]:
        """Row id → places of its texts, in the order of samples."""
        rows: dict[str, list[int]] = {}
        for at, name in enumerate(self.ids):
            rows.setdefault(name, []).append(at)
        return rows

    def need_answers(self) -> list[str | None]:
        """The answers; UserError if the stage names no grades for this source."""
        if self.answers is None:
            raise UserError(
                f'this rule compares answers: name a grade stage for "{self.name}" (grades: [STAGE, …], one for each of texts)'
            )
        return self.answers

    def need_right(self) -> Booleans:
        """Whether answers are right; UserError without grades, or for a rule without NEEDS_TRUTH."""
        self.need_answers()
        if self.right is None:
            raise UserError("this rule asks whether answers are right: its file must say NEEDS_TRUTH = True")
        return self.right

    def need_scores(self) -> Floats:
        """The scores; UserError if the stage names none for this source."""
        if self.scores is None:
            raise UserError(
                f'this rule compares scores: name a score stage for "{self.name}" (scores: [STAGE, …], one for each of texts)'
            )
        return self.scores


@dataclass(frozen=True)
class Texts:
    """What a rule chooses from."""

    rows: list[str]  # ids, in the pool's order
    sources: Sequence[Source]
    seed: int
    levels: Mapping[str, str] = field(default_factory=dict)  # row id → level, where the recipe has levels

    def need(self, count: int, what: str) -> Sequence[Source]:
        """The sources, if they are `count`; `what` lists them, for the message."""
        if len(self.sources) != count:
            raise UserError(
                f"this rule takes {count} sources ({what}), and the stage names {len(self.sources)} (texts: […])"
            )
        return self.sources

    def chance(self, purpose: str, row: str) -> float:
        """A number in [0, 1) for a row."""
        return uniform("choosing", purpose, self.seed, row)


@dataclass(frozen=True)
class Chosen:
    """The chosen texts, in any order; the stage sorts them by row."""

    places: Sequence[Place]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)  # JSON; counts of what the rule left out, by reason
    with_empty: bool = False  # texts that say nothing stay: they are graded, and cannot be learned

    @property
    def each(self) -> Iterable[Place]:
        """All places that the rule names."""
        return self.places


class Majority(NamedTuple):
    """The most frequent answer of a row's samples."""

    answer: str | None  # None: no sample has one
    share: float  # of all samples
    with_it: list[int]  # places of the samples with this answer
    others: list[int]  # places of the samples with another answer, or none


def majority(source: Source, places: Sequence[int]) -> Majority:
    """The modal answer of a row's samples; of answers as frequent, the one that comes first."""
    answers = source.need_answers()
    answer = modal_answer([answers[at] for at in places])
    if answer is None:
        return Majority(None, 0.0, [], list(places))
    with_it = [at for at in places if answers[at] == answer]
    return Majority(answer, len(with_it) / len(places), with_it, [at for at in places if answers[at] != answer])
