"""Prompts and completions as tokens: one rule for writing, for training and for scoring, so that a model learns what it is asked.

* Plain: the prompt, a space unless the prompt ends with one, the completion, and the tokenizer's end token. Prompt and completion are
  tokenised as one text where the prompt's own tokens stay the same, else apart; so the tokens before a completion are the tokens after
  which a model is asked to write.
* Chat: the prompt is the user's turn and the completion the assistant's, as the model's template prints them; the end is the end of that
  turn. A template that prints another text than the completion (one that drops reasoning, for example) is refused.
* Demonstrations come before the prompt: plain texts joined by a separator, or earlier turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from w2s_cli.errors import EXCERPT, UserError, excerpt
from w2s_cli.store.context import Context
from w2s_cli.training import chat, sharding
from w2s_cli.training.models import bf16, nf4
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.models.trunk import usable_positions
from w2s_cli.training.prompting import encode_with_suffix
from w2s_cli.training.shots import Heads, Queries, chats, prompts, queries
from w2s_cli.training.tokens import context_limit, open_plain_tokenizer

ANY = 1 << 30  # tokens: no limit


@dataclass(frozen=True)
class Format:
    """How prompts and completions become tokens."""

    tokenizer: Any
    chat: bool  # turns of the model's chat template; else plain text
    ends: frozenset[int]  # tokens that end a text
    separator: str  # between plain demonstrations

    @property
    def end(self) -> int:
        """The end token that a plain completion is trained with."""
        return int(self.tokenizer.eos_token_id)


class Opened(NamedTuple):
    """A language model that writes, scores or learns texts."""

    model: Any
    form: Format
    limit: int  # tokens of a text with its prompt


class Written(NamedTuple):
    """A prompt with a completion."""

    prompt: list[int]
    completion: list[int]  # with its end token
    # tokens at the prompt's two ends that are not the row's: special ones, a template's
    frame: tuple[int, int] = (0, 0)

    @property
    def ids(self) -> np.ndarray:
        """All tokens, [tokens] int32."""
        return np.array([*self.prompt, *self.completion], dtype=np.int32)


def open_model(
    params: Mapping[str, Any], folder: Path, device: torch.device, ctx: Context, separator: str = ""
) -> Opened:
    """The language model in `folder` with its format; `params`: chat_template, truncation, max_length, precision, of a training its mode.

    Raises:
        UserError: what `open_format` and `open_language_model` refuse.
    """
    trains = "mode" in params
    in_parts = trains and sharding.wanted(params["mode"], ctx.execution, ctx.ranks)
    kept = bf16.for_training(params, in_parts=in_parts) if trains else bf16.for_reading(params["precision"])
    on_host = in_parts or (trains and nf4.wanted(params))
    model = open_language_model(folder, device, ctx.execution, params["max_length"], on_host=on_host, kept=kept)
    remote = bool(ctx.execution.get("trust_remote_code"))
    form = open_format(folder, params["chat_template"], params["truncation"], separator, trust_remote_code=remote)
    return Opened(model, form, context_limit(usable_positions(model), form.tokenizer, params["max_length"]))


def open_format(
    folder: Path, template: str | None, truncation: str, separator: str, *, trust_remote_code: bool
) -> Format:
    """The format of the model in `folder`; `template` is the sha256 of its planned chat template, None for plain text.

    Raises:
        UserError: another chat template than planned, or a tokenizer without an end token.
    """
    tokenizer = open_plain_tokenizer(folder, truncation, trust_remote_code=trust_remote_code)
    if template and (tokenizer.chat_template is None or chat.digest(tokenizer.get_chat_template()) != template):
        raise UserError(f"the chat template in {folder} has changed since the plan: run the command again")
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer in {folder} has no end token (eos_token), so no text would ever end; set it and save it"
        )
    return Format(tokenizer, bool(template), _ends(folder, tokenizer), separator)


def _ends(folder: Path, tokenizer: Any) -> frozenset[int]:
    """The ids that end a text: the tokenizer's end token, and those of the model's generation settings."""
    from transformers import GenerationConfig

    try:
        stated = GenerationConfig.from_pretrained(folder).eos_token_id
    except (OSError, ValueError):  # none saved, or a damaged one
        stated = None
    more = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return frozenset([int(tokenizer.eos_token_id), *map(int, more)])


def as_prompts(
    form: Format, texts: Sequence[str], shown: Sequence[tuple[str, str]], limit: int
) -> tuple[Heads, Queries]:
    """Prompts of at most `limit` tokens, after as many of the demonstrations `shown` (prompt, completion) as fit.

    Returns:
        number of demonstrations → token ids of the common beginning; and the rest of each prompt, with its number.
    """
    if form.chat:
        return chats(form.tokenizer, list(shown), list(texts), "", limit)
    heads = prompts(form.tokenizer, [_joined(*one) + form.separator for one in shown])
    queried = queries(form.tokenizer, list(texts), "", heads, limit)
    nothing = [row for row, ids in enumerate(queried.ids) if not len(ids)]
    for row in nothing:  # a text of no token: one end token, without demonstrations
        queried.ids[row], queried.shots[row] = np.array([form.end], dtype=np.int32), 0
    return heads, queried


def as_written(form: Format, texts: Sequence[str], completions: Sequence[str]) -> list[Written]:
    """Each prompt with its completion and the end token.

    Raises:
        UserError: an empty completion, or a chat template that does not print it as it is.
    """
    for text, completion in zip(texts, completions, strict=True):
        if not completion.strip():
            raise UserError(f'an empty completion cannot be learned or scored; its prompt is "{excerpt(text)}"')
    if form.chat:
        lead, tail = (len(_ids(form, part)) for part in chat.around(form.tokenizer, [], ""))
        return [_turns(form, *both, (lead, tail)) for both in zip(texts, completions, strict=True)]
    befores = as_prompts(form, texts, (), ANY)[1].ids
    special = set(form.tokenizer.all_special_ids)
    joined = [_joined(*one) for one in zip(texts, completions, strict=True)]
    wholes = encode_with_suffix(form.tokenizer, joined, "", ANY).ids
    written = []
    for text, completion, before, whole in zip(texts, completions, befores, wholes, strict=True):
        if np.array_equal(whole[: len(before)], before):
            after = whole[len(before) :].tolist()
        else:  # a token would reach over the border
            after = _ids(form, _space(text) + completion.strip())
        lead = next((at for at, token in enumerate(before.tolist()) if token not in special), 0)
        written.append(Written(before.tolist(), [*after, form.end], (lead, 0)))
    return written


def _turns(form: Format, text: str, completion: str, frame: tuple[int, int]) -> Written:
    """A prompt and a completion as turns of a chat; `frame`: the template's tokens before and after the prompt."""
    before, printed = chat.printed(form.tokenizer, text, None), chat.printed(form.tokenizer, text, completion.strip())
    if not printed.startswith(before) or completion.strip() not in printed[len(before) :]:
        raise UserError(
            f'the model\'s chat template does not print the completion "{excerpt(completion)}" after its prompt, but '
            f'"{excerpt(printed[len(before) :] if printed.startswith(before) else printed[-EXCERPT:])}": what it prints would be learned. '
            "Use another template, or chat=false (plain text)"
        )
    prompt, ids = _ids(form, before), _ids(form, printed)
    after = ids[len(prompt) :] if ids[: len(prompt)] == prompt else _ids(form, printed[len(before) :])
    last = next((place for place, token in enumerate(after) if token in form.ends), None)
    if last is None:
        raise UserError(
            f'the model\'s chat template prints no end token after the completion "{excerpt(completion)}": a student would never learn to '
            "stop. Set the model's eos_token to the end of a turn, or use chat=false"
        )
    return Written(prompt, after[: last + 1], frame)


def check_written(form: Format, written: Sequence[Written], completions: Sequence[str]) -> None:
    """Refuse tokens that are not the completion with one end token: what is learned decodes to what was meant.

    Raises:
        UserError: with the place of the first difference.
    """
    for one, completion in zip(written, completions, strict=True):
        decoded = form.tokenizer.decode(
            one.completion[:-1], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        read, meant = decoded.strip(), completion.strip()
        if read != meant or one.completion[-1] not in form.ends:
            place = next(
                (at for at, (a, b) in enumerate(zip(read, meant, strict=False)) if a != b),
                min(len(read), len(meant)),
            )
            raise UserError(
                f'the tokens of a completion do not decode to it: at character {place} they say "{excerpt(read[place:])}" instead of '
                f'"{excerpt(meant[place:])}". The tokenizer (or the chat template) changes the text; use another'
            )


def text_of(form: Format, ids: Sequence[int], stop: Sequence[str] = ()) -> str:
    """The text of written tokens, up to the first stop string, without spaces at its ends."""
    text = str(form.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    for string in stop:
        text = text.partition(string)[0]
    return text.strip()


def _ids(form: Format, text: str) -> list[int]:
    """The tokens of a text alone."""
    ids: list[int] = form.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _joined(text: str, completion: str) -> str:
    return text + _space(text) + completion.strip()


def _space(text: str) -> str:
    """What stands between a plain prompt and its completion."""
    return "" if not text or text[-1].isspace() else " "
