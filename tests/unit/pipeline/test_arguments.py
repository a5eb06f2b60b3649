"""Arguments of losses, rules and transforms: bound, converted and checked from the annotations when a run is planned."""

import importlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.command.test_wrong_commands import assert_refused
from tests.conftest import ROOT
from w2s_cli.combining import Votes
from w2s_cli.errors import UserError
from w2s_cli.pipeline.arguments import bind
from w2s_cli.pipeline.resolve import AT_RUN_TIME
from w2s_cli.selection import Labels

Run = Callable[..., subprocess.CompletedProcess[str]]

SELECTION = ["plan", "method=selection"]
WORDS: dict[str, tuple[list[str], str]] = {
    "share above 1": (
        [*SELECTION, "select=confidence_share", "select.args.share=1.5"],
        "args.share=1.5: must be a number between 0 and 1",
    ),
    "threshold below 0": (
        [*SELECTION, "select.args.threshold=-1"],
        "confidence: args.threshold=-1: must be a number between 0 and 1",
    ),
    "both of two": ([*SELECTION, "select.args.share=0.5"], "give either args.threshold or args.share, and null"),
    "neither of two": ([*SELECTION, "select.args.threshold=null"], "give either args.threshold or args.share"),
    "no neighbours": (
        [*SELECTION, "select=knn_filter", "select.args.k=0"],
        "knn: args.k=0: must be a whole number of at least 1",
    ),
    "half a neighbour": ([*SELECTION, "select=knn_filter", "select.args.k=2.5"], "args.k=2.5: must be a whole number"),
    "null neighbours": ([*SELECTION, "select=knn_filter", "select.args.k=null"], "args.k=null: must be a whole number"),
    "unknown action": (
        [*SELECTION, "select=topofilter", "select.args.action=fliter"],
        "topofilter: args.action=fliter: must be one of filter, relabel",
    ),
    "misspelt argument": ([*SELECTION, "+select.args.treshold=0.5"], 'Did you mean "threshold"'),
    "share of a control": (
        ["plan", "control=truth_mix", "control.args.share=2"],
        "truth_mix: args.share=2: must be a number between 0 and 1",
    ),
    "noise that matches nothing": (
        ["plan", "control=matched_noise", "control.args.match=rates"],
        "one of rate, confusion",
    ),
    "misspelt argument of a control": (["plan", "control=truth_mix", "+control.args.shar=1"], 'Did you mean "share"'),
    "unknown vote": (
        ["plan", "method=ensemble", "combine=majority", "combine.args.output=soft"],
        "majority: args.output=soft: must be one of hard, shares",
    ),
    "misspelt argument of a combination": (
        ["plan", "method=ensemble", "combine=majority", "+combine.args.outptu=hard"],
        'Did you mean "output"',
    ),
    "unknown ramp": (
        ["plan", "loss=logconf", "loss.args.ramp=liner"],
        "logconf: args.ramp=liner: must be one of linear, jump",
    ),
    "a loss's word for a number": (
        ["plan", "loss=entropy", "loss.args.alpha=half"],
        "args.alpha=half: must be a number",
    ),
    "misspelt argument of a loss": (["plan", "loss=logconf", "+loss.args.aplha=1"], 'Did you mean "alpha"'),
}


@pytest.mark.parametrize("case", WORDS, ids=lambda name: name.replace(" ", "-"))
def test_what_means_nothing_is_refused_before_anything_runs(w2s_inside: Run, case: str) -> None:
    words, said = WORDS[case]
    assert_refused(w2s_inside(*words, code=None), said)


def test_a_rule_of_the_users_own_is_checked_by_its_annotations_and_not_run(w2s_inside: Run, tmp_path: Path) -> None:
    """Its k may be what its signature says, whatever the k of another rule may be."""
    code = "raise SystemExit('run')\ndef mine(labels, *, k: Annotated[int, Lt(0)] = -5):\n    return labels\n"
    for folder, name, text in (("selection", "mine.py", code), ("select", "mine.yaml", "name: mine\nargs: {k: -7}\n")):
        (tmp_path / "own" / folder).mkdir(parents=True)
        (tmp_path / "own" / folder / name).write_text(text)
    words = ["plan", "--config-dir", "own", "method=selection", "select=mine"]
    assert "mine" in w2s_inside(*words).stdout
    assert_refused(w2s_inside(*words, "select.args.k=3", code=None), "mine: args.k=3: must be a whole number below 0")


def bound(folder: Path, arguments: str, /, **args: Any) -> dict[str, Any]:
    """What a function with these keyword arguments is bound to."""
    path = folder / "mine.py"
    path.write_text(f"def mine(labels, *, {arguments}):\n    return labels\n")
    return bind(path, "mine", args, at_run_time=())


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("1/3", 1 / 3),
        ("-1", -1),
        ("(1, 2)", [1, 2]),
        ("2 * 10**-3", 0.002),
        ("[-1.5, 'a']", [-1.5, "a"]),
        ("{'a': 7 // 2}", {"a": 3}),
        ("+5 % 3", 2),
        ("None", None),
    ],
)
def test_a_default_is_a_constant_expression(tmp_path: Path, default: str, value: Any) -> None:
    assert json.loads(json.dumps(bound(tmp_path, f"k={default}")["k"])) == value


@pytest.mark.parametrize("default", ["K", "max(1, 2)", "9**9**9", "1/0", "'a' * 10**9", "[x for x in 'ab']", "a.b"])
def test_another_default_is_refused_with_its_line(tmp_path: Path, default: str) -> None:
    with pytest.raises(UserError, match=r"mine\.py, line 1: the default of k is .*: write a constant"):
        bound(tmp_path, f"k={default}")


@pytest.mark.parametrize(
    ("annotation", "value", "made"),
    [
        ("float", 1, 1.0),
        ("Annotated[float, Ge(0)]", 2, 2.0),
        ("'float | None'", None, None),
        ("Optional[float]", 1, 1.0),
        ("float | Literal['midweak']", "midweak", "midweak"),
        ("float | Literal['midweak']", 1, 1.0),
        ("typing.Annotated[int, annotated_types.Interval(ge=1, lt=4)]", 3, 3),
        ("tuple[int, ...]", [1, 2], [1, 2]),
        ("Mapping[str, float]", {"a": 1}, {"a": 1.0}),
        ("Sequence[str] | str", "ab", "ab"),
        ("Tensor", "anything", "anything"),
        ("Annotated[float, Mine(3)]", "anything", "anything"),
        ("Annotated[float, Ge(least)]", "anything", "anything"),
        ("float[3]", "anything", "anything"),
        ("__import__('os').system('true')", "anything", "anything"),
    ],
)
def test_an_annotation_converts_and_an_unknown_one_checks_nothing(
    tmp_path: Path, annotation: str, value: Any, made: Any
) -> None:
    found = bound(tmp_path, f"k: {annotation}", k=value)["k"]
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("float", True, "true: must be a number"),
        ("int", 1.5, "1.5: must be a whole number"),
        ("int", True, "true: must be a whole number"),
        ("bool", "maybe", "maybe: must be true or false"),
        ("Annotated[float, Gt(0), Le(1)] | None", 2, "2: must be a number greater than 0 and of at most 1, or null"),
        ("Annotated[float, Literal[1, -1]]", 0.5, "0.5: must be a number of 1 or -1"),
        ("Annotated[int, Interval(ge=1, lt=4)]", 4, "4: must be a whole number of at least 1 and below 4"),
        ("Annotated[list[int], MinLen(2)]", [1], "must be a list of at least 2 entries"),
        ("Annotated[list[int], Len(0, 2)]", [1, 2, 3], "must be a list of at most 2 entries"),
        ("list[int]", [1, "b"], r"k\[1\]=b: must be a whole number"),
        ("tuple[int, int]", [1], "must be a list"),
        ("dict[str, int]", {"a": "b"}, r"k\.a=b: must be a whole number"),
        ("Annotated[float, 'a weight']", "much", "much: must be a weight"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(tmp_path: Path, annotation: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        bound(tmp_path, f"k: {annotation}", k=value)


def test_all_values_that_do_not_fit_are_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"args\.a=x: .*\n.*args\.b=y: "):
        bound(tmp_path, "a: int, b: float, c: str", a="x", b="y", c="z")


def rules() -> list[tuple[str, str]]:
    """(folder, name) of every loss and rule that ships."""
    return [
        (folder, path.stem)
        for folder in ("losses", "combining", "selection")
        for path in sorted((ROOT / "w2s_cli" / folder).glob("*.py"))
        if not path.stem.startswith("_")
    ]


def arguments(folder: str, name: str) -> dict[str, Any]:
    """All arguments of one with their defaults."""
    given = {"confidence": {"threshold": 0.5}, "truth_budget": {"share": 0.5}}.get(name, {})  # one of two is needed
    return planned(folder, name, given)


def planned(folder: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """All arguments of one as a plan has them."""
    return bind(ROOT / "w2s_cli" / folder / f"{name}.py", name, args, at_run_time=AT_RUN_TIME.get(folder, ()))


def run_it(folder: str, name: str, args: dict[str, Any]) -> None:
    """Call the loss or rule on a few rows of two classes."""
    module = importlib.import_module(f"w2s_cli.{folder}.{name}")
    rng = np.random.default_rng(0)
    right = rng.random((5, 60)) < np.array([0.95, 0.9, 0.85, 0.8, 0.9])[:, None]
    truth = np.arange(60) % 2
    said = np.where(right, truth, 1 - truth)
    p = np.stack([0.9 - 0.8 * said, 0.1 + 0.8 * said], axis=2)  # [supervisors, rows, classes]
    if folder == "losses":
        prepared = module.prepare(torch.from_numpy(p[0]), **args) if hasattr(module, "prepare") else args
        getattr(module, name)(torch.randn(60, 2), torch.from_numpy(p[0]).float(), progress=0.5, **prepared)
    elif folder == "combining":
        getattr(module, name)(Votes(p, np.ones((5, 60), bool), np.full(5, 1.5), p[0], np.full(2, 0.5)), **args)
    else:
        features = (np.eye(2, 3)[truth] + rng.normal(size=(60, 3)) * 0.3).astype(np.float32)
        ids = [f"r{row}" for row in range(60)]
        getattr(module, name)(Labels(ids, p[0], np.ones(60, bool), features, truth, 0), **args)


@pytest.mark.parametrize(("folder", "name"), rules())
def test_the_plan_refuses_what_the_rule_refuses_and_takes_what_it_takes(folder: str, name: str) -> None:
    defaults = arguments(folder, name)
    run_it(folder, name, defaults)
    for argument in defaults:
        for value in (-1, 0, 0.25, 1, 2, "nothing"):
            args = {**defaults, argument: value}
            if isinstance(defaults[argument], bool) or argument == "center":
                continue  # Python takes anything for true or false; logconf reads center only for a batch of one row
            by_plan = refused(lambda args=args: planned(folder, name, args))  # type: ignore[misc]
            run = refused(lambda args=args: run_it(folder, name, args))  # type: ignore[misc]
            assert by_plan == run, f"{name}: {argument}={value}"


def refused(action: Callable[[], Any]) -> bool:
    """Whether it says no: in words, or by what Python and NumPy say of a value that they cannot take."""
    try:
        action()
    except (UserError, TypeError, ValueError, IndexError):
        return True
    return False


@pytest.mark.parametrize(
    ("folder", "name", "argument", "value"),
    [
        ("losses", "logconf", "center", 0.25),
        ("losses", "logconf", "balance", True),
        ("selection", "knn", "itself", True),
    ],
)
def test_arguments_that_one_row_or_two_classes_never_use_are_checked_too(
    folder: str, name: str, argument: str, value: Any
) -> None:
    args = arguments(folder, name)
    assert planned(folder, name, {**args, argument: value})[argument] == value
    assert refused(lambda: planned(folder, name, {**args, argument: "nothing"}))
