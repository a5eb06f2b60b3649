"""Losses, rules and transforms are found by name, all in the same way: the user's first, and refused in plain words."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from w2s_cli import combining, losses, selection
from w2s_cli.data.form import TRANSFORMS, find_grouping, find_transform
from w2s_cli.errors import UserError
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.plugins import find_code
from w2s_cli.store.keys import ast_hash
from w2s_cli.store.store import Store

Load = Callable[[str, Sequence[Any]], Callable[..., Any]]

# kind → what loads it, a name of the package, the same misspelt
KINDS: dict[str, tuple[Load, str, str]] = {
    "losses": (lambda name, folders: losses.load_loss(name, folders).function, "xent", "xnet"),
    "combining": (combining.load_rule, "majority", "majorty"),
    "selection": (lambda name, folders: selection.load_rule(name, folders).function, "confidence", "confidense"),
    TRANSFORMS: (lambda name, folders: find_transform(name, folders, None), "choice", "choise"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def write(folder: Path, kind: str, name: str, text: str) -> Path:
    """`folder`, with a file of that kind and name in it."""
    path = folder / kind / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


@every_kind
def test_the_first_folder_that_has_the_file_is_taken_and_the_package_last(tmp_path: Path, kind: str) -> None:
    load, name, _ = KINDS[kind]
    first = write(tmp_path / "first", kind, "mine", "def mine():\n    return 'first'\n")
    second = write(tmp_path / "second", kind, "mine", "def mine():\n    return 'second'\n")
    write(second, kind, name, f"def {name}():\n    return 'not the package'\n")
    folders = [tmp_path / "nothing", first, second]
    assert load("mine", folders)() == "first"
    assert load(name, [str(folder) for folder in folders])() == "not the package"
    assert load(name, [first]).__doc__ == load(name, []).__doc__ != load(name, folders).__doc__


@every_kind
def test_an_unknown_name_is_refused_with_a_suggestion_of_the_package_or_of_the_users(tmp_path: Path, kind: str) -> None:
    load, name, misspelt = KINDS[kind]
    mine = write(tmp_path, kind, "my_own_one", "")
    with pytest.raises(UserError, match=rf'no "{misspelt}" in {kind}/ .*Did you mean "{name}"\? Known: .*my_own_one'):
        load(misspelt, [mine])
    with pytest.raises(UserError, match=r'Did you mean "my_own_one"'):
        load("my_own_on", [mine])


@every_kind
def test_code_that_was_edited_after_the_plan_is_not_run(tmp_path: Path, kind: str) -> None:
    loads: dict[str, Callable[[str | None], Any]] = {
        "losses": lambda code: losses.load_loss("mine", [tmp_path], code),
        "combining": lambda code: combining.load_rule("mine", [tmp_path], code),
        "selection": lambda code: selection.load_rule("mine", [tmp_path], code),
        TRANSFORMS: lambda code: find_transform("mine", [str(tmp_path)], code),
    }
    write(tmp_path, kind, "mine", "def mine():\n    return 1\n")
    planned = ast_hash(find_code(kind, "mine", [tmp_path]))
    loads[kind](planned)
    write(tmp_path, kind, "mine", "# a comment\ndef mine():\n    return 1\n")
    loads[kind](planned)
    write(tmp_path, kind, "mine", "def mine():\n    return 2\n")
    with pytest.raises(UserError, match=r"mine\.py was edited after this run was planned"):
        loads[kind](planned)


@every_kind
@pytest.mark.parametrize("name", ["__init__", "below/other", "../other", "", "two words"])
def test_what_is_no_plain_name_is_refused_even_where_there_is_such_a_file(tmp_path: Path, kind: str, name: str) -> None:
    load, _, _ = KINDS[kind]
    folder = write(tmp_path, kind, name, "def other(): ...\n")
    assert (folder / kind / f"{name}.py").is_file()
    with pytest.raises(UserError, match=rf'no "{name}" in {kind}/.*Known: '):
        load(name, [folder])
    with pytest.raises(UserError, match=rf'no "{name}" in {kind}/'):
        Resolver(Store(tmp_path / "outputs"), [folder]).code(kind, name)


@every_kind
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_that_name", "failed: ModuleNotFoundError: .*nothing_of_that_name"),
        ("raise ValueError('on purpose')", "failed: ValueError: on purpose"),
        ("def mine(:", "failed: SyntaxError: .*mine.py, line 1\\)"),
        ("import sys\nsys.exit(3)", "failed: SystemExit: 3"),
        ("def other(): ...", r"defines no function mine\(.+\)"),
        ("mine = 3", r"defines no function mine\(.+\)"),
    ],
)
def test_a_file_that_fails_or_lacks_its_function_is_refused_with_its_path(
    tmp_path: Path, kind: str, text: str, message: str
) -> None:
    load, _, _ = KINDS[kind]
    folder = write(tmp_path, kind, "mine", text)
    with pytest.raises(UserError, match=f"{folder / kind / 'mine.py'} {message}"):
        load("mine", [folder])


@every_kind
def test_planning_finds_the_file_that_is_loaded(tmp_path: Path, kind: str) -> None:
    load, name, _ = KINDS[kind]
    folder = write(tmp_path, kind, name, f"def {name}(): ...\n")
    for folders in ([], [folder]):
        path = Resolver(Store(tmp_path / "outputs"), folders).code(kind, name)
        assert path == find_code(kind, name, folders) == Path(load(name, folders).__code__.co_filename)


def test_a_grouping_is_of_the_same_file_and_need_not_be_there(tmp_path: Path) -> None:
    folder = write(tmp_path, TRANSFORMS, "grouped", "def group(row):\n    return [row]\n")
    write(folder, TRANSFORMS, "alone", "def alone(row, *, draw): ...\n")
    group = find_grouping("grouped", [str(folder)], None)
    assert group is not None
    assert group(7) == [7]
    assert find_grouping("alone", [str(folder)], None) is None
