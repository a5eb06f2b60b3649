"""A trained model as others find it: the stage behind a name, its comparisons, and the text of its model card.

* A comparison stands for its student: the model behind the predictions of its `student`. A run stands for the students of its comparisons.
* The card says what the store knows: base models, data, settings, seed, key, version and command, and the table of each comparison that
  the model is the student of. What the store does not know (a licence, an intended use beyond research) is said to be unknown.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.results.escaping import markdown as markdown_text
from w2s_cli.results.planned import runs_of
from w2s_cli.results.reader import Entry, Run
from w2s_cli.results.runs import run_folders
from w2s_cli.results.shapes import Metrics
from w2s_cli.results.stages import Stage, read_stage, read_upstream
from w2s_cli.results.table.formats import markdown
from w2s_cli.results.text_table import results_notes, results_table
from w2s_cli.statistics import ROLES
from w2s_cli.store.files import read_json
from w2s_cli.store.shapes import fits
from w2s_cli.store.store import Store

MODEL, COMPARISON = "model", "comparison"  # what a stage gives (Traits.gives)
TASKS = {  # the end of an architecture's name → the hub's name of its task, the class that loads it
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForCausalLM": ("text-generation", "AutoModelForCausalLM"),
    "LMHeadModel": ("text-generation", "AutoModelForCausalLM"),
}


def models_of(store: Store, stage: Stage) -> list[Stage]:
    """The models that a finished stage stands for: itself, or the students of a comparison."""
    if stage.gives == MODEL:
        return [stage]
    if stage.gives != COMPARISON:
        return []
    runs = stage.inputs.get("runs")
    compared = [read_stage(store, key) for key in runs] if isinstance(runs, list) else [stage]
    students = [learner(store, one.inputs.get("student")) for one in compared]
    return list({student.key: student for student in students if student}.values())


def learner(store: Store, key: Any) -> Stage | None:
    """The nearest model at or above a stage; None of labels from a file, or where a stage is missing."""
    waiting = [key] if isinstance(key, str) else []
    while waiting:
        stages = [read_stage(store, one) for one in waiting]
        maker = next((stage for stage in stages if stage.gives == MODEL), None)
        if maker:
            return maker
        waiting = [above for stage in stages for _, above in stage.upstream()]
    return None


def comparisons_of(store: Store, model: Stage) -> list[tuple[Stage, Entry | None]]:
    """The finished comparisons of one seed whose student is the model, each with its result in a run if a run has it."""
    entries = {
        entry.key: entry
        for folder in runs_of(run_folders(store.root), model.key)
        for entry in Run(folder, store).entries
    }
    listed = []
    for key, folder in sorted(store.folders().items()):
        stage = Stage(key, folder)
        if stage.gives == COMPARISON and "student" in stage.inputs and fits(stage.metrics, Metrics):
            student = learner(store, stage.inputs["student"])
            if student and student.key == model.key:
                listed.append((stage, entries.get(key)))
    return listed


def card(store: Store, model: Stage, folder: Path, version: str) -> str:
    """The README.md of an exported model, with the hub's metadata at its head.

    Args:
        folder: the model's files, for the name of its architecture.
        version: of this w2s.
    """
    import yaml

    comparisons = comparisons_of(store, model)
    upstream = read_upstream(store, [model.key])
    task, opens = _task(folder)
    base, datasets = base_model(store, model), hub_data(upstream.values())
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": task, "tags": ["weak-to-strong", "w2s"]}
    head |= {"base_model": base["id"], "base_model_relation": "finetune"} if "id" in base else {}
    head |= {"datasets": datasets} if datasets else {}
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n",
        f"# {markdown_text(model.name)} of a weak-to-strong experiment\n",
        _made(store, model, base, upstream, comparisons, version),
        *(_table(stage, entry) for stage, entry in comparisons),
        _use(comparisons),
        f"## Loading\n\n```python\nfrom transformers import {opens}, AutoTokenizer\n\nmodel = {opens}.from_pretrained(FOLDER_OR_NAME)\n"
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER_OR_NAME)\n```\n",
    ]
    own = _own_card(folder)
    return "\n".join([*parts, f"## Notes of the training\n\n{own}" if own else ""]).rstrip() + "\n"


def _task(folder: Path) -> tuple[str, str]:
    config = read_json(folder / "config.json")
    names = config.get("architectures") if isinstance(config, dict) else None
    for name in names if isinstance(names, list) else ():
        for end, task in TASKS.items():
            if str(name).endswith(end):
                return task
    raise UserError(f"{folder}/config.json names no architecture that can be exported (architectures: {names}).")


def _own_card(folder: Path) -> str:
    """What the training wrote about itself, without the hub's metadata and its own lines about loading."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    return body.partition("```python")[0].strip() + "\n"


def base_model(store: Store, model: Stage) -> dict[str, Any]:
    """The identity of the pretrained model below a training ({id, revision} or {sha256}), with its `name`; {} of one from scratch."""
    while True:
        identity = model.params.get("model")
        if isinstance(identity, Mapping):
            named = model.record.get("execution", {}).get("model_name")
            return {"name": named, **identity}
        above = model.inputs.get("model")
        if not isinstance(above, str):
            return {}
        model = read_stage(store, above)
    return {}


def hub_data(stages: Iterable[Stage]) -> list[str]:
    """The hub ids of the data sets behind stages."""
    sources = (stage.params.get("source") for stage in stages)
    return sorted({str(source["hub"]) for source in sources if isinstance(source, Mapping) and source.get("hub")})


def in_words(base: Mapping[str, Any]) -> str:
    """A base model in words."""
    if "id" in base:
        return f"[{markdown_text(base['id'])}](https://huggingface.co/{base['id']}) at `{base.get('revision', 'main')}`"
    if "sha256" in base:
        name = markdown_text(str(base.get("name") or "a model"))
        return f"{name}, a model in a folder (sha256 of its files `{str(base['sha256'])[:16]}…`)"
    return "none: trained from fresh weights, or unknown"


def _made(
    store: Store,
    model: Stage,
    base: Mapping[str, Any],
    upstream: Mapping[str, Stage],
    comparisons: Sequence[tuple[Stage, Entry | None]],
    version: str,
) -> str:
    """The lines of how the model was made."""
    entry = next((entry for _, entry in comparisons if entry), None)
    lines = [f"* base model: {in_words(base)}"]
    if comparisons:
        for role in [role for role in ROLES if role != "student"]:
            other = learner(store, comparisons[0][0].inputs.get(role))
            if other:
                lines.append(f"* {role}: {in_words(base_model(store, other))}, stage `{other.key}`")
    if entry:
        fields = entry.fields
        lines += [f"* data: {markdown_text(str(fields['data']))}", f"* method: {markdown_text(str(fields['method']))}"]
        lines += [f"* loss: {markdown_text(str(fields['loss']))}; training: {markdown_text(str(fields.get('train')))}"]
    else:
        lines += [f"* data: {', '.join(hub_data(upstream.values())) or 'not of the hub'}"]
    params = model.params
    if "lr" in params:
        names = ("mode", "optimizer", "lr", "schedule", "epochs", "batch_size", "precision", "max_length")
        lines.append(f"* settings: {', '.join(f'{name} {params[name]}' for name in names if name in params)}")
    lines += [f"* seed: {params['seed']}"] if "seed" in params else []
    provenance = model.record.get("provenance", {})
    lines.append(
        f"* made by w2s {provenance.get('w2s', 'unknown')}, exported by w2s {version}; key of the stage `{model.key}`"
    )
    command = provenance.get("command")
    shown = f"\n```\n{command}\n```\n" if command and "```" not in command else ""
    return "\n".join(["## How it was made\n", *lines, shown])


def _table(stage: Stage, entry: Entry | None) -> str:
    """The table of one comparison."""
    metrics = entry.metrics if entry else stage.metrics
    title = f"Comparison {stage.key}"
    if entry:
        seeds = ", ".join(map(str, entry.seeds))
        title = f"{entry.fields['weak']} → {entry.fields['strong']} on {entry.fields['data']}, seed {seeds}"
    return f"## Results\n\n{markdown(results_table(metrics), title, results_notes(metrics))}"


def _use(comparisons: Sequence[tuple[Stage, Entry | None]]) -> str:
    lines = list(_licences(comparisons)) or ["the licences of base model and data are unknown to w2s, and apply"]
    return (
        "## Intended use and licence\n\n"
        "* made for research on weak-to-strong generalization: how well a strong model learns from the labels of a weaker one\n"
        "* its labels are partly wrong on purpose, and it was tested on the rows of the table only: not for decisions about people\n"
        + "".join(f"* {line}\n" for line in lines)
    )


def _licences(comparisons: Sequence[tuple[Stage, Entry | None]]) -> Iterator[str]:
    entry = next((entry for _, entry in comparisons if entry), None)
    data = entry.config.get("data") if entry else None
    licence = data.get("licence") if isinstance(data, Mapping) else None
    if licence:
        yield f"licence of the data: {markdown_text(' '.join(str(licence).split()))}; the licence of the base model applies too"
