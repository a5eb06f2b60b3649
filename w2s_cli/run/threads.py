"""The CPU threads of each stage, from the plan and the machine alone.

* Another number of threads is another order of sums, so a stage made again would have other last digits. The number depends neither on
  what else runs at the moment nor on what is finished: one command gives the same bytes after a kill, and on another day.
* A second thread pays where matmuls are large: `PRODUCT` multiply-adds for each thread. On 2 cores of an AMD EPYC (family 25, model 17),
  two threads made a training 0.8 times as fast at 7 million multiply-adds, 1.0 at 12, 1.2 at 26, 1.5 at 130, and 1.7 from 300 on.
* Stages side by side share the cores: two with a thread each get more done than one after the other with two threads. So a stage has
  the cores divided by the mean number of stages at work while it is, in a schedule in which each stage starts as soon as its inputs are
  made and takes a time in proportion to its FLOPs. A student that begins when its ceiling is nearly done has all cores.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from w2s_cli.pipeline.cost import planned_amounts
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.memory import PACKED
from w2s_cli.pipeline.shapes import width_of

PRODUCT = 10e6  # multiply-adds of a matmul for each thread


@dataclass(frozen=True)
class Work:
    """The work of a stage, as far as the plan tells."""

    flops: float
    product: float  # multiply-adds of one matmul, [tokens, width] × [width, width]


def works(graph: Graph, parameters: Callable[[Stage], float | None]) -> dict[str, Work]:
    """Stage → its work; a model of unknown size is taken for a large one, and its time is unknown."""
    amounts_of = planned_amounts(graph)
    work_of: dict[str, Work] = {}
    for key, stage in graph.stages.items():
        size, cost = parameters(stage), stage.of.optional("cost")
        if stage.about.get("model") is None:
            work_of[key] = Work(0.0, 0.0)
        elif size is None:
            work_of[key] = Work(0.0, float("inf"))
        elif cost is None:
            work_of[key] = Work(0.0, PACKED * width_of(size) ** 2)
        else:
            params, amounts = stage.identity["params"], amounts_of(stage, size)
            flops = cost(params, amounts).flops
            tokens = float(PACKED)
            if "batch_size" in params:  # a training makes no pass over several updates
                tokens = min(tokens, params["batch_size"] * amounts.tokens("rows") / amounts.rows("rows"))
            work_of[key] = Work(flops, tokens * width_of(size) ** 2 if flops else 0.0)  # without FLOPs: a probe
    return work_of


def side_by_side(upstream: Mapping[str, Sequence[str]], flops: Mapping[str, float]) -> dict[str, float]:
    """Stage → mean number of stages at work while it is, itself among them.

    Args:
        upstream: stage → its inputs; inputs come before their readers.
        flops: stage → its duration, in any unit.
    """
    start: dict[str, float] = {}
    end: dict[str, float] = {}
    for key, inputs in upstream.items():
        start[key] = max((end[one] for one in inputs), default=0.0)
        end[key] = start[key] + flops[key]
    changes = sorted([*((time, 1) for time in start.values()), *((time, -1) for time in end.values())])
    times = [time for time, _ in changes]
    at_work = list(accumulate(change for _, change in changes))  # after each change
    spans = zip(at_work, times, times[1:], strict=False)
    total = [
        0.0,
        *accumulate(count * (after - before) for count, before, after in spans),
    ]  # stages × time, up to each change

    def until(time: float) -> float:
        return total[bisect_right(times, time) - 1]  # every start and every end is a change

    return {
        key: (until(end[key]) - until(start[key])) / flops[key] if end[key] > start[key] else 1.0 for key in upstream
    }


def threads(work: Work, beside: float, cores: int) -> int:
    """The threads of a stage that has, with itself, `beside` stages side by side."""
    useful = min(cores, work.product / PRODUCT)
    return max(1, int(min(useful, cores / beside) + 0.5))
