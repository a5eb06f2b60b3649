"""Results of one table, page or run from different versions, devices or processors get one line that says so."""

import json
import re
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from w2s_cli.results.environment import difference, facts, joined

Run = Callable[..., CompletedProcess[str]]
ROOT = Path(__file__).parents[3]
LINE = re.compile(r"Caution: .*different environments: (.*)\. Figures can differ")


def edit(folder: Path, kind: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record of every stage of a kind."""
    records = sorted(folder.glob(f"outputs/stages/{kind}/*/record.json"))
    assert records
    for path in records:
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))


def older_torch(record: dict[str, Any]) -> None:
    record["provenance"]["libraries"]["torch"] = "2.6.1"


def said(done: CompletedProcess[str]) -> list[str]:
    return LINE.findall(done.stdout)


def test_a_stage_records_its_device_and_processor(ran: list[str], tmp_path: Path) -> None:
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("outputs/stages/finetune/student*/record.json"))
    assert record["provenance"]["device"]
    assert record["provenance"]["processor"]
    (entry,) = json.loads(next(tmp_path.glob("outputs/runs/*/*/results.json")).read_text())["entries"]
    assert set(entry["environment"]) == {"w2s", "torch", "transformers", "device", "processor"}
    assert all(len(values) == 1 for values in entry["environment"].values())


def test_one_environment_has_no_line(ran: list[str], w2s_inside: Run) -> None:
    assert said(w2s_inside("train", *ran)) == []
    assert said(w2s_inside("table")) == []


def test_cached_stages_of_another_torch_are_said_at_the_end_of_a_run_in_table_and_report(
    ran: list[str], w2s_inside: Run, tmp_path: Path
) -> None:
    for path in tmp_path.glob("outputs/stages/finetune/weak*/record.json"):
        record = json.loads(path.read_text())
        older_torch(record)
        path.write_text(json.dumps(record))
    (at_end,) = said(w2s_inside("train", *ran))
    assert re.fullmatch(r"torch 2\.\S+, 2\.6\.1 \(here 2\.\S+\)|torch 2\.6\.1, \S+ \(here \S+\)", at_end)
    (in_table,) = said(w2s_inside("table"))
    assert in_table.startswith("torch ")
    assert "2.6.1" in in_table
    w2s_inside("report")
    assert len(LINE.findall(next(tmp_path.glob("outputs/runs/*/*/report.html")).read_text())) == 1


def test_a_run_that_is_cached_from_another_machine_says_so(ran: list[str], w2s_inside: Run, tmp_path: Path) -> None:
    for kind in ("finetune", "label"):
        edit(tmp_path, kind, lambda record: record["provenance"].update(processor="Another CPU"))
    (line,) = said(w2s_inside("train", *ran))
    assert line.startswith("processor Another CPU (here ")
    assert said(w2s_inside("table")) == []  # all of one machine


def test_two_runs_of_different_versions_are_one_table_with_a_line(
    ran: list[str], w2s_inside: Run, tmp_path: Path
) -> None:
    (results,) = tmp_path.glob("outputs/runs/*/*/results.json")
    content = json.loads(results.read_text())
    content["entries"][0]["environment"]["torch"] = ["2.6.1"]
    del content["sha256"]
    results.write_text(json.dumps(content))
    w2s_inside("train", *ran, "loss=logconf")
    (line,) = said(w2s_inside("table"))
    assert re.fullmatch(r"torch \S+, \S+", line)
    assert said(w2s_inside("table", "loss=logconf")) == []


def test_results_of_an_older_w2s_are_compared_by_the_records_of_their_stages(
    ran: list[str], w2s_inside: Run, tmp_path: Path
) -> None:
    (results,) = tmp_path.glob("outputs/runs/*/*/results.json")
    content = json.loads(results.read_text())
    for entry in content["entries"]:
        del entry["environment"]
    del content["sha256"]
    results.write_text(json.dumps(content))
    assert said(w2s_inside("table")) == []
    for kind in ("finetune", "label"):  # as an older w2s wrote them
        edit(tmp_path, kind, lambda record: [record["provenance"].pop(name) for name in ("device", "processor")])
    edit(tmp_path, "label", older_torch)
    (line,) = said(w2s_inside("table"))
    assert line.startswith("torch ")


def test_only_stages_with_a_model_count_for_its_libraries_and_machine() -> None:
    provenance = {"w2s": "1", "libraries": {"torch": "2", "peft": None}, "processor": "p", "device": "cpu"}
    assert facts({"gives": "rows", "provenance": provenance}) == {"w2s": "1"}
    assert facts({"gives": "labels", "provenance": provenance}) == {
        "w2s": "1",
        "torch": "2",
        "processor": "p",
        "device": "cpu",
    }
    assert facts({}) == {}
    both = joined([{"torch": ["2.7"], "w2s": ["1"]}, {"torch": ["2.6"], "w2s": ["1"]}, {}])
    assert both == {"torch": ["2.6", "2.7"], "w2s": ["1"]}
    (line,) = difference(both)
    assert "torch 2.6, 2.7." in line
    assert "w2s" not in line


def test_an_installation_takes_tested_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    names = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["chess"], *extras["math"]]
    for requirement in map(Requirement, needed):
        bounds = {one.operator for one in requirement.specifier}
        assert bounds >= {">=", "<"}, f"{requirement} has no range"
        assert Version(names[requirement.name.lower()]) in requirement.specifier, requirement


def test_the_math_extra_has_the_antlr_that_hydra_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (antlr,) = Requirement(extras["math"][0]).extras  # antlr4_9_3
    hydra = next(one for one in map(Requirement, metadata.requires("hydra-core") or []) if "antlr4" in one.name)
    assert hydra.specifier.contains(antlr.removeprefix("antlr").replace("_", "."))


@pytest.mark.parametrize("values", [["a"], []])
def test_facts_with_one_value_or_none_are_no_difference(values: list[str]) -> None:
    assert difference({"torch": values}) == []
