"""kNN probe: a label is believed if the labels of its nearest neighbours in the strong model's features say the same.

EleutherAI, "Experiments in Weak-to-Strong Generalization" (2024): the mean weak label of the k = 50 nearest rows,
Euclidean. Their code asks the training rows themselves, so a row is its own nearest neighbour and votes for its own label;
here it does not, unless `itself` asks for what was published.
"""

from w2s_cli.selection import Labels, Selected, by_probe, covered_features
from w2s_cli.statistics.neighbours import nearest

NEEDS_FEATURES = True
NEEDS_TRUTH = False


def knn(
    labels: Labels, *, action: str = "filter", contamination: float = 0.1, k: int = 50, itself: bool = False
) -> Selected:
    """Mean label of the `k` nearest rows; action=relabel takes it as the label, action=filter drops the farthest from it.

    Args:
        contamination: share of the rows to drop (action=filter).
        k: neighbours; all other rows, where there are fewer.

    Returns:
        diagnostics: k as used, mean_distance, and for a filter dropped and smallest_dropped (distance).
    """
    rows, features = covered_features(labels)
    neighbours = nearest(features, k, itself=itself)  # [rows, k]
    probe = labels.p[rows][neighbours].mean(axis=1)  # [rows, classes]
    found = by_probe(labels, rows, probe, action, contamination)
    return Selected(found.p, found.covered, {"k": neighbours.shape[1], **found.diagnostics})
