"""Stages that train or run a model: what determines their results, taken from the configuration. One function per kind."""

from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
from w2s_cli.pipeline.causal import check_recipe, need_causal
from w2s_cli.pipeline.kinds import TRUTH

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Builder

LABEL_SHARD_ROWS = 4096  # what a killed labelling loses at most
RECIPE = ("schedule", "warmup", "optimizer", "betas", "weight_decay", "max_grad_norm")


def finetune(
    b: "Builder",
    name: str,
    *,
    role: str,
    model: Any,
    rows: str,
    labels: str = TRUTH,
    loss: dict[str, Any] | None = None,
    member: int = 0,
    weights: str | None = None,
    train: dict[str, Any] | None = None,
    validation_rows: str | None = None,
    validation_labels: str | None = None,
) -> str:
    """A classifier or reward model; `train` holds fields of train.* that this stage has its own of."""
    how = {**b.config["train"], **(train or {})}
    settings = b.model_settings(name, role, model, how)
    if how["head"]["tokens"]:
        need_causal(b, name, role, settings, "starts from the label tokens of a language model", "use train=finetune")
        _check_tokens(b, name, how["head"]["tokens"], "use train=finetune")
        if how["mode"] == "probe":
            raise UserError(
                f'stage "{name}": a probe has a linear head on stored features, so it cannot start from label tokens; '
                "use train.mode=full or lora, or no train.head.tokens."
            )
    elif how["mode"] == "probe":
        need_causal(b, name, role, settings, "probes the last token's state", "train all weights", probed=True)
    inputs = {"rows": b.pool(rows, asked_by=name)}
    if labels != TRUTH:
        inputs["labels"] = b.stage(labels, asked_by=name)
    if weights:
        inputs["weights"] = b.stage(weights, asked_by=name)
    if settings["trunk"]:
        inputs["model"] = settings["trunk"]
    if how["mode"] == "probe":
        inputs["features"] = b.features(name, settings, rows)
    form = how["labels"] if "labels" in inputs else "hard"  # ground truth is one-hot either way: one key
    chosen = loss or {"name": "xent", "args": {}}
    shown = chosen.get("label") or chosen["name"]
    params = {
        "model": settings["base"],
        "loss": b.resolver.rule("losses", chosen),
        "mode": how["mode"],
        "lora": {"r": how["lora_r"], "alpha": how["lora_alpha"]} if how["mode"] == "lora" else None,
        "labels": form,
        "sharpening": how["sharpening"] if form == "sharpened" else None,
        "head": how["head"] if how["head"]["tokens"] else None,
        "epochs": settings["epochs"] if settings["epochs"] is not None else how["epochs"],
        "lr": settings["lr"],
        "batch_size": settings["batch_size"],
        **{field: how[field] for field in RECIPE},
        "max_length": settings["max_length"],
        "truncation": b.config["data"]["truncation"],
        "precision": settings["precision"],
        "seed": b.seed(settings, role, member),
        "stopping": None,
    }
    if validation_rows:
        stopping = b.config["stopping"]
        params["stopping"] = {field: stopping[field] for field in ("metric", "every", "patience")}
        inputs["validation_rows"] = b.pool(validation_rows, asked_by=name)
        if validation_labels:
            inputs["validation_labels"] = b.stage(validation_labels, asked_by=name)
        if how["mode"] == "probe":
            inputs["validation_features"] = b.features(name, settings, validation_rows)
    execution = {
        "model_path": settings["path"],
        "model_name": settings["name"],
        "gradient_checkpointing": settings["gradient_checkpointing"],
        "trust_remote_code": settings["trust_remote_code"],
        "loss_folders": [str(f) for f in b.resolver.folders],
    }
    b.settings[name] = {**settings, "mode": how["mode"], "role": role}
    about = {
        "role": role,
        "model": settings["name"],
        "rows": rows,
        "labels": labels,
        "lr": params["lr"],
        "seed": params["seed"],
        "loss": shown,
        "epochs": params["epochs"],
        "revision": (settings["base"] or {}).get("revision"),
        "lr_source": "given" if settings["lr_given"] else settings["lr_source"],
        "mode": how["mode"],
    }
    slug = f"{role}-{settings['name']}-{b.config['data']['name']}-{shown}-s{params['seed']}"
    return b.graph.add(name, "finetune", params, inputs, slug, execution, about)


def label(b: "Builder", name: str, *, model: str, rows: str) -> str:
    """A finetuned model's probabilities for a pool."""
    inputs = {"model": b.stage(model, asked_by=name), "rows": b.pool(rows, asked_by=name)}
    if b.settings.get(model, {}).get("mode") not in ("full", "lora", "probe"):
        raise UserError(f'stage "{name}": "{model}" is no finetune stage, so it cannot label.')
    settings = b.settings[model]
    if settings["mode"] == "probe":
        inputs["features"] = b.features(model, settings, rows)
    params = {
        "max_length": settings["max_length"],
        "truncation": b.config["data"]["truncation"],
        "precision": settings["precision"],
        "shard_rows": LABEL_SHARD_ROWS,
    }
    about = {"role": settings["role"], "model": settings["name"], "rows": rows, "seed": b.config["seed"]}
    slug = f"{settings['role']}-{settings['name']}-{b.config['data']['name']}-{rows}-s{b.config['seed']}"
    execution = {"trust_remote_code": settings["trust_remote_code"]}
    return b.graph.add(name, "label", params, inputs, slug, execution, about)


def few_shot(
    b: "Builder", name: str, *, model: Any, rows: str, examples: str, labels: str = TRUTH, role: str = "student"
) -> str:
    """A pretrained model's probabilities for a pool, prompted with examples and their labels."""
    prompt = b.config["few_shot"]
    settings = b.model_settings(name, role, model, b.config["train"])
    need_causal(b, name, role, settings, "prompts a language model", "use a method that trains the student")
    _check_tokens(b, name, prompt["tokens"], "use a method that trains the student")
    inputs = {"rows": b.pool(rows, asked_by=name), "examples": b.pool(examples, asked_by=name)}
    if labels != TRUTH:
        inputs["labels"] = b.stage(labels, asked_by=name)
    if settings["trunk"]:
        inputs["model"] = settings["trunk"]
    params = {
        "model": settings["base"],
        **{field: prompt[field] for field in ("shots", "tokens", "suffix", "separator")},
        "max_length": settings["max_length"],
        "truncation": b.config["data"]["truncation"],
        "precision": settings["precision"],
        "seed": b.seed(settings, role),
        "shard_rows": LABEL_SHARD_ROWS,
    }
    execution = {
        "model_path": settings["path"],
        "model_name": settings["name"],
        "trust_remote_code": settings["trust_remote_code"],
    }
    about = {"role": role, "model": settings["name"], "rows": rows, "seed": params["seed"], "shots": prompt["shots"]}
    slug = f"{role}-{settings['name']}-{b.config['data']['name']}-{rows}-{prompt['shots']}-shot-s{params['seed']}"
    return b.graph.add(name, "few_shot", params, inputs, slug, execution, about)


def _check_tokens(b: "Builder", stage: str, tokens: list[str], instead: str) -> None:
    """Refuse what label tokens cannot ask, as far as the configuration tells."""
    data = b.config["data"]
    if data["second"]:
        raise UserError(
            f'stage "{stage}": label tokens classify single texts, and data={data["name"]} has pairs; {instead}.'
        )
    if data["classes"] and len(tokens) != len(data["classes"]):
        raise UserError(
            f'stage "{stage}": {list(tokens)} are {len(tokens)} label tokens, but data={data["name"]} has '
            f"{len(data['classes'])} classes, {list(data['classes'])}: give one for each (few_shot.tokens or train.head.tokens)."
        )


def generative(b: "Builder", name: str, *, model: Any, rows: str, role: str = "student") -> str:
    """A pretrained language model trained on a pool's texts, without labels."""
    how = b.config["generative"]
    settings = b.model_settings(name, role, model, b.config["train"])
    need_causal(b, name, role, settings, "trains a language model on texts", "use a method without this stage")
    inputs = {"rows": b.pool(rows, asked_by=name)}
    if settings["trunk"]:
        inputs["model"] = settings["trunk"]
    params = {
        "model": settings["base"],
        "epochs": how["epochs"],
        "lr": how["lr"] if how["lr"] is not None else settings["lr"],
        "batch_size": how["batch_size"],
        **{field: how[field] for field in RECIPE},
        "max_length": settings["max_length"],
        "truncation": b.config["data"]["truncation"],
        "precision": settings["precision"],
        "seed": b.seed(settings, role),
    }
    execution = {
        "model_path": settings["path"],
        "model_name": settings["name"],
        "gradient_checkpointing": settings["gradient_checkpointing"],
        "trust_remote_code": settings["trust_remote_code"],
    }
    b.settings[name] = {**settings, "mode": "generative", "role": role}
    about = {"model": settings["name"], "rows": rows, "lr": params["lr"], "seed": params["seed"]}
    slug = f"{settings['name']}-{b.config['data']['name']}-{rows}-s{params['seed']}"
    return b.graph.add(name, "generative", params, inputs, slug, execution, about)


def pretrain(b: "Builder", name: str, *, recipe: dict[str, Any]) -> str:
    """A language model from scratch."""
    check_recipe(b, recipe)
    params = {field: value for field, value in recipe.items() if field not in ("name", "corpus")}
    corpus = dict(recipe["corpus"])
    sha256, path = b.resolver.corpus(corpus.pop("path"))
    params["corpus"] = {**corpus, "sha256": sha256}
    about = {"model": recipe["name"], "epochs": recipe["epochs"], "lr": recipe["lr"]}
    execution = {"corpus_path": path, "model_name": recipe["name"]}
    return b.graph.add(name, "pretrain", params, {}, str(recipe["name"]), execution, about)
