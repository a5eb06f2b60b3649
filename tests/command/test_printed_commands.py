"""The commands that w2s prints run as they are printed, in another folder than that of the runs too."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import environment, sentences, write_jsonl
from tests.inside import run_inside

QUICK = ["weak.lr=5e-3", "strong.lr=5e-3", "bootstrap=200", "train.epochs=0.5"]
LOSS = "from torch.nn.functional import cross_entropy\n\ndef mine(logits, labels, *, progress):\n    return cross_entropy(logits, labels)\n"


def w2s(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`w2s …` in a folder, which must end with `code`."""
    done = run_inside(words, folder, environment())
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def printed(said: str) -> list[list[str]]:
    """The commands in an output, without `w2s`."""
    return [shlex.split(command)[1:] for command in re.findall(r"Fill it: (w2s .*)", said)]


def elsewhere_printed(done: subprocess.CompletedProcess[str], outputs: str) -> list[list[str]]:
    """The commands in an output that name the outputs folder, without `w2s`."""
    commands = re.findall(
        rf"w2s ([a-z]+ (?:[^ ;,:]+ )*?outputs={re.escape(outputs)})(?![\w/])", done.stdout + done.stderr
    )
    return [shlex.split(command) for command in commands]


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.fixture
def elsewhere(tmp_path: Path, ran: list[str]) -> Path:
    """A folder beside the outputs folder of a finished run."""
    assert ran
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def outputs(elsewhere: Path) -> str:
    """The outputs folder of the finished run, as w2s names it in another folder."""
    return str(elsewhere.parent / "outputs")


def stage(folder: Path, name: str) -> Path:
    """The folder of the finished run's stage with a path that begins so."""
    return next((folder.parent / "outputs" / "stages").glob(f"{name}-*"))


def run_name(folder: Path) -> str:
    """The name of the finished run, without its date."""
    return next((folder.parent / "outputs" / "runs").glob("*/*")).name


@pytest.mark.parametrize(
    ("words", "code", "printed_ones"),
    [
        pytest.param(lambda folder: ["table"], 0, ["show", "why"], id="a figure of a table"),
        pytest.param(lambda folder: ["show", run_name(folder)], 2, ["report", "table"], id="a run in place of a stage"),
        pytest.param(lambda folder: ["logs", run_name(folder)], 2, ["status"], id="a run in place of a stage's log"),
        pytest.param(
            lambda folder: ["status", stage(folder, "finetune/student").name[-12:]],
            2,
            ["show"],
            id="a stage in place of a run",
        ),
        pytest.param(lambda folder: ["show", "zzz"], 2, ["ls"], id="no stage of this name"),
        pytest.param(
            lambda folder: ["rm", f"../outputs/runs/{run_name(folder)}"], 2, ["ls"], id="no stage of this path"
        ),
    ],
)
def test_a_printed_command_names_the_outputs_folder_that_is_meant(
    elsewhere: Path, words: Callable[[Path], list[str]], code: int, printed_ones: list[str]
) -> None:
    said = w2s(elsewhere, *words(elsewhere), f"outputs={outputs(elsewhere)}", code=code)
    commands = [command for command in elsewhere_printed(said, outputs(elsewhere)) if "OTHER" not in command]
    assert [command[0] for command in commands] == printed_ones, said.stdout + said.stderr
    for command in commands:
        w2s(elsewhere, *command)
    assert not (elsewhere / "outputs").exists()


@pytest.mark.slow
def test_the_printed_removals_run_and_free_the_way_for_the_same_command(elsewhere: Path, tiny: list[str]) -> None:
    words = [*tiny, f"outputs={outputs(elsewhere)}"]
    student = stage(elsewhere, "finetune/student") / "stage.json"
    edited = json.loads(student.read_text(encoding="utf-8"))
    edited["params"]["seed"] = 77
    student.write_text(json.dumps(edited), encoding="utf-8")
    for said in (
        w2s(elsewhere, "train", *words, code=2),
        w2s(elsewhere, "show", student.parent.name, words[-1], code=2),
    ):
        [removal] = elsewhere_printed(said, outputs(elsewhere))
        assert removal[0] == "rm"
    w2s(elsewhere, *removal)
    labels = (elsewhere.parent / "outputs").glob("stages/label/*-*")
    w2s(elsewhere, "rm", *(folder.name for folder in labels), words[-1])
    other = [word.replace("bootstrap=200", "bootstrap=300") for word in words]
    [again] = elsewhere_printed(w2s(elsewhere, "evaluate", *other, code=2), outputs(elsewhere))
    assert again[0] == "train"
    w2s(elsewhere, *again)
    (stage(elsewhere, "finetune/ceiling") / "result" / "model" / "config.json").write_text("{}", encoding="utf-8")
    [removal] = elsewhere_printed(w2s(elsewhere, "doctor", "--verify", words[-1], code=2), outputs(elsewhere))
    w2s(elsewhere, *removal)
    w2s(elsewhere, "train", *words)
    assert "PROBLEM" not in w2s(elsewhere, "doctor", "--verify", words[-1]).stdout
    comparisons = (elsewhere.parent / "outputs").glob("stages/evaluate/*-*")
    w2s(elsewhere, "rm", *(folder.name for folder in comparisons), words[-1])
    said = w2s(elsewhere, "table", words[-1])
    assert "The stages behind these figures were removed" in said.stdout
    assert elsewhere_printed(said, outputs(elsewhere)) == []


def test_the_printed_commands_of_gc_remove_a_runs_stages(elsewhere: Path) -> None:
    words = [f"outputs={outputs(elsewhere)}"]
    [listing] = elsewhere_printed(w2s(elsewhere, "rm", run_name(elsewhere), *words), outputs(elsewhere))
    assert listing[0] == "gc"
    [removal] = elsewhere_printed(w2s(elsewhere, *listing, "--days", "0"), outputs(elsewhere))
    assert removal[:3] == ["gc", "--days", "0"]
    w2s(elsewhere, *removal)
    assert not list((elsewhere.parent / "outputs" / "stages").glob("*/*-*"))
