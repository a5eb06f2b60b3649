"""Cautions under a result that several stage kinds share."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from w2s_cli.statistics import ROLE_NAMES, ROLES
from w2s_cli.statistics.doubts import FLAGS, weak_at_chance

CUT_SHARE = 0.01  # share of cut texts above which the result has a caution
FEW_UPDATES, ENOUGH_UPDATES = (
    50,
    200,
)  # of a classifier: with fewer than the first its accuracy may still be that of its start
ONE_SIDED = 0.95  # accuracy of a constant answer that says more about the test rows than about the model


def cut_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line if the stage cut more than CUT_SHARE of its texts to the length that its model reads; else none."""
    cut = metrics.get("truncated") or {}
    if cut.get("share", 0.0) <= CUT_SHARE:
        return []
    limit = cut.get("limit", params["max_length"])  # a result of an older w2s has no limit
    return [
        f"Caution: {cut['share']:.0%} of the texts were cut to {limit} tokens, the most that {about['model']} reads "
        f"({about['role']}); w2s data check shows the lengths."
    ]


def comparison(
    metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any], epochs: str = "train.epochs"
) -> list[str]:
    """A line for each role with a constant answer (statistics.threshold), lines for few updates, one for a PGR whose interval has no width.

    Args:
        metrics: of `statistics.report`, with the `updates`, `epochs` and `preference` of each role if they are recorded
            (results.trainings).
        about: seeds, in the order of the figures' `per_seed`.
        epochs: the field that a role's trainings take their epochs from, unless they learn pairs of texts.
    """
    lines = []
    for role in ROLES:
        per_seed = metrics.get(role, {}).get("per_seed", {})
        flagged = [place for place, flag in enumerate(per_seed.get("untrained_threshold", ())) if flag]
        if flagged:
            lines.append(_untrained(role, per_seed, flagged, about["seeds"]))
        constant = [p for p, flag in enumerate(per_seed.get("constant_answer", ())) if flag and p not in flagged]
        if constant:
            lines.append(_constant(role, per_seed, constant, about["seeds"]))
        diverged = [place for place, flag in enumerate(per_seed.get("diverged", ())) if flag]
        if diverged:
            lines.append(_diverged(role, diverged, about["seeds"], epochs.partition(".")[0]))
    of_weak = metrics.get("weak", {}).get("per_seed", {})
    if weak_at_chance(metrics) and not any(any(of_weak.get(flag, ())) for flag in FLAGS):  # which say more
        lines.append(_at_chance(metrics))
    lines += _few_updates(metrics, epochs)
    pgr = metrics.get("pgr") or {}
    if "no_width" in pgr.get("flags", ()):
        twin = "weak supervisor" if abs(pgr["value"]) < 0.5 else "ceiling"
        lines.append(
            f"Caution: the interval of PGR has no width, because the student is right on the same test rows as the {twin}. No draw of "
            "rows can tell them apart; that is no certainty about PGR."
        )
    return lines


def _untrained(role: str, per_seed: Mapping[str, Any], flagged: list[int], seeds: Sequence[int]) -> str:
    """The line of one role; `flagged` are the places of the seeds concerned."""
    right, area = (fmean(per_seed[figure][place] for place in flagged) for figure in ("accuracy", "auroc"))
    if right >= ONE_SIDED:
        return _one_sided(role, right, area)
    updates = {per_seed["updates"][place] for place in flagged} - {None} if "updates" in per_seed else set()
    after = (
        f" after {' to '.join(f'{steps:,}' for steps in sorted({min(updates), max(updates)}))} updates"
        if updates
        else ""
    )
    learned = ", or learned from labels of one class" if role == "student" else ""
    cause = f"untrained{after}{learned}. What can help: more epochs (train.epochs) or a higher learning rate (train.lr)"
    return (
        f"Caution: the {_who(role, flagged, seeds)} predicts one class on nearly all test rows: accuracy {right:.3f}, "
        f"as of a constant answer, but AUROC {area:.3f}. Its threshold is {'not trained here' if updates == {0} else cause}. Compare "
        f"AUROC meanwhile (w2s table metric={role}.auroc)."
    )


def _who(role: str, places: Sequence[int], seeds: Sequence[int]) -> str:
    """The name of a role, of several seeds with the seeds at these places."""
    of_seeds = f" with seed{'s' * (len(places) > 1)} {', '.join(str(seeds[place]) for place in places)}"
    return f"{ROLE_NAMES[role]}{of_seeds if len(seeds) > 1 else ''}"


def _constant(role: str, per_seed: Mapping[str, Any], places: Sequence[int], seeds: Sequence[int]) -> str:
    """The line of a role whose predictions say nothing: one class, and no order of the rows that chance could not give."""
    right = fmean(per_seed["accuracy"][place] for place in places)
    return (
        f"Caution: the {_who(role, places, seeds)} predicts one class on nearly all test rows: accuracy {right:.3f}, as of a constant "
        "answer. It has learned nothing that shows here; w2s data check looks at the labels."
    )


def _diverged(role: str, places: Sequence[int], seeds: Sequence[int], group: str) -> str:
    """The line of a role whose loss is finite, and larger than before any training; `group`: of the settings of its training."""
    return (
        f"Caution: the training of the {_who(role, places, seeds)} diverged: its mean loss in the last epoch is more than twice that of "
        "equal guesses, or of its first update. Its figures say nothing: lower the learning rate (lr), or set "
        f"{group}.warmup or {group}.max_grad_norm."
    )


def _at_chance(metrics: Mapping[str, Any]) -> str:
    """The line of a weak supervisor whose labels may teach nothing."""
    weak = metrics["weak"]
    low, high = weak["interval"]
    return (
        f"Caution: the weak supervisor may be no better than a constant answer: accuracy {weak['accuracy']:.3f} [{low:.3f}, {high:.3f}], "
        f"and the largest class is {metrics['majority']:.3f} of the test rows. Its labels may teach nothing: more rows or epochs, another "
        "weak=, or more test rows."
    )


def _few_updates(metrics: Mapping[str, Any], epochs: str) -> list[str]:
    """One line for each field of epochs whose trainings had so few updates that their models may not have learned yet."""
    few: dict[str, dict[str, int]] = {}  # field → role → updates
    needed: dict[str, float] = {}
    for role in ROLES:
        block = metrics.get(role, {})
        updates = [steps for steps in block.get("per_seed", {}).get("updates", ()) if steps]  # 0: no training
        if updates and min(updates) < FEW_UPDATES and block.get("epochs"):
            field = "preference.epochs" if block.get("preference") else epochs
            few.setdefault(field, {})[ROLE_NAMES[role]] = min(updates)
            needed[field] = max(needed.get(field, 0.0), block["epochs"] * ENOUGH_UPDATES / min(updates))
    return [
        f"Caution: few updates ({', '.join(f'{name} {steps}' for name, steps in roles.items())}): {field}={math.ceil(needed[field])} would "
        f"give at least {ENOUGH_UPDATES}."
        for field, roles in few.items()
    ]


def _one_sided(role: str, right: float, area: float) -> str:
    """The line of a role that says the class of nearly all rows, as the best model of a very rare class may: no fault of its training."""
    return (
        f"Caution: nearly all test rows are of one class, and the {ROLE_NAMES[role]} predicts it on nearly all of them: accuracy "
        f"{right:.3f}, as of a constant answer, but AUROC {area:.3f}. Compare AUROC (w2s table metric={role}.auroc), or take classes of "
        "one size (data.balanced=true)."
    )


def empty_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line if the stage had texts of which the model reads nothing; else none."""
    if not metrics.get("empty"):
        return []
    return [
        f"Caution: {metrics['empty']:,} of {metrics['rows']:,} texts ({about['rows']}) have no token that {about['model']} knows "
        f"({about['role']}): they are empty, or in another script than its tokenizer's."
    ]


def unread_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The lines of `cut_texts` and `empty_texts`."""
    return cut_texts(metrics, params, about) + empty_texts(metrics, params, about)


def no_verdict(metrics: Mapping[str, Any], grader: str, which: str) -> list[str]:
    """The line of texts on which a grader failed or took too long; `which` they are."""
    outcomes = metrics.get("outcomes", {})
    failed = ", ".join(f"{outcomes[name]:,} {name}" for name in ("time-out", "error") if outcomes.get(name))
    if not failed:
        return []
    return [f"Caution: the grader {grader} gave no verdict on {failed} ({which}); they do not count as right."]
