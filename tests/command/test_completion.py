"""Tab completes whatever a command line can hold, in bash, zsh and fish, and at once."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.terminal import Terminal
from w2s_cli.commands import COMMANDS
from w2s_cli.commands.candidates import candidates
from w2s_cli.config.declared import class_of, declared_fields

Run = Callable[..., subprocess.CompletedProcess[str]]
LONGEST_S = 0.3


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a config folder `mine` of the user's own."""
    for name, text in {
        "loss/focal.yaml": "name: focal\nargs: {gamma: 2.0}\n",
        "losses/focal.py": "def focal(logits, labels, *, progress, gamma: float = 2.0, hard: bool = False):\n    pass\n",
        "method/twice.yaml": "name: twice\nbase: naive\nstages:\n  first: {kind: finetune}\n",
        "prior/flat.yaml": "a: 1\n",
    }.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("w2s tra", ["train"]),
        ("w2s co", ["config", "completion"]),
        ("tra", ["train"]),
        ("w2s plan --m", ["--multirun"]),
        ("w2s plan launcher.j", ["launcher.jobs="]),
        (
            "w2s plan loss=logco",
            ["loss=logconf", "loss=logconf_balanced", "loss=logconf_eleuther", "loss=logconf_reference"],
        ),
        ("w2s plan -m loss=xent,k", ["loss=xent,kl"]),
        ("w2s plan -m loss=xent,kl,xen", []),
        ("w2s plan -m weak=gpt2,wordnet-x", ["weak=gpt2,wordnet-xs"]),
        ("w2s plan --config-dir mine loss=f", ["loss=focal"]),
        ("w2s plan --config-dir=mine loss=f", ["loss=focal"]),
        ("w2s plan --config-dir mine -m loss=xent,f", ["loss=xent,focal"]),
        ("w2s plan --config-dir mine method=tw", ["method=twice"]),
        ("w2s plan --config-dir mine prio", ["prior="]),
        ("w2s plan --config-dir mine loss=focal loss.args.", ["loss.args.gamma=", "loss.args.hard="]),
        ("w2s plan --config-dir mine loss=focal +loss.args.h", ["+loss.args.hard="]),
        ("w2s plan --config-dir mine loss=focal loss.args.hard=", ["loss.args.hard=true", "loss.args.hard=false"]),
        ("w2s plan --config-dir mine loss.name=foc", ["loss.name=focal"]),
        ("w2s plan --config-dir mine method=twice --force ", ["first", "weak", "labels", "student", "ceiling"]),
        ("w2s plan pairs=", ["pairs=all", "pairs=upper", "pairs=strict"]),
        ("w2s plan keep_weights=t", ["keep_weights=true"]),
        ("w2s plan student.precision=n", ["student.precision=null"]),
        ("w2s plan stopping.roles=[weak,c", ["stopping.roles=[weak,ceiling"]),
        ("w2s train ladder=[gpt2,gpt2-m", ["ladder=[gpt2,gpt2-medium"]),
        ("w2s train ensemble=[opt-12", ["ensemble=[opt-125m"]),
        ("w2s config stopping.m", ["stopping.metric", "stopping.metric="]),
        ("w2s data ch", ["check"]),
        ("w2s data check data=wordn", ["data=wordnet_living"]),
        ("w2s reproduce ele", ["eleuther_pgr"]),
        ("w2s reproduce eleuther_pgr data=boo", ["data=boolq"]),
        ("w2s reproduce --su", ["--summary"]),
        ("w2s table p", ["pairs", "pgr"]),
        ("w2s table agg", ["aggregate="]),
        ("w2s plot scal", ["scaling"]),
        ("w2s plot --w", ["--width"]),
        ("w2s gc --", ["--help", "--outputs", "--yes", "--days"]),
        ("w2s ls out", ["outputs="]),
        ("w2s completion z", ["zsh"]),
        ("w2s plan --config-dir mi", []),  # a folder: the shell completes it
        ("w2s nosuch ", []),
    ],
)
def test_the_words_that_fit_are_offered(own: Path, line: str, offered: list[str]) -> None:
    found = candidates(line)
    assert found[: len(offered)] == offered if line.endswith("--force ") else found == offered


def test_all_groups_and_fields_with_a_beginning_are_offered() -> None:
    fields = {f"{name}=" for name in declared_fields() if class_of(name) is None}
    assert set(candidates("w2s plan s")) == {
        *(field for field in fields if field.startswith("s")),
        *("strong=", "select=", "stopping="),
    }
    assert fields <= set(candidates("w2s plan "))


def test_stages_and_runs_of_the_outputs_folder_of_the_line_are_offered(
    ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in (tmp_path / "outputs" / "stages").glob("*/*-*")]
    keys = {name[-12:] for name in names}
    (run,) = (tmp_path / "outputs" / "runs").glob("*/*")
    for command in ("show", "why", "logs", "rm", "diff"):
        assert keys <= set(candidates(f"w2s {command} ")), command
    for command in ("status", "report", "plot", "diff", "table"):
        assert {"latest", run.name} <= set(candidates(f"w2s {command} ")), command
    assert run.name in candidates("w2s rm ")
    assert "latest" not in candidates("w2s rm ")  # which takes no run by it
    assert candidates(f"w2s report {run.parent.name}/{run.name[:6]}") == [f"{run.parent.name}/{run.name}"]
    assert candidates("w2s show student-") == sorted(name for name in names if name.startswith("student-"))
    assert candidates("w2s ls fine") == ["finetune"]
    (tmp_path / "outputs").rename(tmp_path / "other")
    assert candidates("w2s show ") == []
    for where in ("outputs=other", "--outputs other", "--outputs=other"):
        assert keys <= set(candidates(f"w2s show {where} ")), where


def test_every_command_can_be_completed(own: Path) -> None:
    for command in COMMANDS:
        assert "--help" in candidates(f"w2s {command} -") or command == "completion"
        candidates(f"w2s {command} ")
        candidates(f"w2s {command} x=")


def test_a_tab_takes_no_time(own: Path) -> None:
    took = []
    for line in ("w2s plan s", "w2s plot --", "w2s show 1", "w2s plan --config-dir mine loss=focal loss.args.") * 3:
        began = time.process_time(), os.times()
        subprocess.run(
            [sys.executable, "-m", "w2s_cli", "completion", "words", line],
            env=environment(),
            check=True,
            capture_output=True,
        )
        now = os.times()
        took.append(now.children_user + now.children_system - began[1].children_user - began[1].children_system)
    assert max(map(min, zip(took[:4], took[4:8], took[8:], strict=True))) < LONGEST_S, (
        took
    )  # the rest is another program's load


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(w2s completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(w2s completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "w2s completion fish | source"),
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", [pytest.param(name, marks=[pytest.mark.slow] * (name != "bash")) for name in SHELLS])
def test_tab_works_in_the_shell_itself(own: Path, shell: str) -> None:
    start, install = SHELLS[shell]
    if shutil.which(start[0]) is None:
        pytest.skip(f"{shell} is not installed here")
    (own / "bin").mkdir()
    real = f'[ "$1" = completion ] && exec {sys.executable} -m w2s_cli "$@"'
    (own / "bin" / "w2s").write_text(f'#!/bin/sh\n{real}\necho "$*" >> called\n')  # any other command is only noted
    (own / "bin" / "w2s").chmod(0o755)
    path = f"{own / 'bin'}:{os.environ['PATH']}"
    env = environment(PATH=path, TERM="xterm", HOME=str(own), PYTHONPATH=str(ROOT), fish_features="no-query-term")
    terminal = Terminal(start, own, env, columns=120, rows=40)
    time.sleep(0.5)
    terminal.type(f"{install}\r")
    for typed, whole in {
        "w2s plan -m loss=xent,k": "plan -m loss=xent,kl",
        "w2s plan launcher.j": "plan launcher.jobs=",
        "w2s plan --config-dir mine loss=fo": "plan --config-dir mine loss=focal",
        "w2s plan pairs=u": "plan pairs=upper",
    }.items():
        for patience in (1.0, 3.0, 9.0):  # of a busy machine
            terminal.type(f"{typed}\t")
            terminal.read_for(patience)
            terminal.type("\r")
            terminal.read_for(patience)
            called = (own / "called").read_text().splitlines() if (own / "called").exists() else [""]
            if called[-1] == whole:
                break
        assert called[-1] == whole
    terminal.end()
