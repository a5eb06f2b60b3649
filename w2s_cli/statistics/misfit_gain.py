"""Gain equals misfit: the synthetic experiment of Charikar, Pabbaraju & Shiragur 2024 (arXiv 2405.15116, section 5.1).

A task is f∘h*: a random linear head f on the target's representation h*, a random ReLU network. The weak model is the best
linear head on its representation h_w, by least squares on the truth; the student is the best linear head on h_s, by
least squares on the weak model's predictions for other rows. Linear heads are a convex class, so (theorem 1)

    error(student) ≤ error(weak) − misfit,   misfit = E (student − weak)²,

if h_s can express the task (realisable: h_s = h*). The heads are even a linear space, so both sides are equal: the
student is an orthogonal projection, and tasks lie on the diagonal of gain against misfit. If h_s cannot express the
task, and its best head has error ε, then |gain − misfit| ≤ 2 √(ε misfit). This is exact on the student's training rows,
where all three are projections of the same vectors.

* Representations: `perturbed` adds noise to the weights of h*, much for h_w and (non-realisable) little for h_s;
  `pretrained` trains networks of other depths on other tasks by Adam, as the paper does first.
* Networks have no biases, and inputs are standard normal. Beside the paper's inputs, with σ = 500, biases vanish;
  without biases the scale of the inputs cancels.
* Errors are in units of the task's mean square, so that tasks can be compared.
* Random numbers come from hashes of seed, purpose and task number, so tasks do not depend on each other or on their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from w2s_cli.errors import UserError
from w2s_cli.statistics.draw import fingerprint
from w2s_cli.statistics.figures import Floats

SETTINGS = ("realisable", "non_realisable")
REPRESENTATIONS = ("perturbed", "pretrained")

Network = list[Floats]  # one matrix [inputs, outputs] per layer


@dataclass(frozen=True)
class Experiment:
    """All settings that determine the points."""

    setting: str  # realisable | non_realisable
    seed: int = 0
    representation: str = "perturbed"  # the origin of h_w, and of h_s if it is not h*
    tasks: int = 100
    rows: int = 5000  # of each task's three samples: weak training, student training, held out
    inputs: int = 8
    hidden: int = 32  # width of the hidden layers
    width: int = 16  # of the representations
    layers: int = 5  # of h*
    weak_noise: float = 0.3  # perturbed: of h_w, in units of the weights' standard deviation
    strong_noise: float = 0.05  # perturbed, non-realisable: of h_s
    weak_layers: int = 2  # pretrained
    strong_layers: int = 8  # pretrained, non-realisable
    pretraining_tasks: int = 32  # at least the width, so that the tasks show every direction of h*
    pretraining_rows: int = 2000
    pretraining_steps: int = 1000

    def __post_init__(self) -> None:
        for name, choices in (("setting", SETTINGS), ("representation", REPRESENTATIONS)):
            if getattr(self, name) not in choices:
                raise UserError(
                    f'theory: {name}="{getattr(self, name)}" is unknown; choose one of {", ".join(choices)}.'
                )
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type in (int, "int")
            if whole and (isinstance(value, bool) or not isinstance(value, int) or value < (field.name != "seed")):
                raise UserError(f"theory: {field.name}={value} must be a whole number of at least 1.")
            if field.type in (float, "float") and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise UserError(f"theory: {field.name}={value} must be a number of at least 0.")
        if self.rows <= self.width:
            raise UserError(
                f"theory: rows={self.rows} must be more than the width of the representation, {self.width}."
            )


@dataclass(frozen=True)
class Point:
    """One task; all figures in units of the task's mean square on the same sample."""

    task: int
    error_weak: float  # held-out rows
    error_student: float
    misfit: float
    gain: float  # error_weak − error_student
    misfit_fit: float  # on the student's training rows
    gain_fit: float
    epsilon: float  # error of the best head on h_s for the truth, on the student's training rows: 0 if realisable


@dataclass(frozen=True)
class Representations:
    """h*, h_w and h_s."""

    target: Network
    weak: Network
    strong: Network


def generator(*names: str | int) -> np.random.Generator:
    """A generator that depends on the names only."""
    return np.random.default_rng(int(fingerprint("theory", *names), 16))


def random_network(experiment: Experiment, layers: int, role: str) -> Network:
    """Weights [inputs, outputs] of each layer, normal with variance 2 / inputs."""
    chance = generator(experiment.seed, "network", role)
    sizes = [experiment.inputs, *[experiment.hidden] * (layers - 1), experiment.width]
    return [chance.standard_normal((a, b)) * np.sqrt(2 / a) for a, b in pairwise(sizes)]


def represent(x: Floats, network: Network) -> Floats:
    """h(x), [rows, inputs] → [rows, width]; ReLU between layers, none after the last."""
    for weights in network[:-1]:
        x = np.maximum(x @ weights, 0)
    return np.asarray(x @ network[-1])


def representations(experiment: Experiment) -> Representations:
    """The three networks of an experiment."""
    target = random_network(experiment, experiment.layers, "target")
    if experiment.representation == "perturbed":
        weak = _perturbed(target, experiment.weak_noise, generator(experiment.seed, "noise", "weak"))
        strong = _perturbed(target, experiment.strong_noise, generator(experiment.seed, "noise", "strong"))
    else:
        weak = pretrained(experiment, target, experiment.weak_layers, "weak")
        strong = target
        if experiment.setting == "non_realisable":
            strong = pretrained(experiment, target, experiment.strong_layers, "strong")
    return Representations(target, weak, target if experiment.setting == "realisable" else strong)


def _perturbed(network: Network, noise: float, chance: np.random.Generator) -> Network:
    return [w + noise * np.sqrt(2 / len(w)) * chance.standard_normal(w.shape) for w in network]


def pretrained(experiment: Experiment, target: Network, layers: int, role: str) -> Network:
    """A network trained with linear heads on the pretraining tasks, by Adam (rate 0.003, falling to 0) on all rows at once.

    min over h, f_1 … f_T of (1/T) Σ_t E (f_t(h(x)) − f*_t(h*(x)))²; the heads are dropped.
    """
    chance = generator(experiment.seed, "pretraining")  # the same tasks and rows for weak and strong
    x = chance.standard_normal((experiment.pretraining_rows, experiment.inputs))
    heads = chance.standard_normal((experiment.width, experiment.pretraining_tasks))
    y = represent(x, target) @ heads
    y /= np.sqrt((y**2).mean(axis=0))
    start = generator(experiment.seed, "network", role, "head").standard_normal(heads.shape)
    weights = [*random_network(experiment, layers, role), start / np.sqrt(experiment.width)]
    first = [np.zeros_like(w) for w in weights]
    second = [np.zeros_like(w) for w in weights]
    for step in range(1, experiment.pretraining_steps + 1):
        rate = 0.003 * (1 - (step - 1) / experiment.pretraining_steps)
        for i, slope in enumerate(squared_error_gradient(x, y, weights)):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            moved = first[i] / (1 - 0.9**step)
            weights[i] = weights[i] - rate * moved / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
    return weights[:-1]


def squared_error_gradient(x: Floats, y: Floats, weights: Sequence[Floats]) -> list[Floats]:
    """Gradient of mean (f(h(x)) − y)² for each matrix of `weights`: the network's, and last the heads'."""
    inputs = [x]  # of each layer
    for i, matrix in enumerate(weights[:-1]):
        value = inputs[-1] @ matrix
        inputs.append(value if i == len(weights) - 2 else np.maximum(value, 0))
    back = 2 * (inputs[-1] @ weights[-1] - y) / y.size
    slopes = []
    for i in range(len(weights) - 1, -1, -1):
        slopes.append(inputs[i].T @ back)
        back = back @ weights[i].T
        if 0 < i < len(weights) - 1:  # the representation itself has no ReLU
            back = back * (inputs[i] > 0)
    return slopes[::-1]


def point(experiment: Experiment, networks: Representations, task: int) -> Point:
    """One task: weak model, student, and their distances from the truth and from each other."""
    chance = generator(experiment.seed, "task", task)
    head = chance.standard_normal(experiment.width)
    x_weak, x_student, x_test = (chance.standard_normal((experiment.rows, experiment.inputs)) for _ in range(3))
    weak = best_head(represent(x_weak, networks.weak), represent(x_weak, networks.target) @ head)
    taught = represent(x_student, networks.weak) @ weak
    student = best_head(represent(x_student, networks.strong), taught)
    figures = {}
    for name, x in (("held_out", x_test), ("fit", x_student)):
        truth = represent(x, networks.target) @ head
        weak_y, student_y = represent(x, networks.weak) @ weak, represent(x, networks.strong) @ student
        unit = float((truth**2).mean())
        figures[name] = [
            float(((a - b) ** 2).mean()) / unit for a, b in ((weak_y, truth), (student_y, truth), (student_y, weak_y))
        ]
    features, truth = represent(x_student, networks.strong), represent(x_student, networks.target) @ head
    epsilon = float(((features @ best_head(features, truth) - truth) ** 2).mean() / (truth**2).mean())
    error_weak, error_student, misfit = figures["held_out"]
    fit_weak, fit_student, fit_misfit = figures["fit"]
    gain, fit_gain = error_weak - error_student, fit_weak - fit_student
    return Point(task, error_weak, error_student, misfit, gain, fit_misfit, fit_gain, epsilon)


def best_head(features: Floats, target: Floats) -> Floats:
    """Least squares, [rows, width] and [rows] → [width]; the shortest of several solutions."""
    return np.asarray(np.linalg.lstsq(features, target, rcond=None)[0])
