"""Who may import whom (design: cli → commands → …; worker → stages → …), read from the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from w2s_cli.pipeline import kinds

PACKAGE = Path(__file__).parents[2] / "w2s_cli"
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
HEAVY = {"torch", "transformers", "datasets", "pandas", "accelerate", "peft", "matplotlib"}
MAY_IMPORT = {  # folder or module → the folders and modules of ours that it may import
    "store": set(),
    "statistics": {"store"},
    "graders": set(),
    "data": {"graders", "statistics", "store"},
    "losses": {"statistics", "store"},
    "objectives": set(),
    "choosing": {"statistics", "store"},
    "pairing": {"choosing", "statistics", "store"},
    "combining": {"statistics", "data", "store"},
    "selection": {"statistics", "data", "store"},
    "training": {"losses", "objectives", "data", "statistics", "store"},
    "stages": {
        *("pipeline", "training", "losses", "objectives", "combining", "selection", "choosing", "pairing"),
        *("graders", "data", "statistics", "store"),
    },
    "pipeline": {"training", "data", "store"},
    "run": {"pipeline", "store"},
    "results": {"pipeline", "config", "data", "statistics", "store"},
    "search": {"statistics", "store"},
    "reproduction": {"config", "pipeline", "results", "statistics", "store"},
    "remotes": {"pipeline", "store"},
    "config": {"pipeline", "search", "store"},
    "commands": {
        *("config", "pipeline", "run", "results", "reproduction", "search", "remotes"),
        *("data", "statistics", "training", "store"),
    },
}
ANYONE = {"errors", "paths", "plugins", "hub", "values", "terminal", "__version__"}


def imports(path: Path, *, top_level: bool) -> Iterator[str]:
    """Dotted names that a file imports, in the whole file or at its top level only (type-checking blocks aside)."""
    tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path, *, top_level: bool = False) -> set[str]:
    """First component below w2s_cli of everything of ours that a file imports."""
    found = {name.split(".")[1] for name in imports(path, top_level=top_level) if name.startswith("w2s_cli.")}
    return found


@pytest.mark.parametrize("path", [p for p in FILES if len(p.parts) > 1], ids=str)
def test_a_folder_imports_only_what_lies_below_it(path: Path) -> None:
    allowed = MAY_IMPORT[path.parts[0]] | ANYONE | {path.parts[0]}
    assert ours(path) <= allowed


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "store"], ids=str)
def test_the_store_imports_nothing_of_ours_but_itself(path: Path) -> None:
    assert ours(path) <= {"store"}


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {path.parts[0] for path in FILES if len(path.parts) > 1} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_the_configuration_knows_hydra(path: Path) -> None:
    if path.parts[0] != "config":
        assert not {name.split(".")[0] for name in imports(path, top_level=False)} & {"hydra", "omegaconf"}


def imported_files(path: Path) -> set[Path]:
    """The files of ours that importing a file imports, by its own top level (type-checking blocks aside)."""
    found = set()
    for name in imports(path, top_level=True):
        parts = name.split(".")[1:] if name.startswith("w2s_cli.") else []
        candidates = (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")) if parts else ()
        found |= {candidate for candidate in candidates if (PACKAGE / candidate).is_file()}
    return found


def reachable(start: str) -> set[Path]:
    """Files that importing `start` imports, by top-level imports only."""
    seen: set[Path] = set()
    waiting = [Path(start)]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        waiting.extend(imported_files(path))
    return seen


@pytest.mark.parametrize("start", ["cli.py", *(f"commands/{p.name}" for p in FILES if p.parts[0] == "commands")])
def test_commands_import_nothing_heavy_at_module_level(start: str) -> None:
    for path in reachable(start):
        heavy = {name.split(".")[0] for name in imports(path, top_level=True)} & HEAVY
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_loads_pickles(path: Path) -> None:
    names = {name.split(".")[0] for name in imports(path, top_level=False)}
    assert not names & {"pickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_has_a_docstring_and_at_most_350_lines(path: Path) -> None:
    text = (PACKAGE / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    assert not text.strip() or ast.get_docstring(ast.parse(text)), (
        "a module opens with a docstring that states its decisions"
    )


def test_a_value_is_named_for_what_it_is_and_not_for_how_it_came() -> None:
    for path in FILES:
        nodes = list(ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))))
        names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        assert not names & {"found", "known", "said"}, path


def test_no_files_import_each_other_in_a_circle() -> None:
    waiting = {path: imported_files(path) - {path} for path in FILES}
    while free := [path for path, needed in waiting.items() if not needed & set(waiting)]:
        for path in free:
            del waiting[path]
    assert not waiting


@pytest.mark.parametrize("kind", kinds.kind_names())
def test_importing_a_stage_kind_takes_no_torch(kind: str) -> None:
    for path in reachable(f"stages/{kind}.py"):
        heavy = {name.split(".")[0] for name in imports(path, top_level=True)} & {*HEAVY, "numpy", "pyarrow"}
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "stages"], ids=str)
def test_a_stage_kind_knows_the_contract_and_no_more_of_the_planner(path: Path) -> None:
    named = {name.split(".")[2] for name in imports(path, top_level=False) if name.startswith("w2s_cli.pipeline.")}
    assert named <= {"contract", "reads", "causal", "builder"}  # builder: for type checkers
