"""kNN probe: trust a label if it agrees with the labels of the nearest neighbours in the strong model's features.

EleutherAI, "Experiments in Weak-to-Strong Generalization" (2024): the mean weak label of the k = 50 nearest rows,
Euclidean. In their code a row is its own nearest neighbour, so its own label is in the mean. Here only `itself=True` does
this, to reproduce published figures.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le

from w2s_cli.selection import Labels, Selected, by_probe, covered_features
from w2s_cli.statistics.neighbours import nearest

NEEDS_FEATURES = True
NEEDS_TRUTH = False


def knn(
    labels: Labels,
    *,
    action: Literal["filter", "relabel"] = "filter",
    contamination: Annotated[float, Ge(0), Le(1)] = 0.1,
    k: Annotated[int, Ge(1)] = 50,
    itself: bool = False,
) -> Selected:
    """The probe is the mean label of the `k` nearest rows; relabel takes it as the label, filter drops the labels farthest from it.

    Args:
        contamination: share of the rows to drop (action=filter).
        k: number of neighbours; all other rows, if they are fewer.

    Returns:
        diagnostics: k (the number in use), mean_distance, and for a filter dropped and smallest_dropped (distance).
    """
    rows, features, examples = covered_features(labels)
    neighbours = nearest(features, k, itself=itself, others=examples.features if examples.others else None)  # [rows, k]
    probe = examples.p[neighbours].mean(axis=1)  # [rows, classes]
    selected = by_probe(labels, rows, probe, action, contamination)
    return Selected(selected.p, selected.covered, {"k": neighbours.shape[1], **selected.diagnostics})
