"""What a command may load: nothing heavy to plan, list, show, help, or to print what is finished."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

PROBE = """
import json, sys
from w2s_cli.cli import dispatch
code = dispatch(json.loads(sys.argv[1]))
heavy = {"torch", "transformers", "datasets", "pandas", "accelerate", "peft", "matplotlib", "rich"} & set(sys.modules)
print("LOADED", json.dumps([code, sorted(heavy), "hydra" in sys.modules]))
"""


def loaded(folder: Path, *words: str) -> tuple[int, list[str], bool]:
    """(exit code, heavy modules, whether Hydra) after a command in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    last = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("LOADED"))
    code, heavy, hydra = json.loads(last.removeprefix("LOADED "))
    return code, heavy, hydra


@pytest.mark.slow
def test_nothing_heavy_is_loaded_to_plan_list_show_or_to_show_finished_results(ran: list[str], tmp_path: Path) -> None:
    key = next((tmp_path / "outputs").glob("stages/finetune/weak-*")).name[-12:]
    for words in (["train", *ran], ["plan", *ran], ["evaluate", *ran]):
        assert loaded(tmp_path, *words) == (0, [], True), words[0]
    for words in (
        ["ls"],
        ["show", key],
        ["why", key],
        ["status"],
        ["logs", key],
        ["gc"],
        ["--help"],
        ["train", "--help"],
        ["--version"],
        ["completion", "words", "w2s plan loss=logconf loss.args."],
        ["completion", "words", "w2s show 1"],
        ["completion", "words", "w2s table --"],
    ):
        assert loaded(tmp_path, *words) == (0, [], False), words
