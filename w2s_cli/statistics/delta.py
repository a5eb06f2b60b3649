"""Delta learning in logistic regression (Geng et al. 2025): two weak teachers, by their difference, improve a student better than both.

* Inputs are standard normal in `dims` dimensions, the true rule is sign(u·x). Student and teachers are directions with given cosines to u;
  their parts off u are drawn at random, so in many dimensions they are almost orthogonal. The accuracy of a direction with cosine c to u
  is exactly 1 − arccos(c)/π.
* The preference update is gradient ascent on E[log p_w(y_a|x) − log p_w(y_b|x)] with labels of the teachers a and b. The student's own
  probability cancels, so every step goes in one direction, the mean of (σ(s·a·x) − σ(s·b·x))·x: towards u iff a is the better teacher.
* Imitation, the control, is logistic regression on teacher a's hard labels, from the student's start.
"""

import math
from dataclasses import dataclass

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.statistics.draw import fingerprint
from w2s_cli.statistics.figures import Floats

SIZES = np.concatenate([[0.0], np.geomspace(1e-2, 1e2, 81)])  # of the update, in units of the student's norm
STEPS, RATE = 150, 2.0  # of the imitation, by gradient descent


@dataclass(frozen=True)
class Setting:
    """One pair of teachers and a student."""

    better: float  # cosine of teacher a, whose labels are chosen
    worse: float  # cosine of teacher b, whose labels are rejected
    student: float = 0.5  # cosine of the student's start
    dims: int = 200
    rows: int = 8000
    sharpness: float = 3.0  # s: norm of the teachers
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("better", "worse", "student"):
            if not -1 <= getattr(self, name) <= 1:
                raise UserError(f"delta_theory: {name}={getattr(self, name)} is a cosine, between -1 and 1")
        if self.dims < 4 or self.rows < 1 or not self.sharpness > 0:
            raise UserError("delta_theory: dims must be at least 4, rows at least 1 and sharpness above 0")


@dataclass(frozen=True)
class Outcome:
    """Accuracies, all exact for the directions that came out."""

    start: float
    teacher: float  # the chosen one
    best: float  # after the update of the best size
    best_size: float  # 0: no update helps
    far: float  # after far too large an update
    imitation: float  # after imitating the chosen teacher


def accuracy(cosine: float) -> float:
    """Of a linear rule with this cosine to the truth, on isotropic inputs."""
    return 1 - math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def outcome(setting: Setting) -> Outcome:
    """The accuracies of one setting."""
    generator = np.random.default_rng(int(fingerprint("delta", setting.seed)[:8], 16))
    truth = np.zeros(setting.dims)
    truth[0] = 1.0
    student, better, worse = (
        _direction(generator, cosine, setting.dims) for cosine in (setting.student, setting.better, setting.worse)
    )
    x = generator.standard_normal((setting.rows, setting.dims))
    teachers = [1 / (1 + np.exp(-setting.sharpness * (x @ teacher))) for teacher in (better, worse)]
    update = (teachers[0] - teachers[1]) @ x / setting.rows
    update /= np.linalg.norm(update)
    reached = [_cosine(student + size * update, truth) for size in SIZES]
    best = int(np.argmax(reached))
    copied = _imitated(student, x, (x @ better > 0).astype(np.float64))
    return Outcome(
        accuracy(setting.student),
        accuracy(setting.better),
        accuracy(reached[best]),
        float(SIZES[best]),
        accuracy(_cosine(update, truth)),
        accuracy(_cosine(copied, truth)),
    )


def _direction(generator: np.random.Generator, cosine: float, dims: int) -> Floats:
    """A unit vector with this cosine to the first axis."""
    off = generator.standard_normal(dims)
    off[0] = 0.0
    direction = math.sqrt(1 - cosine**2) * off / np.linalg.norm(off)
    direction[0] = cosine
    return np.asarray(direction, dtype=np.float64)


def _imitated(start: Floats, x: Floats, labels: Floats) -> Floats:
    """The weights of logistic regression on `labels` [rows], by gradient descent from `start`."""
    weights = start.copy()
    for _ in range(STEPS):
        weights += RATE * ((labels - 1 / (1 + np.exp(-(x @ weights)))) @ x) / len(x)
    return np.asarray(weights, dtype=np.float64)


def _cosine(vector: Floats, truth: Floats) -> float:
    return float(vector @ truth / np.linalg.norm(vector))
