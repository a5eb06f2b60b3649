"""Cautions of pools are told of once, also where each seed draws the pool anew; the figure of levels has their order."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from w2s_cli.results import summary_table
from w2s_cli.results.figures.levels import _line


def test_a_pool_of_several_seeds_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(metrics: dict[str, Any], params: dict[str, Any], about: dict[str, Any]) -> list[str]:
        return [f"{params['count']} rows of {about['rows']}"] if params["count"] else []

    def stage(pool: str, count: int) -> SimpleNamespace:
        of = SimpleNamespace(optional=lambda name: lines, traits=SimpleNamespace(gives="rows"))
        return SimpleNamespace(of=of, about={"rows": pool}, identity={"params": {"count": count}})

    drawn = [("weak_train", 0), ("weak_train", 3), ("weak_train", 4), ("test", 2)]
    stages = {str(key): stage(*one) for key, one in enumerate(drawn)}
    monkeypatch.setattr(summary_table, "read_stage", lambda store, key: SimpleNamespace(metrics={}))
    told = summary_table.cautions(cast(Any, SimpleNamespace(stages=stages, jobs=[])), cast(Any, None))
    assert told == ["3 rows of weak_train", "2 rows of test"]


def test_the_figure_has_levels_in_the_order_of_their_numbers() -> None:
    levels = {level: {"student": float(level)} for level in ("1", "10", "2")}
    entry = cast(Any, SimpleNamespace(metrics={"levels": levels}))
    assert _line(entry, "student") == (["1", "2", "10"], [1.0, 2.0, 10.0])
