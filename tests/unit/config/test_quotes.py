"""Double quotes of the command line are YAML's: what the comments of the YAML files tell is what a stage gets."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.conftest import ROOT
from tests.unit.config.test_sweeps import configurations
from w2s_cli.config import compose
from w2s_cli.config.quotes import escaped, unescaped
from w2s_cli.config.words import parse, typed
from w2s_cli.errors import UserError
from w2s_cli.results.table.missing import written

TEXTS = [
    *(r'"\nLabel:"', r'"a\\"', r'"a\\nb"', r'"say \"hi\"\n"', r'"\\\"x"', r'"\u00e9\t\x41"', '"plain"', r"'a\nb'"),
    *(r'"a\\\n"', r'"a\n"', r'"\\\n\n"', r'"\U0010FFFF"'),
    *(r'["\n a"," b"]', r'"C:\\dir\\"', r'{a: "\n", b: 1}', r'"\\\\"', r'"\U0001F600"', "3", "word", r'"\"\n\""'),
]


def in_hydra(word: str) -> Any:
    """The value of a word by Hydra's parser, as plain text, list or dictionary."""
    value = OverridesParser.create().parse_override(word).value()
    return getattr(value, "text", value)


@pytest.mark.parametrize("text", TEXTS)
def test_a_quoted_text_has_the_value_that_yaml_gives_it(text: str) -> None:
    assert str(in_hydra(unescaped(f"field={text}"))) == str(yaml.safe_load(text))


@pytest.mark.parametrize("text", TEXTS)
def test_a_shown_word_is_one_line_and_means_the_same_when_it_is_pasted(text: str) -> None:
    word = unescaped(f"field={text}")
    assert "\n" not in escaped(word)
    assert unescaped(escaped(word)) == word


def test_an_escape_that_yaml_does_not_have_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        UserError, match=r"data\.path=\"C:\\data\": \\d is no escape in double quotes; in single quotes"
    ):
        unescaped(r'data.path="C:\data"')
    assert in_hydra(unescaped(r"data.path='C:\data'")) == r"C:\data"


@pytest.mark.parametrize("line", ["ssh n7 {worker}", r'qsub -N "{name}" a,b=\"1\" {worker} # it\'s \ ', "{worker}"])
def test_a_line_of_the_shell_needs_no_quotes_of_its_own(line: str) -> None:
    [word] = parse([f"launcher.template={line}"]).overrides
    assert in_hydra(word) == line
    assert parse([typed(word)]).overrides == [word], "the word as it is recorded means the same"
    assert in_hydra(parse(["launcher.template='ssh n7 {worker}'"]).overrides[0]) == "ssh n7 {worker}"


@pytest.mark.parametrize("escape", [r"\U00110000", r"\UFFFFFFFF", r"\ud83d", r"\ud83d\ude00", r"\uDFFF"])
def test_an_escape_of_no_character_is_refused(escape: str) -> None:
    with pytest.raises(UserError, match=r"\\[uU][0-9a-fA-F]+ is no character of Unicode"):
        unescaped(f'field="a{escape}"')


@pytest.mark.parametrize(
    ("words", "place", "text"),
    [
        (["train=token_head", r'train.head.suffix="\nLabel:"'], ("train", "head", "suffix"), "\nLabel:"),
        (["method=few_shot", r'few_shot.suffix="\nLabel:"'], ("few_shot", "suffix"), "\nLabel:"),
        (["method=few_shot", r'few_shot.separator="\n---\n"'], ("few_shot", "separator"), "\n---\n"),
        ([r'data.template="Title: {title}\nBody: {body}"'], ("data", "template"), "Title: {title}\nBody: {body}"),
        ([r'few_shot.tokens=["\ta"," b"]'], ("few_shot", "tokens"), ["\ta", " b"]),
        ([r"few_shot.suffix='\nLabel:'"], ("few_shot", "suffix"), r"\nLabel:"),
    ],
)
def test_every_text_setting_takes_escapes(words: list[str], place: tuple[str, ...], text: Any) -> None:
    found: Any = configurations(*words)[0]
    for name in place:
        found = found[name]
    assert found == text


def test_swept_texts_take_escapes_too_and_are_stored_as_typed() -> None:
    compose.run(["seed=0"], lambda jobs, folders: 0)  # gives Hydra the defaults
    jobs = compose.composed(parse(["-m", r'few_shot.suffix="\nLabel:","\tA:"']))
    assert [job.values["few_shot"]["suffix"] for job in jobs] == ["\nLabel:", "\tA:"]
    assert [job.words for job in jobs] == [[r'few_shot.suffix="\nLabel:"'], [r'few_shot.suffix="\tA:"']]


@pytest.mark.parametrize("value", ["\nLabel:", "it's", "a\\nb", 'say "hi"', "é\t", "plain words", "C:\\"])
def test_a_word_that_a_table_writes_has_the_value(value: str) -> None:
    assert in_hydra(unescaped(f"field={written(value)}")) == value


COMMANDS = [
    (path, line.strip("# \n"))
    for path in sorted((ROOT / "configs").rglob("*.yaml"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.startswith("#   w2s train") and "\\" in line
]


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=lambda value: value.stem if isinstance(value, Path) else "")
def test_what_the_comments_tell_reaches_the_configuration(path: Path, command: str) -> None:
    """`train.head.suffix='"\\nLabel:"'` of configs/data/sandbox_*.yaml."""
    words = shlex.split(command)[2:]
    found = configurations(*words)[0]
    quoted = [word for word in words if "\\" in word]
    for name, _, text in (word.partition("=") for word in quoted):
        value: Any = found
        for part in name.split("."):
            value = value[part]
        assert value == yaml.safe_load(text)
        assert "\n" in value
    assert quoted
    assert all(typed(word) in words for word in parse(words).overrides)


def test_comments_tell_of_escapes() -> None:
    assert {path.stem for path, _ in COMMANDS} >= {"sandbox_chat", "sandbox_math", "sandbox_code", "token_head"}
