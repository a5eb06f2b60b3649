"""`w2s config` and `--help`: every field with its type, range, default and meaning, and the origin of every value."""

import importlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from w2s_cli import commands
from w2s_cli.commands import COMMANDS
from w2s_cli.commands.options import Parser
from w2s_cli.commands.reference import page
from w2s_cli.config.described import described
from w2s_cli.results.table.request import OPTIONS

Run = Callable[..., subprocess.CompletedProcess[str]]


def origins(out: str) -> dict[str, tuple[str, str]]:
    """Field → (value, origin) of a printed configuration."""
    rows = (re.split(r"\s{2,}", line.strip()) for line in out.splitlines()[1:])
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def test_every_value_has_its_origin(w2s_inside: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "gentle.yaml").write_text("name: logconf\nargs: {alpha: 0.1}\n")
    words = ["--config-dir", "mine", "loss=gentle", "weak=gpt2", "strong.lr=3e-5", "debug=tiny", "+loss.args.ramp=jump"]
    shown = origins(w2s_inside("config", *words).stdout)
    assert shown["weak.id"] == ("gpt2", "configs/model/gpt2.yaml")
    assert shown["strong.lr"] == ("3e-05", "command line")
    assert shown["strong.lr_source"] == ("given", "command line: strong.lr")
    assert shown["strong.batch_size"] == ("32", "configs/model/wordnet-l.yaml")
    assert shown["loss.args.alpha"] == ("0.1", "mine/loss/gentle.yaml")
    assert shown["loss.args.ramp"] == ("jump", "command line")
    assert shown["loss.args.warmup"] == ("0.2", "default of w2s_cli/losses/logconf.py")
    assert shown["data.limits.test"] == ("64", "configs/debug/tiny.yaml")
    assert shown["student.lr"] == ("null", "default")
    assert shown["seed"] == ("0", "default")
    assert shown["method.stages.student.model"] == ("${strong}", "configs/method/naive.yaml")
    assert {field.name for field in described()} - set(shown) <= {
        *(field.name for field in described() if field.name.startswith("pretrain.")),
        *("loss.args", "select.args", "data.expected", "method.stages"),
    }


def test_values_that_w2s_fills_in_after_the_files_have_their_origin_too(w2s_inside: Run) -> None:
    shown = origins(w2s_inside("config", "control=self_pair", "method=ensemble").stdout)
    assert shown["strong.name"] == ("wordnet-xs", "control.self_pair: the weak model")
    assert shown["method.stages.votes.kind"] == ("label", "configs/method/ensemble.yaml")
    assert shown["method.stages.student.rows"] == ("strong_train", "configs/method/naive.yaml")


def test_an_argument_that_only_the_code_has_is_shown_and_set_like_any_other(w2s_inside: Run) -> None:
    shown = origins(w2s_inside("config", "loss.args.balance", "loss=logconf").stdout)
    assert shown == {"loss.args.balance": ("false", "default of w2s_cli/losses/logconf.py")}
    for sign in ("", "+"):
        assert "stages" in w2s_inside("plan", "loss=logconf", f"{sign}loss.args.balance=true").stdout
    listed = origins(w2s_inside("config", "grader", "grader=number", "objective", "objective=orpo").stdout)
    assert {"grader.args.compare", "objective.args.weight"} <= set(listed)
    assert "no such argument" in w2s_inside("config", "loss.args.nosuch", code=2).stderr


def test_one_group_and_one_field_can_be_asked_for(w2s_inside: Run) -> None:
    assert set(origins(w2s_inside("config", "stopping", "seed", "seed=3").stdout)) == {
        *("stopping.name", "stopping.by", "stopping.metric", "stopping.every", "stopping.patience", "stopping.roles"),
        "seed",
    }
    out = w2s_inside("config", "strong.lr").stdout
    for words in ("meaning: learning rate", "allowed: a number greater than 0", "default: 1e-05"):
        assert words in out
    out = w2s_inside("config", "loss=logconf", "loss.args.ramp").stdout
    assert "allowed: one of linear, jump" in out
    assert "default: linear (w2s_cli/losses/logconf.py)" in out
    assert origins(w2s_inside("config", "outputs", "--outputs", "my dir").stdout)["outputs"] == (
        "my dir",
        "command line",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "names of their groups before them: weak.lr, strong.lr"),
        (["strong.learning_rate"], 'Did you mean "strong.lr"'),
        (["stong"], 'Did you mean "strong"'),
        (["model"], "weak and strong"),
        (["-m", "seed=0,1"], "without -m"),
        (["--reference", "seed=1"], "no other word"),
        (["seed=x"], "seed=x: must be a whole number"),
        (["strong.learning_rate=1"], 'Did you mean "strong.lr"'),
        (["loss=nosuch"], 'unknown loss "nosuch"'),
        (["--outputs"], "--outputs needs a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_question_has_an_answer(w2s_inside: Run, words: list[str], said: str) -> None:
    done = w2s_inside("config", *words, code=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_of_fields_is_up_to_date() -> None:
    assert (ROOT / "docs" / "fields.md").read_text() == page(), "w2s config --reference > docs/fields.md"


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if "words" in command.takes])
def test_the_help_of_a_command_lists_its_fields(w2s_inside: Run, command: str) -> None:
    out = w2s_inside(command, "--help").stdout
    field = {"pretrain": "pretrain.epochs", "data": "data.seed"}.get(command, "bootstrap")
    (line,) = re.findall(rf"^ +{re.escape(field)} +(.*)$", out, re.MULTILINE)
    known = next(each for each in described() if each.name == field)
    assert line.split(maxsplit=1) == [known.written, known.allowed]
    assert f"w2s {command} {COMMANDS[command].example}\n" in out
    assert ("pretrain.lr" in out) == (command == "pretrain")


@pytest.mark.parametrize("command", [name for name, command in COMMANDS.items() if "words" not in command.takes])
def test_the_help_of_a_command_has_an_example(w2s_inside: Run, command: str) -> None:
    out = w2s_inside(command, "--help").stdout
    assert re.search(rf"examples?:\s+w2s {command}", " ".join(out.split()))
    assert "usage" in out


def test_the_help_of_tables_has_every_option_with_its_default(w2s_inside: Run) -> None:
    out = w2s_inside("table", "--help").stdout
    for option in OPTIONS:
        assert re.search(rf"^  {option} +\S+ +\S", out, re.MULTILINE), option
    assert "aggregate  median    of several settings in a cell" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_is_one_that_it_accepts(
    w2s_inside: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    words = COMMANDS[command].example.split()
    if "words" in COMMANDS[command].takes:
        (tmp_path / "my.jsonl").write_text('{"prompt": "a", "is_safe": 0}\n{"prompt": "b", "is_safe": 1}\n')
        extra = ["method=pretrain"] if command == "pretrain" else []
        words = [word for word in words if "=" in word or word == "-m"]
        assert "stages" in w2s_inside("plan", *extra, *words).stdout
        return

    class Accepted(Exception):  # noqa: N818
        pass

    def stop(*_: object, **__: object) -> None:
        raise Accepted

    for file in Path(commands.__file__).parent.glob("*.py"):  # a module imported below would keep the patched function
        importlib.import_module(f"w2s_cli.commands.{file.stem}")
    for module in (
        "options.store_of",
        "table.store_of",
        "doctor.locate",
        "reproduce.load",
    ):  # the first step after parsing
        monkeypatch.setattr(f"w2s_cli.commands.{module}", stop, raising=False)
    parsed: list[object] = []
    parse_args = Parser.parse_known_args
    monkeypatch.setattr(Parser, "parse_known_args", lambda *given: parsed.append(parse_args(*given)) or parsed[-1])
    done = w2s_inside(command, *words, code=None)
    assert parsed or command == "completion", done.stderr
    assert "unrecognized" not in done.stderr


def test_no_field_is_without_a_meaning_but_those_whose_group_says_it() -> None:
    said_by_their_group = ("student.", "ceiling.", "hop.", "data.pools.", "data.limits.")
    silent = [
        field.name for field in described() if not field.meaning and not field.name.startswith(said_by_their_group)
    ]
    plain = re.compile(
        r"(train|pretrain|tune|preference)\.(optimizer|weight_decay|lr|precision|seed|warmup|betas|epochs|schedule)$"
    )
    assert [name for name in silent if not plain.match(name)] == []


def test_the_help_of_a_command_shows_the_values_of_the_files_that_are_chosen_by_default(w2s_inside: Run) -> None:
    lines = dict(re.findall(r"^  (\S+) +(.+?)  ", w2s_inside("train", "--help").stdout, re.MULTILINE))
    assert lines["weak|strong.lr"] == "of its file"  # another one for each model
    assert lines["train.epochs"] == "2"
    assert lines["data.name"] == "wordnet_living"
    assert lines["combine.name"] == "mean_probability"
