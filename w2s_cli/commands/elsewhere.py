"""remotes=[URL, …] of a run: which stages other stores have, and the copies of those that the run needs.

* Each remote is listed once, and only if something has to run here. The first that has a finished stage gives it.
* A plan treats a remote that cannot be reached as empty, and says so. A run refuses: it would train for hours what may be finished.
* Copied whole are targets and the inputs of stages to run; of the other stages their records and figures, which the results' table reads.
* A copy may change the plan (an input with another result than here), so the stages are looked at again until nothing is to be copied.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from w2s_cli.commands.copies import named, summary
from w2s_cli.commands.pull import pull
from w2s_cli.commands.push import refuse_same
from w2s_cli.errors import UserError
from w2s_cli.pipeline.states import Planned
from w2s_cli.remotes.address import UnreachableError, check_url, open_remote
from w2s_cli.remotes.fetch import Outcome
from w2s_cli.remotes.listing import Entry, complete, listing
from w2s_cli.store.store import Store

Survey = Callable[[Mapping[str, Entry]], dict[str, Planned]]


def offered_by(urls: Sequence[str], store: Store, *, needed: bool) -> dict[str, Entry]:
    """key → finished stage, of the first remote that has it.

    Raises:
        UserError: a remote's URL cannot be used; if `needed`, also a remote that cannot be reached.
    """
    offered: dict[str, Entry] = {}
    for url in urls:
        remote = open_remote(url)
        refuse_same(store, remote)
        try:
            offered = {**complete(listing(remote)), **offered}
        except UnreachableError as error:
            if needed:
                raise UserError(
                    f"{error} Correct it, or leave it out of remotes=; w2s plan shows what would run then."
                ) from error
            print(f"{error} Its stages are planned as missing.", file=sys.stderr)
    return offered


def planned_with(survey: Survey, urls: Sequence[str], store: Store) -> dict[str, Planned]:
    """The plans of a command that runs nothing; `survey` makes them from what other stores have. Raises as `offered_by`."""
    check_urls(urls)
    plans = survey({})
    return survey(offered_by(urls, store, needed=False)) if urls and runs(plans) else plans


def with_pulled(survey: Survey, urls: Sequence[str], store: Store) -> dict[str, Planned]:
    """The plans of a run after all that it needs from other stores was copied.

    Raises:
        UserError: as `offered_by`; a stage there is damaged.
    """
    check_urls(urls)
    plans = survey({})
    if not urls or not runs(plans):
        return plans
    offered = offered_by(urls, store, needed=True)
    while True:
        plans = survey(offered)
        wanted = {key: plan.pull for key, plan in plans.items() if plan.pull and not plan.to_run}
        if not wanted:
            return plans
        began = time.monotonic()
        outcomes: list[Outcome] = []
        for what in ("whole", "figures"):
            entries = [offered[key] for key in wanted if wanted[key] == what]
            outcomes += pull(entries, store, whole=what == "whole")
        refuse_damaged(outcomes, offered)
        print(summary("pulled", outcomes, time.monotonic() - began, _sources(outcomes, offered)), flush=True)
        # what was copied whole, or is being made here, is not asked for again
        done = {outcome.key for outcome in outcomes if wanted[outcome.key] == "whole" or not outcome.fine}
        offered = {key: entry for key, entry in offered.items() if key not in done}


def check_urls(urls: Sequence[str]) -> None:
    """Refuse (UserError) URLs with secrets, before a run writes its configuration."""
    for url in urls:
        check_url(url)


def runs(plans: Mapping[str, Planned]) -> bool:
    """Whether anything has to run."""
    return any(plan.to_run for plan in plans.values())


def refuse_damaged(outcomes: Sequence[Outcome], offered: Mapping[str, Entry]) -> None:
    """Refuse (UserError) a stage that could not be copied; one that another process works on is waited for later."""
    broken = [outcome for outcome in outcomes if not outcome.fine and outcome.word != "busy"]
    if broken:
        first = broken[0]
        raise UserError(
            f"{offered[first.key].url}: {named([outcome.name for outcome in broken])} cannot be copied ({first.word}: {first.detail}). "
            "Remove it there, or copy the others with w2s pull and run without this remote."
        )


def _sources(outcomes: Sequence[Outcome], offered: Mapping[str, Entry]) -> str:
    light = sum(outcome.left_out > 0 for outcome in outcomes)
    urls = ", ".join(dict.fromkeys(offered[outcome.key].url for outcome in outcomes))
    return f"from {urls}" + (f", {light} of them without weights, which nothing reads" if light else "")
