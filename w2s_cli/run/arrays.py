"""Arrays: alike stages as one job of a batch system, with the dependencies of each of its tasks.

* One submission for a hundred weak models takes the system, and its users, as long as one for a single model. Stages can be one array if
  they have the same name, kind and resources, and if one dependency of the whole array says what each of its tasks waits for.
* An array waits for jobs or for tasks of other arrays, the same ones for all its tasks (`after`), or task for task for another array
  (`paired`; Slurm's aftercorr). Of the two ways to cut a group of alike stages into arrays, the one with fewer arrays is taken.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest


@dataclass(frozen=True, order=True)
class Task:
    """The place of a stage: a task of an array of this submission."""

    array: int
    index: int


@dataclass(frozen=True)
class Array:
    """Stages that are submitted together; an array of one stage is a plain job."""

    stages: tuple[str, ...]  # in the order of their task numbers
    jobs: tuple[str, ...] = ()  # ids of jobs that are in the queue already: all tasks wait for them
    after: tuple[Task, ...] = ()  # tasks of this submission: all tasks wait for them
    paired: tuple[int, ...] = ()  # arrays of this submission: task i waits for task i of each


def arrays(
    upstream: Mapping[str, Sequence[str]], alike: Callable[[str], Hashable], queued: Mapping[str, str], most: int
) -> list[Array]:
    """The arrays of the stages of `upstream`; each comes after the arrays that it waits for.

    Args:
        upstream: stage to submit → its inputs; inputs come before their readers. An input that is neither here nor queued is made.
        alike: what the stages of one array have in common.
        queued: stage → id of the job that is going to make it.
        most: largest number of tasks of an array.
    """
    made: list[Array] = []
    places: dict[str, Task] = {}
    for level in _levels(upstream):
        groups: dict[Hashable, dict[str, tuple[Task, ...]]] = {}
        for key in level:
            waits = tuple(sorted(places[one] for one in upstream[key] if one in places))
            group = (alike(key), _jobs(key, upstream, queued), tuple(dict.fromkeys(task.array for task in waits)))
            groups.setdefault(group, {})[key] = waits
        for waits_of in groups.values():
            jobs = _jobs(next(iter(waits_of)), upstream, queued)
            for array in _cut(waits_of, jobs, most):
                places |= {key: Task(len(made), index) for index, key in enumerate(array.stages)}
                made.append(array)
    return made


def _jobs(key: str, upstream: Mapping[str, Sequence[str]], queued: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({queued[one] for one in upstream[key] if one in queued and one not in upstream}))


def _levels(upstream: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The stages by the length of their longest chain of inputs."""
    level: dict[str, int] = {}
    for key, inputs in upstream.items():
        level[key] = 1 + max((level[one] for one in inputs if one in level), default=-1)
    levels: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key, number in level.items():
        levels[number].append(key)
    return levels


def _cut(waits_of: Mapping[str, tuple[Task, ...]], jobs: tuple[str, ...], most: int) -> Iterator[Array]:
    """The arrays of alike stages, which wait for tasks of the same arrays."""
    same: dict[tuple[Task, ...], list[str]] = {}
    for key, waits in sorted(waits_of.items(), key=lambda item: item[1]):
        same.setdefault(waits, []).append(key)
    rounds = [[key for key in each if key is not None] for each in zip_longest(*same.values())]
    lined_up = [_line_up({key: waits_of[key] for key in each}, jobs) for each in rounds]
    if len(rounds) < len(same) and None not in lined_up:
        yield from (array for array in lined_up if array is not None)
        return
    for waits, keys in same.items():
        for at in range(0, len(keys), most):
            yield Array(tuple(keys[at : at + most]), jobs, waits)


def _line_up(waits_of: Mapping[str, tuple[Task, ...]], jobs: tuple[str, ...]) -> Array | None:
    """Stages as an array whose tasks wait for the tasks of the same number; None if the numbers do not agree."""
    numbers: dict[int, list[tuple[int, ...]]] = {}  # array → for each stage, the tasks that it waits for
    for waits in waits_of.values():
        for array in dict.fromkeys(task.array for task in waits):
            numbers.setdefault(array, []).append(tuple(task.index for task in waits if task.array == array))
    paired = [array for array, each in numbers.items() if len(set(each)) > 1]
    if any(numbers[array] != [(index,) for index in range(len(waits_of))] for array in paired):
        return None
    first = next(iter(waits_of.values()))
    return Array(tuple(waits_of), jobs, tuple(task for task in first if task.array not in paired), tuple(paired))
