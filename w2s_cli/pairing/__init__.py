"""Rules that make pairs of a better and a worse text. One file each, with one public function of the file's name.

    def weak_side(texts, *, …) -> Paired

`texts` and `NEEDS_TRUTH` are as for the rules that choose (`w2s_cli/choosing/__init__.py`). A pair has two different texts of one row.
To add a rule, put `pairing/<name>.py` into the package or into a `--config-dir` folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from w2s_cli.choosing import Place


class PairOf(NamedTuple):
    """Two texts of one row."""

    chosen: Place
    rejected: Place


@dataclass(frozen=True)
class Paired:
    """The pairs, in any order; the stage sorts them by row."""

    pairs: Sequence[PairOf]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)  # JSON; counts of rows without a pair, by reason

    @property
    def each(self) -> Iterable[Place]:
        """All places that the rule names."""
        return (place for pair in self.pairs for place in pair)
