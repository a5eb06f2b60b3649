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
    assert licence.replace("`", "") == (data["licence"] or "-")
    assert ("balanced" in differs.split("; ")) == data["balanced"]


def test_every_recipe_opens_with_what_it_is_and_a_command() -> None:
    for name in NAMES:
        first, second = (configs_folder() / "data" / f"{name}.yaml").read_text().splitlines()[:2]
        assert first.startswith("# ")
        assert second.startswith("#   w2s train ")
        assert f"data={name}" in second


# EleutherAI/w2s, w2s/ds_registry.py: formatters that ask a whole question, which our templates ask in other words.
REWORDED = {
    *(
        "anli_r2",
        "ethics_deontology",
        "ethics_justice",
        "ethics_virtue",
        "ethics_utilitarianism",
        "mc_taco",
        "hellaswag",
        "multirc",
    ),
    *("paws", "quail", "quartz", "social_i_qa", "wic", "sciq_with_support"),
}
# openai/weak-to-strong, weak_to_strong/datasets.py: `ds.select(range(n_docs))` before the shuffle, of more than 20,000 training rows.
CUT_TO_THE_HEAD = {"amazon_polarity", "anthropic_hh", "cosmos_qa"}


@pytest.mark.parametrize("name", NAMES)
def test_prompts_in_other_words_and_rows_of_another_draw_are_told_as_differences(name: str) -> None:
    differs = table()[name][-1]
    assert ("reworded" in differs.split("; ")) == (name in REWORDED)
    assert ("the first 20,000 of the file" in differs) == (name in CUT_TO_THE_HEAD)


def test_a_head_of_the_file_is_another_draw_only_of_larger_files() -> None:
    of_the_reference_code = {"amazon_polarity", "anthropic_hh", "boolq", "cosmos_qa", "sciq"}
    assert {name for name in of_the_reference_code if recipe(name)["expected"]["train"] > 20_000} == CUT_TO_THE_HEAD
