"""The commands that `w2s table` prints for missing cells run as they are printed, in another folder than that of the runs."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import environment, sentences, write_jsonl
from tests.inside import run_inside

QUICK = ["weak.lr=5e-3", "strong.lr=5e-3", "bootstrap=200", "train.epochs=0.5"]
LOSS = "from torch.nn.functional import cross_entropy\n\ndef mine(logits, labels, *, progress):\n    return cross_entropy(logits, labels)\n"


def w2s(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`w2s …` in a folder, which must succeed."""
    done = run_inside(words, folder, environment())
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def printed(said: str) -> list[list[str]]:
    """The commands in an output, without `w2s`."""
    return [shlex.split(command)[1:] for command in re.findall(r"Fill it: (w2s .*)", said)]


@pytest.fixture
def study(tmp_path: Path, tiny_models: dict[str, Path]) -> Path:
    """A folder with own models, data and a loss, in which `w2s` is called with relative paths."""
    folder = tmp_path / "study"
    for name in ("weak", "strong"):
        shutil.copytree(tiny_models[name], folder / "models" / name)
    for number, name in enumerate(("one", "two words")):
        write_jsonl(folder / f"{name}.jsonl", sentences(160, seed=number))
    for place, text in (("losses/mine.py", LOSS), ("loss/boldest.yaml", "name: mine\nlabel: bold\nargs: {}\n")):
        (folder / "own" / place).parent.mkdir(parents=True)
        (folder / "own" / place).write_text(text)
    return folder


def test_what_table_prints_for_a_missing_cell_runs_in_another_folder(study: Path, tmp_path: Path) -> None:
    models = ["weak=local", "weak.path=models/weak", "strong=local", "strong.path=models/strong", *QUICK]
    data = ["data=local", "data.text=text", "data.label=label", "data.id=id"]
    one, two = ["data.path=one.jsonl", "data.name=one"], ["data.path='two words.jsonl'", "data.name=two"]
    own = ["--config-dir", "own", "loss=boldest"]
    for words in ([*one], [*two], [*one, *own]):
        w2s(study, "train", *models, *data, *words)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    table = ["table", "rows=data", "columns=loss", "metric=student", "outputs=../study/outputs"]
    [missing] = printed(w2s(elsewhere, *table).stdout)
    assert missing[0] == "train"
    w2s(elsewhere, *missing)
    assert not (elsewhere / "outputs").exists()
    assert printed(w2s(elsewhere, *table).stdout) == []
    assert "bold" in w2s(elsewhere, *table).stdout


def test_in_the_folder_of_the_runs_a_printed_command_has_their_short_paths(study: Path) -> None:
    models = ["weak=local", "weak.path=models/weak", "strong=local", "strong.path=models/strong", *QUICK]
    data = ["data=local", "data.text=text", "data.label=label", "data.id=id"]
    for words in (["data.path=one.jsonl", "data.name=one"], ["data.path=one.jsonl", "data.name=two", "seed=1"]):
        w2s(study, "train", *models, *data, *words)
    missing = printed(w2s(study, "table", "rows=data", "columns=seed", "metric=student").stdout)
    assert len(missing) == 2
    for words in missing:
        assert {"weak.path=models/weak", "data.path=one.jsonl"} <= set(words)
        assert not any(word.startswith(("--config-dir", "outputs=")) for word in words)
        assert "stages" in w2s(study, "plan", *words[1:]).stdout
