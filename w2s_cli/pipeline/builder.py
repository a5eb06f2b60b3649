"""One configuration's stages, built inputs first; what the functions of each kind share.

* Weak settings never enter a student's params and the other way round: each param is taken by name from one role's settings.
* A finetuned (or language-model-tuned) stage can be another stage's model: its settings go with it.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from w2s_cli.config.schema import with_role
from w2s_cli.data.pools import POOLS
from w2s_cli.data.recipes import rows_params
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline import kinds, labelled, trained
from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.pipeline.method import stages_of
from w2s_cli.pipeline.resolve import Resolver, bind
from w2s_cli.store.keys import canonical_json


class Builder:
    """Builds the stages of one configuration; remembers those already built."""

    def __init__(self, config: dict[str, Any], resolver: Resolver, graph: Graph) -> None:
        self.config = config
        self.resolver = resolver
        self.graph = graph
        self.job = Job(config)
        self.written = stages_of(config)
        self.settings: dict[str, dict[str, Any]] = {}  # stage that makes a model → that model's settings
        self.building: list[str] = []

    def build(self) -> Job:
        """All stages of the method, inputs first."""
        for name in self.written:
            self.stage(name)
        return self.job

    def stage(self, name: str, *, asked_by: str = "") -> str:
        """The key of the stage `name`, building it first if need be."""
        if name in self.job.names:
            return self.job.names[name]
        if name not in self.written:
            raise UserError(
                f'stage "{asked_by}": there is no stage "{name}" in this method.{did_you_mean(name, self.written)}'
            )
        if name in self.building:
            raise UserError(
                f"the stages of this method depend on each other in a circle: {' → '.join([*self.building, name])}."
            )
        self.building.append(name)
        fields = {field: value for field, value in self.written[name].items() if field != "kind"}
        kind = self.written[name]["kind"]
        kinds.check_fields(name, kind, fields)
        key: str = _function(kind, name)(self, name, **fields)
        self.building.pop()
        self.job.names[name] = key
        return key

    def stages(self, names: list[str], *, asked_by: str) -> list[str]:
        """The keys of several stages."""
        return [self.stage(name, asked_by=asked_by) for name in names]

    def pool(self, pool: str, *, asked_by: str) -> str:
        """The rows stage of one pool of the data set."""
        if pool not in POOLS:
            raise UserError(f'stage "{asked_by}": unknown pool "{pool}".{did_you_mean(pool, POOLS)}')
        name = f"rows:{pool}"
        if name not in self.job.names:
            data = self.config["data"]
            source, path = self.resolver.data(data)
            params = rows_params(data, pool=pool, source=source, transform_file=self._transform_file(data))
            execution = {
                "data_path": path,
                "transform_folders": [str(f) for f in self.resolver.folders],
                "expected": data["expected"],
            }
            slug = f"{data['name']}-{pool}"
            about = {"data": data["name"], "rows": pool, "limit": data["limits"].get(pool)}
            about["expected"] = (data["expected"] or {}).get("test") if pool == "test" else None
            self.job.names[name] = self.graph.add(name, "rows", params, {}, slug, execution, about)
        return self.job.names[name]

    def _transform_file(self, data: Mapping[str, Any]) -> Path | None:
        """The file of the data set's transform, whose options are checked here, before anything runs."""
        if not data["transform"]:
            return None
        path = self.resolver.code("data/transforms", data["transform"])
        bind(path, data["transform"], data["options"], given=("draw",))
        return path

    def model_settings(self, stage: str, role: str, model: Any, train: Mapping[str, Any]) -> dict[str, Any]:
        """The model's settings as this role has them: the role's own, then train.lr, then the model's.

        `base` is the identity of a pretrained model and `path` its folder; of another stage's model, `trunk` is that stage's key.
        `pretrained` is the configuration of the pretrained model that it all began with.
        """
        if isinstance(model, str):
            trunk = self.stage(model, asked_by=stage)
            if model not in self.settings:
                raise UserError(f'stage "{stage}": "{model}" is no stage that makes a model.')
            model = {**self.settings[model], "base": None, "path": None, "trunk": trunk}
        overlay = self.config[role] if role in ("student", "ceiling", "hop") else None
        settings = with_role({**model, "lr": train["lr"] if train["lr"] is not None else model["lr"]}, overlay)
        settings["lr_given"] = train["lr"] is not None or bool(overlay and overlay["lr"] is not None)
        if "base" not in settings:
            base, path = self.resolver.model(settings)
            settings |= {"base": base, "path": path, "trunk": None, "pretrained": model}
        return settings

    def seed(self, settings: Mapping[str, Any], role: str, member: int = 0) -> int:
        """The training seed of a role; member 0 of an ensemble has the role's own."""
        seed: int = settings["seed"] if settings["seed"] is not None else self.config["seed"]
        if not member:
            return seed
        return int(hashlib.sha256(canonical_json([seed, role, member]).encode()).hexdigest()[:8], 16)

    def features(self, asked_by: str, settings: Mapping[str, Any], rows: str) -> str:
        """The frozen features of a model's trunk on a pool."""
        name = f"features:{asked_by}:{rows}"
        if name not in self.job.names:
            params = {
                "model": settings["base"],
                **{n: settings[n] for n in ("max_length", "precision")},
                "truncation": self.config["data"]["truncation"],
            }
            execution = {"model_path": settings["path"], "trust_remote_code": settings["trust_remote_code"]}
            inputs = {"rows": self.pool(rows, asked_by=asked_by)}
            if settings["trunk"]:
                inputs["model"] = settings["trunk"]
            slug = f"{settings['name']}-{self.config['data']['name']}-{rows}"
            about = {"model": settings["name"], "rows": rows, "revision": (settings["base"] or {}).get("revision")}
            self.job.names[name] = self.graph.add(name, "features", params, inputs, slug, execution, about)
        return self.job.names[name]


def _function(kind: str, stage: str) -> Callable[..., str]:
    """The function of `trained.py` or `labelled.py` that builds a stage of this kind."""
    for module in (trained, labelled):
        if kind in _defined(module):
            return getattr(module, kind)  # type: ignore[no-any-return]
    raise UserError(f'stage "{stage}": a method cannot name a stage of kind "{kind}"; it is added where it is needed.')


def _defined(module: ModuleType) -> list[str]:
    return [
        name for name in kinds.kind_names() if getattr(getattr(module, name, None), "__module__", "") == module.__name__
    ]
