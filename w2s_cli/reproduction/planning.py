"""Planning without a hub: what cannot be looked up stands for itself.

A plan needs the commit behind every hub revision only for the keys. Offline the revision's name takes the commit's place, so stages can be
counted and their settings shown; the keys are then not those of the run, and the command says so.
"""

from collections.abc import Mapping
from typing import Any

from w2s_cli.folders import BUNDLED, locate
from w2s_cli.resolve import Resolver, cached_commit
from w2s_cli.store.files import read_json
from w2s_cli.store.store import Store


class Standing(Resolver):
    """A resolver that asks nobody; `assumed` says what it had to take as it is."""

    def __init__(self, store: Store, folders: Any = ()) -> None:
        super().__init__(store, folders)
        self.assumed: set[str] = set()

    def commit(self, repo_type: str, repo: str, revision: str) -> str:
        known = read_json(self.store.root / ".cache" / "revisions.json") or {}
        found = known.get(f"{repo_type}:{repo}@{revision}") or self._once(
            f"{repo_type}:{repo}@{revision}", lambda: cached_commit(repo_type, repo, revision)
        )
        if not found:
            self.assumed.add(f"{repo_type} {repo}")
        return str(found or revision)

    def data(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        path = data.get("path")
        if not path or path.startswith(BUNDLED) or locate(path).exists():
            return super().data(data)
        self.assumed.add(f"data {path} (not there)")
        return {"sha256": f"unknown:{data['name']}"}, str(locate(path))
