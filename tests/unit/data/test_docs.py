"""docs/data.md lists the data sets that there are, with the source, rows and licence of their recipes."""

from pathlib import Path

import pytest

from tests.data_sets import recipe
from w2s_cli.paths import configs_folder

DOC = Path(__file__).parents[3] / "docs" / "data.md"
NAMES = sorted(path.stem for path in (configs_folder() / "data").glob("*.yaml"))


def table() -> dict[str, list[str]]:
    """Data set → the other cells of its row."""
    lines = [line for line in DOC.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({row[0] for row in cells}) == len(cells)
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_data_set_is_listed_once_and_no_other() -> None:
    assert list(table()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_cells_say_what_the_recipe_says(name: str) -> None:
    data = recipe(name)
    task, classes, source, rows, licence, differs = table()[name]
    assert classes == ", ".join(data["classes"] or ["-"])
    assert ("pairs" in task) == bool(data["second"])
    assert ("coin" in task) == (data["transform"] == "choice" and name != "anthropic_hh")
    assert (data["hub"] or "") in source
    assert (data["hub_config"] or "") in source
    assert ("bundled" in source) == str(data["path"]).startswith("bundled:")
    for split in ("train", "test"):
        size = (data["expected"] or {}).get(split)
        assert size is None or f"{size:,}" in rows.split(" / ")
    assert licence == (data["licence"] or "-")
    assert ("balanced" in differs.split("; ")) == data["balanced"]


def test_every_recipe_opens_with_what_it_is_and_a_command() -> None:
    for name in NAMES:
        first, second = (configs_folder() / "data" / f"{name}.yaml").read_text().splitlines()[:2]
        assert first.startswith("# ")
        assert second.startswith("#   w2s train ")
        assert f"data={name}" in second
