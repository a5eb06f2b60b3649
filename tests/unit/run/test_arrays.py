"""Arrays of a submission: few, and each task waits for exactly the stages that it reads."""

import random

import pytest

from w2s_cli.run.arrays import Array, Task, arrays


def waits(made: list[Array], place: Task) -> set[Task]:
    """The tasks that one task waits for, by the dependency of its array."""
    array = made[place.array]
    return {*array.after, *(Task(other, place.index) for other in array.paired)}


def by_name(key: str) -> str:
    return key.partition("-")[0]


def seeds(count: int, losses: int = 1) -> dict[str, list[str]]:
    """The naive method for some seeds, with several students of each labels stage, and a summary."""
    upstream: dict[str, list[str]] = {"test": []}
    for seed in range(count):
        upstream |= {f"rows-{seed}": [], f"weak-{seed}": [f"rows-{seed}"]}
        upstream |= {f"labels-{seed}": [f"weak-{seed}", f"rows-{seed}"], f"scores-{seed}": [f"weak-{seed}", "test"]}
        for loss in range(losses):
            upstream[f"student-{seed}.{loss}"] = [f"labels-{seed}", f"rows-{seed}"]
            upstream[f"pgr-{seed}.{loss}"] = [f"student-{seed}.{loss}", f"scores-{seed}"]
    return upstream | {"summary": [key for key in upstream if key.startswith("pgr")]}


def check(upstream: dict[str, list[str]], made: list[Array], most: int) -> None:
    places = {key: Task(number, index) for number, array in enumerate(made) for index, key in enumerate(array.stages)}
    assert list(sorted(places)) == sorted(upstream)
    assert sum(len(array.stages) for array in made) == len(upstream)
    for key, inputs in upstream.items():
        assert waits(made, places[key]) == {places[one] for one in inputs if one in places}, key
        assert all(places[one].array < places[key].array for one in inputs if one in places)
    assert all(len(array.stages) <= most for array in made)


@pytest.mark.parametrize("losses", [1, 3])
def test_a_sweep_over_seeds_is_an_array_for_each_stage_of_the_method(losses: int) -> None:
    upstream = seeds(100, losses)
    made = arrays(upstream, by_name, {}, most=1000)
    check(upstream, made, 1000)
    # test, rows, weak, labels, scores, and summary; students and comparisons for each loss
    assert len(made) == 6 + 2 * losses


def test_an_array_has_at_most_so_many_tasks() -> None:
    upstream = {f"weak-{seed}": [] for seed in range(25)} | {"rule": [f"weak-{seed}" for seed in range(25)]}
    made = arrays(upstream, by_name, {}, most=10)
    check(upstream, made, 10)
    assert [len(array.stages) for array in made] == [10, 10, 5, 1]


def test_a_stage_in_the_queue_is_waited_for_by_its_job() -> None:
    made = arrays({"student": ["weak", "labels"]}, by_name, {"labels": "17_3", "other": "18"}, most=10)
    assert made == [Array(("student",), jobs=("17_3",))]


def test_stages_with_other_resources_are_jobs_of_their_own() -> None:
    made = arrays({"a": [], "b": [], "c": []}, {"a": 1, "b": 2, "c": 1}.__getitem__, {}, most=10)
    assert [array.stages for array in made] == [("a", "c"), ("b",)]


def test_any_graph_keeps_its_dependencies() -> None:
    drawn = random.Random(0)
    for _ in range(300):
        upstream: dict[str, list[str]] = {}
        for number in range(drawn.randrange(1, 30)):
            inputs = drawn.sample(sorted(upstream), min(len(upstream), drawn.randrange(4)))
            upstream[f"{drawn.choice('abc')}-{number}"] = inputs
        most = drawn.choice([1, 2, 5, 100])
        check(upstream, arrays(upstream, by_name, {}, most), most)
