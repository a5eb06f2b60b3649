"""The median PGR over pairs of models, of results as a run's table and its figures have them.

A pair without a gap, or of a model with itself, has no PGR and is counted apart (`statistics.figures.median_recovered`).
"""

from collections.abc import Iterable
from typing import Any

from w2s_cli.results.reader import Entry
from w2s_cli.statistics import ROLES


def recovered_over(entries: Iterable[Entry]) -> dict[str, Any]:
    """Median and counts, from the accuracies of the results with all roles."""
    from w2s_cli.statistics.figures import median_recovered

    figures: dict[str, Any] = median_recovered(
        [
            {
                "weak_model": entry.fields["weak"],
                "strong_model": entry.fields["strong"],
                **{role: entry.metrics[role]["accuracy"] for role in ROLES},
            }
            for entry in entries
            if all(role in entry.metrics for role in ROLES)
        ]
    )
    return figures
