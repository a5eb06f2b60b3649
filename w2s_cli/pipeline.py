"""From configurations to stages: a method's YAML becomes a graph of stages with keys.

* The YAML names stages and edges; this file fills in what determines each result (its params) from the configuration, adds the stages
  that are implied (`rows` for every pool, `features` for probes, `import_labels` for labels from a file), and computes the keys.
* Several configurations (seeds, a sweep) give one union graph: a stage that two of them share has one key and exists once.
* Weak settings never enter a student's params and the other way round: each param is taken by name from one role's settings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli import kinds
from w2s_cli.config import with_role
from w2s_cli.data.pools import POOLS
from w2s_cli.data.recipe import rows_params
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.graph import Graph, Job
from w2s_cli.resolve import Resolver, bind
from w2s_cli.store import keys

LABEL_SHARD_ROWS = 4096  # what a killed labelling loses at most


def build(configs: Sequence[dict[str, Any]], resolver: Resolver) -> Graph:
    """The graph of all `configs`; each with `seeds=n` stands for seeds 0 … n-1."""
    graph = Graph()
    families: dict[str, list[Job]] = {}
    for config in configs:
        seeds = range(config["seeds"]) if config["seeds"] else [config["seed"]]
        family = keys.canonical_json({**config, "seed": None, "seeds": None, "launcher": None})
        for seed in seeds:
            job = _Builder({**config, "seed": seed}, resolver, graph).build()
            graph.jobs.append(job)
            families.setdefault(family, []).append(job)
    for jobs in families.values():
        by_seed = {job.config["seed"]: job for job in jobs}
        distinct = [by_seed[seed] for seed in sorted(by_seed)]  # seed=2,0,1 is the same summary as seeds=3
        for name in [n for n, key in distinct[0].names.items() if graph.stages[key].kind == "evaluate"]:
            if len(distinct) > 1:
                graph.summaries.append((distinct, _summary(graph, distinct, name)))
    return graph


def _summary(graph: Graph, jobs: list[Job], name: str) -> str:
    config = jobs[0].config
    params = {
        "seeds": [job.config["seed"] for job in jobs],
        "bootstrap": config["bootstrap"],
        "confidence": config["confidence"],
    }
    inputs = {"runs": [job.names[name] for job in jobs]}
    first = graph.stages[inputs["runs"][0]]
    return graph.add(
        "summary", "summary", params, inputs, first.slug.rsplit("-s", 1)[0] + f"-{len(jobs)}-seeds", {}, {}
    )


class _Builder:
    """Builds the stages of one configuration; remembers those already built."""

    def __init__(self, config: dict[str, Any], resolver: Resolver, graph: Graph) -> None:
        self.config = config
        self.resolver = resolver
        self.graph = graph
        self.job = Job(config)
        self.written: dict[str, dict[str, Any]] = self._method_stages()
        self.settings: dict[str, dict[str, Any]] = {}  # finetune stage → its model's settings
        self.building: list[str] = []

    def _method_stages(self) -> dict[str, dict[str, Any]]:
        """The stages as written, with labels from a file in the weak supervisor's place if the configuration says so."""
        stages = {name: dict(fields) for name, fields in self.config["method"]["stages"].items()}
        for name, fields in stages.items():
            if "kind" not in fields:
                raise UserError(f'stage "{name}" of method "{self.config["method"]["name"]}" has no kind.')
        labels = self.config["labels"]
        if labels["source"] == "weak":
            return stages
        if not labels["path"]:
            raise UserError("labels=file needs the file: labels.path=FILE")
        supervisors = {n for n, f in stages.items() if f["kind"] == "finetune" and f.get("role") == "weak"}
        replaced, dropped = {}, set(supervisors)
        for name, fields in stages.items():
            if fields["kind"] == "label" and fields.get("model") in supervisors:
                path = labels["test_path"] if fields["rows"] == "test" else labels["path"]
                if path:
                    replaced[name] = {"kind": "import_labels", "path": path, "rows": fields["rows"]}
                else:
                    dropped.add(name)
        for name, fields in stages.items():
            if (
                name not in supervisors and fields.get("labels") in dropped
            ):  # without it the student would learn the truth
                raise UserError(
                    f'stage "{name}" learns from "{fields["labels"]}", which no file gives: set labels.test_path=FILE.'
                )
        kept = {**stages, **replaced}
        return {
            name: {f: v for f, v in fields.items() if not (isinstance(v, str) and v in dropped)}
            for name, fields in kept.items()
            if name not in dropped
        }

    def build(self) -> Job:
        """All stages of the method, inputs first."""
        for name in self.written:
            self._stage(name)
        return self.job

    def _stage(self, name: str, *, asked_by: str = "") -> str:
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
        fields = {f: v for f, v in self.written[name].items() if f != "kind"}
        kind = self.written[name]["kind"]
        kinds.check_fields(name, kind, fields)
        make = getattr(self, f"_{kind}", None)
        if make is None:
            raise UserError(
                f'stage "{name}": a method cannot name a stage of kind "{kind}"; it is added where it is needed.'
            )
        key: str = make(name, **fields)
        self.building.pop()
        self.job.names[name] = key
        return key

    def _pool(self, pool: str, *, asked_by: str) -> str:
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

    def _finetune(
        self,
        name: str,
        *,
        role: str,
        model: Any,
        rows: str,
        labels: str = kinds.TRUTH,
        loss: dict[str, Any] | None = None,
    ) -> str:
        train = self.config["train"]
        inputs = {"rows": self._pool(rows, asked_by=name)}
        if labels != kinds.TRUTH:
            inputs["labels"] = self._stage(labels, asked_by=name)
        settings = self._model_settings(name, role, model)
        base: dict[str, Any] | None = None
        path = None
        if isinstance(model, str):
            inputs["model"] = self._stage(model, asked_by=name)
        else:
            base, path = self.resolver.model(settings)
        chosen_loss = loss or {"name": "xent", "args": {}}
        params = {
            "model": base,
            "loss": self.resolver.loss(chosen_loss),
            "mode": train["mode"],
            "lora": {"r": train["lora_r"], "alpha": train["lora_alpha"]} if train["mode"] == "lora" else None,
            "labels": train["labels"] if "labels" in inputs else "hard",  # ground truth is one-hot either way: one key
            "epochs": settings["epochs"] if settings["epochs"] is not None else train["epochs"],
            "lr": settings["lr"],
            "batch_size": settings["batch_size"],
            **{n: train[n] for n in ("schedule", "warmup", "optimizer", "betas", "weight_decay", "max_grad_norm")},
            "max_length": settings["max_length"],
            "truncation": self.config["data"]["truncation"],
            "precision": settings["precision"],
            "seed": settings["seed"] if settings["seed"] is not None else self.config["seed"],
        }
        execution = {
            "model_path": path,
            "model_name": settings["name"],
            "gradient_checkpointing": settings["gradient_checkpointing"],
            "trust_remote_code": settings["trust_remote_code"],
            "loss_folders": [str(f) for f in self.resolver.folders],
        }
        self.settings[name] = {**settings, "base": base, "path": path, "mode": train["mode"], "role": role}
        if train["mode"] == "probe":
            inputs["features"] = self._features(name, rows)
        about = {
            "role": role,
            "model": settings["name"],
            "rows": rows,
            "labels": labels,
            "lr": params["lr"],
            "seed": params["seed"],
        }
        about |= {"loss": chosen_loss["name"], "epochs": params["epochs"], "revision": (base or {}).get("revision")}
        about |= {"lr_source": "given" if settings["lr_given"] else settings["lr_source"], "mode": train["mode"]}
        slug = f"{role}-{settings['name']}-{self.config['data']['name']}-{chosen_loss['name']}-s{params['seed']}"
        return self.graph.add(name, "finetune", params, inputs, slug, execution, about)

    def _model_settings(self, stage: str, role: str, model: Any) -> dict[str, Any]:
        """The model's settings as this role has them: the role's own, then train.lr, then the model's."""
        if isinstance(model, str):
            if model not in self.settings:
                self._stage(model, asked_by=stage)
            model = self.settings[model]
        overlay = self.config.get(role) if role in ("student", "ceiling") else None
        train_lr = self.config["train"]["lr"]
        settings = with_role({**model, "lr": train_lr if train_lr is not None else model["lr"]}, overlay)
        settings["lr_given"] = train_lr is not None or bool(overlay and overlay["lr"] is not None)
        return settings

    def _features(self, model: str, rows: str) -> str:
        """The frozen features of the model that stage `model` trains a probe on."""
        settings = self.settings[model]
        params = {
            "model": settings["base"],
            **{n: settings[n] for n in ("max_length", "precision")},
            "truncation": self.config["data"]["truncation"],
        }
        if params["model"] is None:
            raise UserError(f'stage "{model}": a probe needs a pretrained model, not the result of another stage.')
        name = f"features:{model}:{rows}"
        if name not in self.job.names:
            execution = {"model_path": settings["path"], "trust_remote_code": settings["trust_remote_code"]}
            inputs = {"rows": self._pool(rows, asked_by=model)}
            slug = f"{settings['name']}-{self.config['data']['name']}-{rows}"
            about = {"model": settings["name"], "rows": rows, "revision": settings["base"].get("revision")}
            self.job.names[name] = self.graph.add(name, "features", params, inputs, slug, execution, about)
        return self.job.names[name]

    def _label(self, name: str, *, model: str, rows: str) -> str:
        inputs = {"model": self._stage(model, asked_by=name), "rows": self._pool(rows, asked_by=name)}
        if model not in self.settings:
            raise UserError(f'stage "{name}": "{model}" is no finetune stage, so it cannot label.')
        settings = self.settings[model]
        if settings["mode"] == "probe":
            inputs["features"] = self._features(model, rows)
        params = {
            "max_length": settings["max_length"],
            "truncation": self.config["data"]["truncation"],
            "precision": settings["precision"],
            "shard_rows": LABEL_SHARD_ROWS,
        }
        about = {"role": settings["role"], "model": settings["name"], "rows": rows, "seed": self.config["seed"]}
        slug = f"{settings['role']}-{settings['name']}-{self.config['data']['name']}-{rows}-s{self.config['seed']}"
        execution = {"trust_remote_code": settings["trust_remote_code"]}
        return self.graph.add(name, "label", params, inputs, slug, execution, about)

    def _import_labels(self, name: str, *, path: str, rows: str) -> str:
        sha256, absolute = self.resolver.file(path, "labels")
        inputs = {"rows": self._pool(rows, asked_by=name)}
        about = {"labels": path, "rows": rows}
        slug = f"{self.config['data']['name']}-{rows}"
        return self.graph.add(name, "import_labels", {"sha256": sha256}, inputs, slug, {"labels_path": absolute}, about)

    def _evaluate(self, name: str, *, rows: str, **models: str) -> str:
        inputs = {role: self._stage(stage, asked_by=name) for role, stage in models.items() if stage}
        inputs["rows"] = self._pool(rows, asked_by=name)
        params = {"bootstrap": self.config["bootstrap"], "confidence": self.config["confidence"]}
        slug = f"{self.config['weak']['name']}-{self.config['strong']['name']}-{self.config['data']['name']}-s{self.config['seed']}"
        return self.graph.add(name, "evaluate", params, inputs, slug, {}, {"rows": rows, "seed": self.config["seed"]})

    def _pretrain(self, name: str, *, recipe: dict[str, Any]) -> str:
        params = {field: value for field, value in recipe.items() if field not in ("name", "corpus")}
        corpus = dict(recipe["corpus"])
        sha256, path = self.resolver.corpus(corpus.pop("path"))
        params["corpus"] = {**corpus, "sha256": sha256}
        about = {"model": recipe["name"], "epochs": recipe["epochs"], "lr": recipe["lr"]}
        execution = {"corpus_path": path, "model_name": recipe["name"]}
        return self.graph.add(name, "pretrain", params, {}, str(recipe["name"]), execution, about)
