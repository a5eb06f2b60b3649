"""Logistic probe: trust a label if it agrees with a linear model of the strong model's features, fitted to all labels.

EleutherAI, "Experiments in Weak-to-Strong Generalization" (2024): mean cross-entropy to the soft labels + l2 ‖w‖² (without the
bias), from zero, by L-BFGS. Two classes have one weight vector (the logit of class 1), more classes have one each (softmax).
The loss is convex, so the minimum does not depend on the optimiser. Float64.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from scipy.optimize import minimize

from w2s_cli.errors import UserError
from w2s_cli.selection import Labels, Selected, by_probe, covered_features
from w2s_cli.statistics.figures import Floats

NEEDS_FEATURES = True
NEEDS_TRUTH = False


def logistic(
    labels: Labels,
    *,
    action: Literal["filter", "relabel"] = "filter",
    contamination: Annotated[float, Ge(0), Le(1)] = 0.1,
    l2: Annotated[float, Ge(0)] = 0.001,
    iterations: Annotated[int, Ge(1)] = 10_000,
) -> Selected:
    """The probe's probabilities; relabel takes them as labels, filter drops the labels farthest from them.

    Args:
        contamination: share of the rows to drop (action=filter).
        l2: the penalty; 0.001 in the authors' code, 0.01 in the post.
        iterations: the largest number, of L-BFGS.

    Returns:
        diagnostics: loss (without penalty), iterations, converged, mean_distance, and dropped, smallest_dropped.
    """
    if not (l2 >= 0 and iterations >= 1):
        raise UserError(f"select=logistic: l2={l2} must be at least 0, iterations={iterations} at least 1")
    rows, features, examples = covered_features(labels)
    target = examples.p  # [examples, classes]
    classes = target.shape[1]
    heads = 1 if classes == 2 else classes
    shape = (features.shape[1] + 1, heads)

    def log_probabilities(flat: Floats, features: Floats) -> Floats:
        w = flat.reshape(shape)
        logits = features @ w[:-1] + w[-1]  # [rows, heads]
        if heads == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        return np.asarray(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))  # [rows, classes]

    def objective(flat: Floats) -> tuple[float, Floats]:
        log_p = log_probabilities(flat, examples.features)
        w = flat.reshape(shape)
        error = (np.exp(log_p) - target)[:, -heads:] / len(target)  # d loss / d logits
        slope = np.vstack([examples.features.T @ error + 2 * l2 * w[:-1], error.sum(axis=0, keepdims=True)])
        return float(-(target * log_p).sum() / len(target) + l2 * (w[:-1] ** 2).sum()), slope.ravel()

    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20}
    start = np.zeros(shape[0] * heads)
    done = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    selected = by_probe(labels, rows, np.exp(log_probabilities(done.x, features)), action, contamination)
    log_p = log_probabilities(done.x, examples.features)
    fit = {
        "loss": float(-(target * log_p).sum() / len(target)),
        "iterations": int(done.nit),
        "converged": bool(done.success),
    }
    return Selected(selected.p, selected.covered, {**fit, **selected.diagnostics})
