"""The order of a command's stages: inputs first, in the order of the graph, whatever ends when."""

import random
import time

import pytest

from w2s_cli.run.order import Pending

GRAPH = {"a": [], "b": [], "ab": ["a", "b"], "c": ["b"], "all": ["ab", "c", "b"]}


def test_a_stage_is_ready_when_all_its_inputs_are_made() -> None:
    pending = Pending(GRAPH, GRAPH)
    assert pending.ready() == ["a", "b"]
    pending.start("b")
    assert pending.ready() == ["a"]
    pending.made("b")
    assert pending.ready() == ["a", "c"]
    pending.start("a")
    pending.made("a")
    assert pending.ready() == ["ab", "c"]


def test_a_finished_input_is_not_waited_for() -> None:
    assert Pending(GRAPH, ["ab", "all"]).ready() == ["ab"]


def test_a_stage_that_runs_again_is_waited_for_again() -> None:
    pending = Pending(GRAPH, ["all"])
    pending.again("c")
    assert pending.ready() == ["c"]
    pending.start("c")
    pending.again("c")  # another command has it
    assert pending.ready() == ["c"]
    pending.start("c")
    pending.made("c")
    assert pending.ready() == ["all"]


def test_a_stage_without_its_input_never_starts() -> None:
    pending = Pending(GRAPH, GRAPH)
    pending.start("b")
    for key in ("ab", "c", "all"):
        pending.remove(key)
    assert pending.ready() == ["a"]
    assert len(pending) == 1
    assert "ab" not in pending


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_runs_in_an_order_of_its_own(seed: int) -> None:
    drawn = random.Random(seed)
    graph: dict[str, list[str]] = {}
    for number in range(60):
        graph[str(number)] = drawn.sample(sorted(graph), min(len(graph), drawn.randrange(4)))
    to_run = {key for key in graph if drawn.random() < 0.7}
    pending, running, made = Pending(graph, [key for key in graph if key in to_run]), list[str](), set(graph) - to_run
    while len(pending) or running:
        ready = pending.ready()
        expected = [k for k in graph if k in pending and all(one in made for one in graph[k])]
        assert ready == expected
        if ready and drawn.random() < 0.6:
            running.append(drawn.choice(ready))
            pending.start(running[-1])
        elif running:
            key = running.pop(drawn.randrange(len(running)))
            made.add(key)
            pending.made(key)
    assert made == set(graph)


def test_ten_thousand_stages_cost_no_more_each_than_a_hundred() -> None:
    def seconds(chains: int) -> float:
        graph = {
            f"{chain}.{step}": [f"{chain}.{step - 1}"] if step else [] for chain in range(chains) for step in range(10)
        }
        began = time.process_time()
        pending = Pending(graph, graph)
        while len(pending):
            for key in pending.ready()[:2]:
                pending.start(key)
                pending.made(key)
        return (time.process_time() - began) / len(graph)

    assert seconds(1000) < 50 * max(seconds(10), 1e-6)
