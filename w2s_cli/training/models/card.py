"""The README.md of a finetuned classifier: how it was made, and how transformers loads it; and the lines of any trained model's."""

from typing import Any

from w2s_cli.data.artifacts.rows import Rows


def base_of(params: dict[str, Any]) -> str:
    """The model that a training started from, in words."""
    model = params.get("model") or {}
    return f"`{model['id']}` at revision `{model['revision']}`" if "id" in model else "a local model"


def recipe_of(params: dict[str, Any]) -> str:
    """A line about the optimizer."""
    return (
        f"* {params['optimizer']}, learning rate {params['lr']}, schedule {params['schedule']}, "
        f"precision {params['precision']}, seed {params['seed']}\n"
    )


def card(params: dict[str, Any], metrics: dict[str, Any], rows: Rows) -> str:
    """The model card's text."""
    head = params.get("head")
    head_lines = (
        f"* every text must be followed by {head.get('suffix')!r}; the head started from the tokens {head['tokens']} and says "
        "which of them comes next\n"
        if head
        else ""
    )
    title = f"A text classifier ({', '.join(rows.classes)})"
    if rows.second is not None:
        title = (
            "A reward model (one score r for a text; P(the second of two is preferred) = sigmoid(r(second) - r(first)))"
        )
    labels = f"{params['labels']} (T = {params['sharpening']})" if params.get("sharpening") else params["labels"]
    stopping_line = (
        f"* the weights after step {metrics['best_step']} of {metrics['steps']}" if "best_step" in metrics else ""
    )
    if stopping_line:
        stopping_line += (
            f", the best on validation rows by {params['stopping']['metric']} against {metrics['stopping_on']}\n"
        )
    limit = (metrics["truncated"] or {}).get("limit", params["max_length"])  # of a probe those of its features
    return (
        f"{title}, finetuned by `w2s` from {base_of(params)}.\n\n"
        f"* mode {params['mode']}, loss {params['loss']['name']}, {labels} labels, {metrics['rows']:,} rows, "
        f"{params['epochs']} epochs of batch {params['batch_size']}\n"
        f"{recipe_of(params)}"
        f"* texts are cut to {limit} tokens on the {params['truncation']}\n{head_lines}{stopping_line}\n"
        "```python\n"
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
        "model = AutoModelForSequenceClassification.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n"
    )
