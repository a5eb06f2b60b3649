"""Planning without a hub: what cannot be looked up stands for itself.

A plan needs the commit behind every hub revision only for the keys. Where the hub is out of reach the revision's name takes the commit's
place, so stages can be counted and their settings shown; the keys are then not those of a run, and the command says so. A run never does
this (`Resolver` refuses), and what the hub itself refuses, such as a repository that is not there, is refused here too.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from w2s_cli.hub import UnreachableError
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.store import Store


class StandIn(Resolver):
    """A resolver for plans; `assumed` says what it had to take as it is. Once the hub was out of reach, it is not asked again."""

    def __init__(self, store: Store, folders: Sequence[Path] = ()) -> None:
        super().__init__(store, folders)
        self.assumed: set[str] = set()
        self.asking = True

    def commit(self, repo_type: str, repo: str, revision: str) -> str:
        try:
            return super().commit(repo_type, repo, revision)
        except UnreachableError:
            self.assumed.add(f"{repo_type} {repo}")
            return revision

    def ask(self, question: Callable[[], str]) -> str:
        if not self.asking:
            raise UnreachableError("the hub is not asked")
        try:
            return super().ask(question)
        except UnreachableError:
            self.asking = False
            raise
