"""Values of losses' and rules' arguments that mean nothing, refused when a run is planned: the rule itself runs after trainings.

* Only what ships with w2s is known here: a rule of the user's own is not run to plan, and refuses for itself. The rules' own checks stay
  what counts; a test holds this table to them, value by value.
* An argument is known by its folder and name, which means the same in all files of that folder.
* What depends on the data (more rows than there are, classes) is left to the rule.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from w2s_cli.errors import UserError


class Allowed(NamedTuple):
    """The values that an argument may have, as a test and in words."""

    holds: Callable[[Any], bool]
    words: str


def number(words: str, holds: Callable[[float], bool] = lambda value: True) -> Allowed:
    """Numbers for which `holds`; true and false are none."""
    return Allowed(lambda value: isinstance(value, int | float) and not isinstance(value, bool) and holds(value), words)


def whole(least: int) -> Allowed:
    """Whole numbers from `least` on."""
    return number(f"must be a whole number, at least {least}", lambda value: isinstance(value, int) and value >= least)


def one_of(*names: str) -> Allowed:
    """One of some words."""
    return Allowed(lambda value: value in names, f"must be one of {', '.join(names)}")


NUMBER = number("must be a number")
SHARE = number("must lie between 0 and 1", lambda value: 0 <= value <= 1)
FROM_ZERO = number("must be at least 0", lambda value: value >= 0)
POSITIVE = number("must be greater than 0", lambda value: value > 0)

ARGUMENTS: Mapping[str, Mapping[str, Allowed]] = {
    "selection": {
        "share": SHARE,
        "weak_share": SHARE,
        "contamination": SHARE,
        "threshold": SHARE,
        "rows": whole(0),
        "k": whole(1),
        "k_component": whole(1),
        "k_zeta": whole(1),
        "iterations": whole(1),
        "l2": FROM_ZERO,
        "action": one_of("filter", "relabel"),
        "placement": one_of("random", "uncertain", "oracle_wrong"),
        "match": one_of("rate", "confusion", "labels"),
    },
    "combining": {
        "top_k": whole(1),
        "iterations": whole(1),
        "margin": FROM_ZERO,
        "l2": FROM_ZERO,
        "smoothing": POSITIVE,
        "tolerance": NUMBER,
        "smallest": number("must be below 1", lambda value: value < 1),
        "start": number("must lie between 0.5 and 1", lambda value: 0.5 < value < 1),
        "target": one_of("soft", "hard"),
        "denoise": one_of("consensus", "rate", "none"),
        "output": one_of("hard", "shares"),
        "pool": one_of("mean", "vote", "log", "bayes"),
        "aggregate": one_of("mean", "median"),
        "moments": one_of("raw", "centred"),
    },
    "losses": {
        "alpha": NUMBER,
        "beta": NUMBER,
        "warmup": NUMBER,
        "weight": NUMBER,
        "T": POSITIVE,
        "temperature": POSITIVE,
        "sign": number("must be 1 or -1", lambda value: value in (1, -1)),
        "radius": Allowed(lambda value: value == "midweak" or NUMBER.holds(value), "must be a number or midweak"),
        "ramp": one_of("linear", "jump"),
        "share": one_of("half", "labels"),
    },
}
EITHER = {"confidence": ("threshold", "share"), "truth_budget": ("share", "rows")}  # one of the two, the other null


def check_arguments(folder: str, name: str, args: Mapping[str, Any]) -> None:
    """Refuse values of the arguments (all of them, defaults included) of a packaged loss or rule that it would refuse itself."""
    either = EITHER.get(name, ()) if folder == "selection" else ()
    if either and sum(args[argument] is not None for argument in either) != 1:
        raise UserError(f"{name}: give either args.{either[0]} or args.{either[1]}, and null for the other one.")
    for argument, value in args.items():
        allowed = ARGUMENTS[folder].get(argument)
        if allowed is None or (value is None and argument in either):
            continue
        if not allowed.holds(value):
            raise UserError(f"{name}: args.{argument}={'null' if value is None else value} {allowed.words}.")
