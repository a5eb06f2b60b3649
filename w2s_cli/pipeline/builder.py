"""The stages of one configuration, built inputs first: fields become edges, the kind plans the stage, and the graph stores it.

* Fields are resolved by the types in the signature of the kind's `plan` (pipeline.contract), in the order of that signature.
* A model's settings are those of one role, so weak settings never enter a student's params, nor a student's the weak supervisor's.
* `Planning` is the interface of the pipeline for a kind's `plan`. Every field of the configuration that it reads is recorded
  (pipeline.reads).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from w2s_cli.data.form import label_column
from w2s_cli.data.pools import POOLS
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.hub import UnreachableError
from w2s_cli.pipeline import causal, kinds
from w2s_cli.pipeline.contract import NO_STAGE, TRUTH, Edge, Labels, Model, Pool, Spec
from w2s_cli.pipeline.graph import Graph, Job, Stage
from w2s_cli.pipeline.kinds import Field, Kind
from w2s_cli.pipeline.method import stages_of
from w2s_cli.pipeline.reads import Layers, Recorded
from w2s_cli.pipeline.resolve import Resolver, bind, flag
from w2s_cli.store.context import Context
from w2s_cli.store.files import write_json
from w2s_cli.store.keys import canonical_json
from w2s_cli.values import fit

if TYPE_CHECKING:
    from w2s_cli.data.artifacts.rows import Rows

OWN_ROLES = ("student", "ceiling", "hop")  # roles with a group of settings that replace those of their model


class Builder:
    """The stages of one configuration; each is built once."""

    def __init__(self, config: dict[str, Any], resolver: Resolver, graph: Graph) -> None:
        self.config = Recorded(config)
        self.resolver = resolver
        self.graph = graph
        self.job = Job(config, self.config.paths)
        self.written = stages_of(self.config, resolver.folders)
        self.models: dict[str, Mapping[str, Any]] = {}  # name of a stage that makes a model → the model's settings
        self.building: list[str] = []

    def build(self) -> Job:
        """All stages of the method, inputs first."""
        for name in self.written:
            self.stage(name)
        return self.job

    def stage(self, name: str, *, asked_by: str = "") -> str:
        """The key of the stage `name`, which is built first if it is missing."""
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
        kind = kinds.find(self.written[name]["kind"], self.resolver.folders)
        if kind.traits.implied:
            raise UserError(
                f'stage "{name}": a method cannot name a stage of kind "{kind.name}"; it is added for the stages that need it.'
            )
        kinds.check_fields(name, kind, fields)
        data = self.config.plain["data"]
        if kind.labels() and data["prompt"] and label_column(data) is None:
            raise UserError(
                f'stage "{name}" ({kind.name}) classifies texts, and data={data["name"]} has problems whose answers are texts '
                "(data.prompt): use a method for texts (docs/text.md), or another data set."
            )
        values = {
            field.name: self._value(name, kind, field, fields[field.name])
            for field in kind.fields.values()
            if fields.get(field.name) is not None
        }
        key = self._add(name, kind, kind.planned(Planning(self, name), **values))
        self.building.pop()
        return key

    def _value(self, stage: str, kind: Kind, field: Field, value: Any) -> Any:
        """The value of a YAML field for `plan`."""
        where = f'stage "{stage}" ({kind.name})'
        if field.type is None:
            return _plain_value(where, field, value)
        if field.several:
            return [self._edge(stage, where, field, name) for name in value]
        return self.model(stage, value) if field.type is Model else self._edge(stage, where, field, value)

    def _edge(self, stage: str, where: str, field: Field, name: str) -> Edge:
        if field.type is Pool:
            return self.pool(name, asked_by=stage)
        if field.type is Labels and name == NO_STAGE:
            if field.required:
                raise UserError(
                    f'{where}: "{field.name}" must name a stage that gives labels; ground truth is no such stage.'
                )
            return TRUTH
        key = self.stage(name, asked_by=stage)
        gives = self.graph.stages[key].of.traits.gives
        if field.type is Labels and gives != "labels":
            raise UserError(
                f'{where}: "{field.name}" must name a stage that gives labels; stage "{name}" gives {gives or "no artifact for others"}.'
            )
        edge: Edge = (field.type or Edge)(name, key, self.models.get(name))
        return edge

    def _add(self, name: str, kind: Kind, spec: Spec) -> str:
        """Add a planned stage to the graph; returns its key."""
        edges = {edge: stages for edge, stages in spec.inputs.items() if stages is not None and stages is not TRUTH}
        inputs = {
            edge: [s.key for s in stages] if isinstance(stages, list) else stages.key for edge, stages in edges.items()
        }
        execution = {"folders": [str(folder) for folder in self.resolver.folders], **spec.execution}
        about = {**spec.about, "words": spec.words}
        key = self.graph.add(name, kind, spec.params, inputs, spec.slug or name, execution, about)
        self.job.names[name] = key
        self.job.unread.update(str(edge.key) for edge in spec.unread)
        if spec.model is not None:
            self.models[name] = spec.model
        return key

    def pool(self, pool: str, *, asked_by: str) -> Pool:
        """The rows stage of one pool of the data set."""
        if pool not in POOLS:
            raise UserError(f'stage "{asked_by}": unknown pool "{pool}".{did_you_mean(pool, POOLS)}')
        name = f"rows:{pool}"
        if name not in self.job.names:
            kind = kinds.find("rows", self.resolver.folders)
            key = self._add(name, kind, kind.plan(Planning(self, name), pool=pool))
            if self.resolver.store.folder(key) is None:  # else it was looked at before
                self.resolver.check_columns(self.config["data"].plain)
        return Pool(pool, self.job.names[name])

    def features(self, asked_by: str, settings: Mapping[str, Any], rows: Pool) -> Edge:
        """The frozen features of a model's trunk on a pool."""
        name = f"features:{asked_by}:{rows.name}"
        if name not in self.job.names:
            kind = kinds.find("features", self.resolver.folders)
            self._add(name, kind, kind.plan(Planning(self, name), settings=settings, rows=rows))
        return Edge(name, self.job.names[name])

    def model(self, stage: str, model: Any) -> Model:
        """A model of the YAML: the configuration of a pretrained model, or the name of a stage that makes a model."""
        if isinstance(model, str):
            trunk = self.stage(model, asked_by=stage)
            if model not in self.models:
                raise UserError(f'stage "{stage}": "{model}" is no stage that makes a model.')
            base = {**self.models[model], "base": None, "path": None, "trunk": Edge(model, trunk)}
            return Model(lambda role, train=None: self._as_role(base, role, train))
        return Model(lambda role, train=None: self._pretrained(model, role, train))

    def _pretrained(self, model: Mapping[str, Any], role: str, train: Mapping[str, Any] | None) -> dict[str, Any]:
        base, path = self.resolver.model(model)
        return self._as_role({**model, "base": base, "path": path, "trunk": None, "pretrained": model}, role, train)

    def _as_role(self, model: Mapping[str, Any], role: str, train: Mapping[str, Any] | None) -> dict[str, Any]:
        """The model's settings in a role: the role's own settings first, then the model's.

        The learning rate is the first of: the role's (student.lr), a stage's own (`train: {lr: …}` in its method's YAML), the model's if
        the command line gives it (strong.lr=…), train.lr, which train=lora and train=probe set, and the model's default.
        `base` is the identity of a pretrained model, and `path` its folder. For a model of another stage, `trunk` is that stage.
        `pretrained` is the configuration of the pretrained model at the beginning of the chain.
        """
        overlay = self.config[role] if role in OWN_ROLES else {}
        own = {name: value for name, value in overlay.items() if value is not None}
        fields = self.config.plain["train"] if train is None else train  # no training: the rate has no use
        of_stage = fields.top.get("lr") if isinstance(fields, Layers) else None
        lr = own.get("lr") or of_stage or (model["lr"] if model["lr_source"] == "given" else fields["lr"])
        common = {} if lr is None else {"lr": lr}
        return {**model, **own, **common, "lr_given": lr is not None}


def supervisor(config: Mapping[str, Any]) -> str:
    """The name of a run's supervisor in folder names: the weak model, or the file with the labels, without its folder and suffix."""
    if config["labels"]["source"] == "weak":
        return str(config["weak"]["name"])
    return Path(str(config["labels"]["path"])).name.partition(".")[0] or "file"


def _plain_value(where: str, field: Field, value: Any) -> Any:
    """A value of a YAML field in the type of its argument; a group of the configuration stays as it is, to record what is read of it."""
    if isinstance(value, Mapping):
        return value
    misfits: list[str] = []
    fitted = fit(value, field.values, field.name, misfits)
    if misfits:
        raise UserError("\n".join(f"{where}: {misfit}" for misfit in misfits))
    return fitted


@dataclass(frozen=True)
class Planning:
    """The interface of the pipeline for a kind's `plan`, for one stage."""

    builder: Builder
    stage: str

    @property
    def config(self) -> Recorded:
        """The configuration of the run; fields that are read are recorded."""
        return self.builder.config

    @property
    def resolver(self) -> Resolver:
        """The resolver of names to hashes and commits."""
        return self.builder.resolver

    @property
    def supervisor(self) -> str:
        """The name of the run's supervisor in folder names."""
        return supervisor(self.config.plain)

    def training_seed(self, settings: Mapping[str, Any], role: str, member: int = 0) -> int:
        """The training seed of a role; member 0 of an ensemble has the role's own seed."""
        seed: int = settings["seed"] if settings["seed"] is not None else self.config["seed"]
        if not member:
            return seed
        return int(hashlib.sha256(canonical_json([seed, role, member]).encode()).hexdigest()[:8], 16)

    def features(self, settings: Mapping[str, Any], rows: Pool, of: str | None = None) -> Edge:
        """The stage that computes a model's frozen features on a pool; its name is from the stage `of`, by default this one."""
        return self.builder.features(of or self.stage, settings, rows)

    def stage_of(self, edge: Edge) -> Stage:
        """The stage behind an input, as it is planned."""
        assert edge.key is not None
        return self.builder.graph.stages[edge.key]

    def rule(self, folder: str, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Identity of a loss or rule: name, all arguments, code."""
        return self.resolver.rule(folder, rule)

    def says(self, folder: str, name: str, word: str) -> bool:
        """Whether the file of a loss or rule has `word = True`."""
        return flag(self.resolver.code(folder, name), word)

    def need_causal(
        self, settings: Mapping[str, Any], role: str, why: str, instead: str, *, probed: bool = False
    ) -> None:
        """Refuse a model that is no causal language model (see pipeline.causal)."""
        method = self.config["method"]["name"]
        causal.need_causal(self.resolver, method, self.stage, role, settings, why, instead, probed=probed)

    def need_room(self, settings: Mapping[str, Any], new_tokens: int) -> None:
        """Refuse texts that leave the model no token for a prompt (see pipeline.causal)."""
        causal.need_room(self.resolver, self.stage, settings, new_tokens)

    def need_problems(self, *parts: str) -> None:
        """Refuse a data set without these parts of a problem (data.prompt, data.answer, …)."""
        data = self.config.plain["data"]
        for part in parts:
            if not data[part]:
                raise UserError(
                    f'stage "{self.stage}" needs the {part} of each problem, and data={data["name"]} names none: data.{part}=COLUMN, or '
                    "use another data set of problems (docs/data.md)."
                )

    def chat_template(
        self, settings: Mapping[str, Any], chat: bool | None, option: str = "few_shot.chat"
    ) -> str | None:
        """The sha256 of the model's chat template, for prompts as turns of a chat; None for prompts without turns.

        `chat`: whether there are turns, as `option` says; None: if the model has a template. On a plan without the hub an unknown
        template counts as none.

        Raises:
            UserError: `chat`, and the model has no template.
        """
        if chat is False:
            return None
        try:
            template = self.resolver.chat_template(settings["pretrained"])
        except UnreachableError:
            if self.resolver.hub == "required":
                raise
            self.resolver.assumed.add(f"model {settings['pretrained']['id']}")
            return None
        if chat and template is None:
            raise UserError(
                f'stage "{self.stage}": {option}=true, but the model "{settings["name"]}" has no chat template: leave '
                f"{option} out, or choose an instruct model."
            )
        return template

    def check_label_tokens(self, tokens: list[str], instead: str) -> None:
        """Refuse label tokens for pairs, or another number of tokens than classes, if the configuration lists the classes."""
        data = self.config["data"]
        if data["second"]:
            raise UserError(
                f'stage "{self.stage}": label tokens classify single texts, and data={data["name"]} has pairs; {instead}.'
            )
        classes = data["classes"]
        if classes and len(tokens) != len(classes):
            raise UserError(
                f'stage "{self.stage}": {list(tokens)} are {len(tokens)} label tokens, but data={data["name"]} has {len(classes)} '
                f"classes, {list(classes)}: set one for each class (few_shot.tokens or train.head.tokens)."
            )

    def transform(self, data: Mapping[str, Any]) -> Path:
        """The file of the data set's transform; its options are checked here, before any stage runs."""
        path = self.resolver.code("data/transforms", data["transform"])
        bind(path, data["transform"], data["options"], at_run_time=("draw",), field="data.options")
        return path

    def rows_of(self, pool: Pool) -> "Rows | None":
        """The rows of a pool without their texts: of the finished stage, else made now in a temporary folder; None of data on the hub."""
        from w2s_cli.data.artifacts.rows import read_rows

        stage, store = self.builder.graph.stages[str(pool.key)], self.resolver.store
        made = store.folder(stage.key)
        if made is not None and store.state(stage.key).digest:
            return read_rows(made / "result", texts=False)
        path = stage.execution["data_path"]
        if path is None or not Path(path).exists():
            return None
        with TemporaryDirectory() as name:
            folder = Path(name)
            metrics = stage.of.run(stage.identity["params"], {}, Context(folder, folder, folder, stage.execution))
            write_json(folder / "manifest.json", {"metrics": metrics})
            return read_rows(folder, texts=False)

    def opens(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A worker's settings for opening a model, beside the model's identity."""
        return {
            "model_path": settings["path"],
            "model_name": settings["name"],
            "gradient_checkpointing": settings["gradient_checkpointing"],
            "trust_remote_code": settings["trust_remote_code"],
            **self.resolver.base(settings.get("pretrained")),
        }

    def about(self, settings: Mapping[str, Any], rows: Pool, role: str | None = None) -> dict[str, Any]:
        """The facts that a plan shows of a stage with a model."""
        revision = (settings["base"] or {}).get("revision")
        parameters = settings.get("parameters")
        facts = {"model": settings["name"], "rows": rows.name, "revision": revision, "parameters": parameters}
        if settings.get("pretrained"):
            facts["shape"] = self.resolver.shape(settings["pretrained"])
        return {"role": role, **facts} if role else facts
