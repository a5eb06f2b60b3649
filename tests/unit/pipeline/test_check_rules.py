"""What a loss or rule would refuse when it runs is refused when the run is planned, and nothing else is."""

import importlib
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
from w2s_cli.pipeline.check_rules import ARGUMENTS, EITHER, check_arguments
from w2s_cli.pipeline.resolve import bind
from w2s_cli.selection import Labels

Run = Callable[..., subprocess.CompletedProcess[str]]

SELECTION = ["plan", "method=selection"]
WORDS: dict[str, tuple[list[str], str]] = {
    "share above 1": (
        [*SELECTION, "select=confidence_share", "select.args.share=1.5"],
        "args.share=1.5 must lie between",
    ),
    "threshold below 0": ([*SELECTION, "select.args.threshold=-1"], "confidence: args.threshold=-1.0 must lie between"),
    "both of two": ([*SELECTION, "select.args.share=0.5"], "give either args.threshold or args.share, and null"),
    "neither of two": ([*SELECTION, "select.args.threshold=null"], "give either args.threshold or args.share"),
    "no neighbours": ([*SELECTION, "select=knn_filter", "select.args.k=0"], "knn: args.k=0 must be a whole number"),
    "half a neighbour": ([*SELECTION, "select=knn_filter", "select.args.k=2.5"], "args.k=2.5 must be a whole number"),
    "null neighbours": ([*SELECTION, "select=knn_filter", "select.args.k=null"], "args.k=null must be a whole number"),
    "unknown action": (
        [*SELECTION, "select=topofilter", "select.args.action=fliter"],
        "topofilter: args.action=fliter must be one of filter, relabel",
    ),
    "misspelt argument": ([*SELECTION, "+select.args.treshold=0.5"], 'Did you mean "threshold"'),
    "share of a control": (["plan", "control=truth_mix", "control.args.share=2"], "truth_mix: args.share=2.0 must lie"),
    "noise that matches nothing": (
        ["plan", "control=matched_noise", "control.args.match=rates"],
        "one of rate, confusion",
    ),
    "misspelt argument of a control": (["plan", "control=truth_mix", "+control.args.shar=1"], 'Did you mean "share"'),
    "unknown vote": (
        ["plan", "method=ensemble", "combine=majority", "combine.args.output=soft"],
        "majority: args.output=soft must be one of hard, shares",
    ),
    "misspelt argument of a combination": (
        ["plan", "method=ensemble", "combine=majority", "+combine.args.outptu=hard"],
        'Did you mean "output"',
    ),
    "unknown ramp": (
        ["plan", "loss=logconf", "loss.args.ramp=liner"],
        "logconf: args.ramp=liner must be one of linear",
    ),
    "a loss's word for a number": (
        ["plan", "loss=entropy", "loss.args.alpha=half"],
        "args.alpha=half must be a number",
    ),
    "misspelt argument of a loss": (["plan", "loss=logconf", "+loss.args.aplha=1"], 'Did you mean "alpha"'),
}


@pytest.mark.parametrize("case", WORDS, ids=lambda name: name.replace(" ", "-"))
def test_what_means_nothing_is_refused_before_anything_runs(w2s: Run, case: str) -> None:
    words, said = WORDS[case]
    assert_refused(w2s(*words, code=None), said)


def test_a_rule_of_the_users_own_is_left_to_itself(w2s: Run, tmp_path: Path) -> None:
    """Its k may be what it likes, and its file is not run to plan."""
    for folder, name, text in (
        ("selection", "mine.py", "raise SystemExit('run')\ndef mine(labels, *, k: int = -5):\n    return labels\n"),
        ("select", "mine.yaml", "name: mine\nargs: {k: -7}\n"),
    ):
        (tmp_path / "own" / folder).mkdir(parents=True)
        (tmp_path / "own" / folder / name).write_text(text)
    assert "mine" in w2s("plan", "--config-dir", "own", "method=selection", "select=mine").stdout


def rules() -> list[tuple[str, str]]:
    """(folder, name) of every loss and rule that ships."""
    return [
        (folder, path.stem)
        for folder in ARGUMENTS
        for path in sorted((ROOT / "w2s_cli" / folder).glob("[a-z]*.py"))
        if path.stem != "__init__"
    ]


def arguments(folder: str, name: str) -> dict[str, Any]:
    """All arguments of one with their defaults."""
    path = ROOT / "w2s_cli" / folder / f"{name}.py"
    found = bind(path, name, {}, given=("progress",))
    return {**found, **({EITHER[name][0]: 0.5} if folder == "selection" and name in EITHER else {})}


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
    check_arguments(folder, name, defaults)
    run_it(folder, name, defaults)
    for argument in defaults:
        for value in (-1, 0, 0.25, 1, 2, "nothing"):
            args = {**defaults, argument: value}
            planned = refused(lambda args=args: check_arguments(folder, name, args))  # type: ignore[misc]
            run = refused(lambda args=args: run_it(folder, name, args))  # type: ignore[misc]
            assert planned == run, f"{name}: {argument}={value}"


def refused(action: Callable[[], None]) -> bool:
    """Whether it says no: in words, or by what Python and NumPy say of a value that they cannot take."""
    try:
        action()
    except (UserError, TypeError, ValueError, IndexError):
        return True
    return False
