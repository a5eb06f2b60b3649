"""Chat templates of instruct models: where a model's template is, and a prompt with examples as turns of a chat.

* Each example is a turn of the user (text and suffix) and the answer of the assistant (its label). The text in question is the last turn,
  and its label the first token after the generation prompt. We write no system prompt; a template may have one.
* A template may print the date, and may let the model think before it answers. The date is fixed, so that a prompt is the same
  tomorrow, and thinking is switched off, so that the answer comes at once.
"""

import hashlib
from pathlib import Path
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.paths import read_text
from w2s_cli.store.files import read_json

WITHOUT = "few_shot.chat=false (texts: generation.chat=false) prompts without it"
TEXT = "<w2s: the text in question>"
# replaces the function of that name in a template's surroundings; the line break belongs to the macro (trim_blocks)
DATE = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}\n"


def template_of(folder: Path) -> str | None:
    """The chat template of the tokenizer in a model folder, as transformers chooses it; None without one.

    Raises:
        UserError: it is no text.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_text(file)
    settings = read_json(folder / "tokenizer_config.json")
    written = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(written, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in written if isinstance(entry, dict)}
        written = named.get("default")
    return written if isinstance(written, str) else None


def digest(template: str) -> str:
    """The sha256 of a template: what a stage's key holds of it."""
    return hashlib.sha256(template.encode()).hexdigest()


def around(tokenizer: Any, shown: list[tuple[str, str]], suffix: str) -> tuple[str, str]:
    """The prompt before and after the text in question, with the examples `shown`, (text, label), as turns.

    Raises:
        UserError: the template refuses such turns, or does not print a user's text.
    """
    turns = [turn for text, label in shown for turn in (_user(text + suffix), _assistant(label))]
    before, printed, after = _printed(tokenizer, [*turns, _user(TEXT + suffix)]).rpartition(TEXT)
    if not printed:
        raise UserError(f"the model's chat template does not print the user's text; {WITHOUT}")
    return before, after


def at_answer(tokenizer: Any, suffix: str, label: str) -> tuple[str, str]:
    """A prompt, and the space between it and an answer such as `label` in the template's own print: " " for "[/INST] yes"."""
    question = _user(TEXT + suffix)
    prompt = _printed(tokenizer, [question])
    answered = _printed(tokenizer, [question, _assistant(label)], add_generation_prompt=False)
    answer = answered[len(prompt) :] if answered.startswith(prompt) else label
    return prompt, answer[: len(answer) - len(answer.lstrip())]


def printed(tokenizer: Any, text: str, answer: str | None) -> str:
    """A user's text with the beginning of the answer, or with the whole `answer`."""
    turns = [_user(text.strip()), *([] if answer is None else [_assistant(answer)])]
    return _printed(tokenizer, turns, add_generation_prompt=answer is None)


def _printed(tokenizer: Any, turns: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                turns,
                chat_template=DATE + tokenizer.get_chat_template(),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                enable_thinking=False,
            )
        )
    except Exception as error:  # a template is a program: it raises what it likes
        raise UserError(f"the model's chat template fails: {type(error).__name__}: {error}; {WITHOUT}") from error


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}
