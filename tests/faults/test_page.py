"""docs/reliability.md is what scripts/reliability writes from docs/reliability.json, with counts of all that it promises."""

import json
from pathlib import Path

import pytest

from scripts import reliability_page
from tests.faults import counting, every_method
from tests.faults.counting import Tally

STORED = json.loads((reliability_page.DOCS / "reliability.json").read_text(encoding="utf-8"))


def test_the_page_is_made_of_the_counts() -> None:
    assert (reliability_page.DOCS / "reliability.md").read_text(encoding="utf-8") == reliability_page.page(STORED)


def test_nothing_was_lost_wrong_or_stuck_in_the_counted_runs() -> None:
    for kind, lines in STORED.items():
        assert kind in reliability_page.KINDS
        for of, line in lines.items():
            assert (line["lost"], line["wrong"], line["stuck"]) == (0, 0, 0), (kind, of)
            assert line["made"] > 0
            assert line["commit"]


def test_the_counts_are_those_that_are_promised() -> None:
    killed = {of.partition(",")[0].removeprefix("method=") for of in STORED["kills"]}
    assert killed == set(every_method.names())
    assert sum(line["made"] for line in STORED["kills"].values()) >= 300
    assert sum(line["made"] for line in STORED["fuzz"].values()) >= 5000
    assert all(line["made"] >= 40 for of, line in STORED["shapes"].items() if not of.endswith("a part"))


def test_a_fault_that_is_not_withstood_is_counted_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counting.VARIABLE, str(tmp_path / "counts"))
    tally = Tally("kills", "a method")
    tally.add("worker")
    tally.lost.append("a stage")
    with pytest.raises(AssertionError, match="a stage"):
        tally.close()
    (line,) = [json.loads(one) for one in (tmp_path / "counts").read_text().splitlines()]
    assert (line["made"], line["lost"], line["wrong"], line["stuck"]) == (1, 1, 0, 0)
    with pytest.raises(AssertionError):
        Tally("kills", "nothing was killed").close()


def test_a_part_that_runs_again_replaces_its_own_counts_and_a_whole_run_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reliability_page, "DOCS", tmp_path)
    counts, line = tmp_path / "counts", {"kind": "kills", "made": 3, "lost": 0, "wrong": 0, "stuck": 0, "notes": {}}
    line |= {"seconds": 1.0, "commit": "abc", "ended": 0.0}
    counts.write_text("".join(json.dumps({**line, "of": of}) + "\n" for of in ("one", "two")))
    reliability_page.main(counts)
    counts.write_text(json.dumps({**line, "of": "two", "made": 5}) + "\n")
    reliability_page.main(counts)
    assert "| kills | 8 | 0 | 0 | 0 |" in (tmp_path / "reliability.md").read_text()
    counts.write_text(json.dumps({**line, "of": "two", "made": 7}) + "\n")
    reliability_page.main(counts, whole=True)  # nothing makes "one" now
    assert "| kills | 7 | 0 | 0 | 0 |" in (tmp_path / "reliability.md").read_text()
