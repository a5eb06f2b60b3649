"""The resolution of names to identities: commits of hub repositories, hashes of local files, syntax trees of code.

* A hub revision such as `main` is resolved to a commit once per outputs folder and stored in outputs/.cache/revisions.json, so that a
  moving branch does not change keys during a study. The commit comes from the hub cache, else from the hub.
* The identity of a local model is the sha256 of every file that transformers may read from its folder (`training/models/folder.py`),
  with trust_remote_code also of its code. Its path and files such as README.md do not count. A folder that cannot be used is refused.
* The identity of a loss, rule or transform is the syntax tree of its code. `plugins.py` locates the file, `arguments.py` reads its
  arguments.
* A run needs every commit; a plan does not. `hub` states whether the hub is asked. Where the commit stays unknown, the name stands in its
  place: stages are counted and their settings shown, but their keys are not the keys of a run. `assumed` lists these models and data sets.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from w2s_cli.errors import UserError
from w2s_cli.hub import (
    UnreachableError,
    cached_commit,
    cached_config,
    cached_tokenizer,
    hub_commit,
    hub_config,
    hub_tokenizer,
    is_commit,
)
from w2s_cli.paths import BUNDLED, corpus_files, locate
from w2s_cli.pipeline.arguments import bind as bind
from w2s_cli.pipeline.arguments import flag as flag  # for the stages
from w2s_cli.pipeline.packages import need, need_imports
from w2s_cli.pipeline.shapes import Shape, read_shape
from w2s_cli.plugins import find_code
from w2s_cli.store.files import read_json, sha256_file, write_json
from w2s_cli.store.keys import ast_hash, canonical_json
from w2s_cli.store.places import StoreError
from w2s_cli.store.store import Store, unwritable
from w2s_cli.training.chat import digest, template_of
from w2s_cli.training.models import folder as model_folder
from w2s_cli.training.models.architectures import Tables, tables

AT_RUN_TIME = {"losses": ("progress",)}  # folder of code → arguments that every caller gives

Hub = Literal["required", "if reachable", "never"]


class Resolver:
    """Identities of models, data and code, each looked up once per command.

    `hub` "required": the hub is asked for commits that its cache lacks, and an unreachable hub is an error. "if reachable": after the
    first failure the hub is not asked again, and names stand for commits. "never": the hub is not asked, and local data may be missing.
    """

    def __init__(self, store: Store, folders: Sequence[Path] = (), hub: Hub = "required") -> None:
        self.store = store
        self.folders = list(folders)
        self.hub = hub
        self.assumed: set[str] = set()  # models and data sets whose name stands for their commit
        self._silent = hub == "never"
        self._resolved: dict[str, Any] = {}

    def model(self, model: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """(identity, local path or None) of a model's configuration."""
        if model.get("path"):
            path, code = locate(model["path"]), bool(model.get("trust_remote_code"))
            name = f"folder:{path}:{code}"
            return self._once(name, lambda: {"sha256": self._folder_hash(path, model["name"], code=code)}), str(path)
        if not model.get("id"):
            raise UserError(
                f'model "{model["name"]}" has neither id (a hub repository) nor path (a local folder): '
                "give the folder, weak.path=DIR or strong.path=DIR."
            )
        return {"id": model["id"], "revision": self.commit("model", model["id"], model["revision"])}, None

    def base(self, pretrained: Mapping[str, Any] | None) -> dict[str, Any]:
        """The folder of the local model that a chain of trainings began with, on which kept adapters are put; {} of a hub model."""
        path = self.model(pretrained)[1] if pretrained else None
        return {} if path is None else {"base_path": path}

    def architecture(self, model: Mapping[str, Any]) -> dict[str, Any] | None:
        """A model's config.json, for checks before the model is loaded; None if the hub is out of reach."""
        identity, path = self.model(model)
        if path is not None:
            return _config_json(Path(path) / "config.json")
        repo, commit = identity["id"], identity["revision"]
        try:
            config = self._once(
                f"config:{repo}@{commit}",
                lambda: cached_config(repo, commit) or self._ask(lambda: hub_config(repo, commit)),
            )
        except UnreachableError:
            return None
        return _config_json(Path(config))

    def shape(self, model: Mapping[str, Any]) -> Shape | None:
        """The sizes of a model, by its config.json; None where the hub has to be asked and does not answer."""
        shape: Shape | None = self._once(
            f"shape:{canonical_json(self.model(model)[0])}", lambda: read_shape(self.offered_architecture(model) or {})
        )
        return shape

    def offered_architecture(self, model: Mapping[str, Any]) -> dict[str, Any] | None:
        """As `architecture`, for what a run can do without: None too if the hub refuses it. Who opens the model tells the reason."""
        silent = self._silent
        try:
            return self.architecture(model)
        except UserError:
            return None
        finally:
            if self.hub == "required":  # what a run has to know is asked for all the same
                self._silent = silent

    def chat_template(self, model: Mapping[str, Any]) -> str | None:
        """The sha256 of a model's chat template; None if its tokenizer has none.

        Raises:
            UnreachableError: the template is on the hub, which is out of reach.
        """
        identity, path = self.model(model)
        if path is None:
            repo, commit = identity["id"], identity["revision"]
            path = self._once(
                f"tokenizer:{repo}@{commit}",
                lambda: cached_tokenizer(repo, commit) or self._ask(lambda: hub_tokenizer(repo, commit)),
            )
        template = template_of(Path(str(path)))
        return None if template is None else digest(template)

    def causal_tables(self) -> Tables | None:
        """The tables of causal architectures, read without an import of transformers; None if they cannot be read."""
        result: Tables | None = self._once("tables", tables)
        return result

    def data(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """(identity of the source, local path or None) of a data configuration."""
        if data.get("path"):
            from w2s_cli.data.sources import fingerprint

            path: Path = self._once(f"place:{data['path']}", lambda: locate(data["path"]))
            if self.hub == "never" and not data["path"].startswith(BUNDLED) and not path.exists():
                self.assumed.add(f"data {data['path']} (no such path)")
                return {"sha256": f"unknown:{data['name']}"}, str(path)
            name = f"data:{path}:{canonical_json(data['splits'])}"
            return self._once(
                name, lambda: {"sha256": fingerprint(path, data["splits"], cache=self.store.digests)}
            ), str(path)
        if not data.get("hub"):
            raise UserError(
                f'data set "{data["name"]}" has neither hub (a hub id) nor path (a local file or folder): data.path=FILE'
            )
        commit = self.commit("dataset", data["hub"], data["revision"])
        return {"hub": data["hub"], "config": data["hub_config"], "revision": commit}, None

    def check_columns(self, data: Mapping[str, Any]) -> None:
        """Refuse (UserError) a user's own file without a column that its recipe names."""
        if data["path"] and not data["path"].startswith(BUNDLED) and not data["transform"]:
            from w2s_cli.data.columns import named, refuse_missing

            path, columns = locate(data["path"]), named(data)
            if path.exists():
                asked = canonical_json([data["splits"], data["format"], columns])
                self._once(f"columns:{path}:{asked}", lambda: refuse_missing(path, data, columns))

    def file(self, path: str, what: str) -> tuple[str, str]:
        """(sha256, absolute path) of one file."""
        file = locate(path)
        if not file.is_file():
            raise UserError(f"{what}: there is no file {file}.")
        return self._once(f"file:{file}", lambda: sha256_file(file, self.store.digests)), str(file)

    def corpus(self, path: str) -> tuple[str, str]:
        """(sha256, absolute path) of a corpus: one file, or the text files of a folder in the order of their names."""
        location = locate(path)
        if not location.is_dir():
            return self.file(path, "pretrain.corpus.path")
        digests = [sha256_file(p, self.store.digests) for p in corpus_files(location)]
        return hashlib.sha256(canonical_json(digests).encode()).hexdigest(), str(location)

    def commit(self, repo_type: str, repo: str, revision: str) -> str:
        """The commit of `revision` of a hub repository, as stored for this outputs folder."""
        if is_commit(revision):
            return revision
        record = self.store.cache / "revisions.json"
        name = f"{repo_type}:{repo}@{revision}"
        written = read_json(record)
        commits: dict[str, Any] = written if isinstance(written, dict) else {}
        if not is_commit(commits.get(name)):
            try:
                commits[name] = cached_commit(repo_type, repo, revision) or self._ask(
                    lambda: hub_commit(repo_type, repo, revision)
                )
            except UnreachableError:
                if self.hub == "required":
                    raise
                self.assumed.add(f"{repo_type} {repo}")
                return revision
            if self.hub != "required" and not self.store.root.is_dir():  # a plan makes no folder
                return str(commits[name])
            try:
                record.parent.mkdir(parents=True, exist_ok=True)
                write_json(record, commits)
            except OSError as error:
                raise StoreError(unwritable(self.store.root, error)) from error
        return str(commits[name])

    def _ask(self, question: Callable[[], str]) -> str:
        """The hub's answer; UnreachableError if the hub must not be asked or does not answer."""
        if self._silent:
            raise UnreachableError("the hub is not asked")
        try:
            return question()
        except UnreachableError:
            self._silent = True
            raise

    def code(self, folder: str, name: str) -> Path:
        """The Python file `<folder>/<name>.py` of the user's config folders or of the package."""
        return find_code(folder, name, self.folders)

    def rule(self, folder: str, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Identity of the loss or rule in `folder`: its name, all its arguments with their defaults, and its code."""
        name, given = str(rule["name"]), rule.get("args") or {}
        path = self.code(folder, name)

        def identity() -> dict[str, Any]:
            if self.hub == "required":  # a plan may be made on another machine than its run
                need_imports(path)
            return {
                "name": rule["name"],
                "args": bind(path, name, given, at_run_time=AT_RUN_TIME.get(folder, ())),
                "code": ast_hash(path),
            }

        facts: dict[str, Any] = self._once(f"rule:{path}:{given!r}", identity)
        return facts

    def need_package(self, module: str, what: str) -> None:
        """Refuse (UserError) to run what needs a package that is not installed; a plan shows it."""
        if self.hub == "required":
            need(module, what)

    def _once(self, name: str, find: Any) -> Any:
        if name not in self._resolved:
            self._resolved[name] = find()
        return self._resolved[name]

    def _folder_hash(self, path: Path, name: str, *, code: bool) -> str:
        if not path.is_dir():
            raise UserError(f'model "{name}": there is no folder {path}.')
        problem = model_folder.incomplete(path)
        if problem:
            raise UserError(f'model "{name}": {path} {problem}; it must be a folder written by save_pretrained.')
        problem = model_folder.unusable(path, code=code)
        if problem:
            raise UserError(f'model "{name}": {path} {problem}.')
        files = model_folder.files(path, code=code)
        listed = {p.relative_to(path).as_posix(): sha256_file(p, self.store.digests) for p in files}
        return hashlib.sha256(canonical_json(listed).encode()).hexdigest()


def _config_json(path: Path) -> dict[str, Any]:
    """The fields of a config.json; none of a damaged file, which the stage that loads it refuses."""
    fields = model_folder.read(path)
    return fields if isinstance(fields, dict) else {}
