"""Many stages side by side: a few at a time, since one stage of small files waits for answers and not for the network.

* The outcome of a stage that is refused is kept, and the others go on. A remote that fails, a full disk or Ctrl-C stops all: stages in
  work stop at their next bytes, finished ones stay, and the same command continues.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from w2s_cli.remotes.address import AT_ONCE, Ended
from w2s_cli.remotes.fetch import Outcome, Watch
from w2s_cli.remotes.offers import Refused

Item = TypeVar("Item")
Result = TypeVar("Result")


def copy_all(
    items: Sequence[Item],
    name_of: Callable[[Item], tuple[str, str]],
    copy: Callable[[Item, Watch], Outcome],
    watch: Watch = lambda count: None,
    at_once: int = AT_ONCE,
) -> list[Outcome]:
    """The outcomes of `copy(item, watch)` for all items, in their order.

    Args:
        name_of: item → key and folder name, for the outcome of a refused one.
        watch: is told the bytes of every step, from several threads.
    """

    def one(item: Item, alive: Watch) -> Outcome:
        try:
            return copy(item, alive)
        except Refused as refused:
            return Outcome(*name_of(item), refused.word, str(refused))

    return side_by_side(items, one, watch, at_once)


def side_by_side(
    items: Sequence[Item],
    work: Callable[[Item, Watch], Result],
    watch: Watch = lambda count: None,
    at_once: int = AT_ONCE,
) -> list[Result]:
    """`work(item, watch)` of all items, in their order, `at_once` at a time; the first error stops all, and is raised."""
    ended = threading.Event()

    def alive(count: int) -> None:
        if ended.is_set():
            raise Ended
        watch(count)

    def one(item: Item) -> Result:
        alive(0)
        try:
            return work(item, alive)
        except BaseException:
            ended.set()
            raise

    futures: list[Future[Result]] = []
    with ThreadPoolExecutor(at_once, thread_name_prefix="w2s-copy") as pool:
        try:
            futures.extend(pool.submit(one, item) for item in items)
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # Ctrl-C, in any of the two lines
            ended.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    failed = [error for future in futures if not future.cancelled() and (error := future.exception())]
    for error in failed:
        if not isinstance(error, Ended):
            raise error
    return [future.result() for future in futures]
