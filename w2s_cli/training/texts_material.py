"""From examples or pairs of a stage to token rows for a model: joined with their prompts, checked, and cut to the context.

* A prompt that is too long beside its completion is cut on the side of data.truncation, as in writing: special tokens and a chat template's
  stay while there is room for them. A completion that is too long by itself loses its end, and its end token with it; both are counted.
* Both texts of a pair have the same prompt, cut in the same way. The text of another row (KTO's estimate) changes nothing in them: a
  reference with it is the same reference for all objectives.
* Stored log-probabilities are of the very tokens that are learned, prompt and completion, or they are refused: other tokens come from
  another tokenizer, another chat template, or a cut at another length.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.data.artifacts.completions import read_completions
from w2s_cli.data.artifacts.pairs import SIDES, read_pairs
from w2s_cli.data.artifacts.rows import Problems, Rows
from w2s_cli.data.artifacts.scores import read_digest, read_log_p
from w2s_cli.errors import UserError
from w2s_cli.objectives import Rule
from w2s_cli.training.objectives.completions import Material
from w2s_cli.training.objectives.token_log_p import counted
from w2s_cli.training.texts import Format, Written, as_written, check_written
from w2s_cli.training.tokens import encode

SCORED = (
    "reference",
    "aligned",
    "unaligned",
)  # inputs of a stage with stored log-probabilities: fields of objectives.Side


class Cut(NamedTuple):
    """Token rows within the context."""

    texts: list[Written]
    prompts: int  # rows with a cut prompt
    completions: int  # rows with a cut completion


def written(form: Format, problems: Problems, ids: Sequence[str], texts: Sequence[str], path: Path) -> list[Written]:
    """The texts with their prompts as tokens, checked.

    Raises:
        UserError: a text of another row, an empty one, or tokens that do not decode to it.
    """
    problems.check_rows(ids, path)
    prompts = dict(zip(problems.ids, problems.prompts, strict=True))
    tokens = as_written(form, [prompts[name] for name in ids], texts)
    check_written(form, tokens, texts)
    return tokens


def cut_sides(sides: Mapping[str, Sequence[Written]], limit: int, side: str) -> dict[str, Cut]:
    """The sides of `sided`, each text of at most `limit` tokens: both texts of a pair with one cut of the prompt, "other" with its own."""
    learned = [name for name in sides if name != "other"]
    cuts = dict(zip(learned, cut([sides[name] for name in learned], limit, side), strict=True))
    if "other" in sides:
        [cuts["other"]] = cut([sides["other"]], limit, side)
    return cuts


def cut(sides: Sequence[Sequence[Written]], limit: int, side: str) -> list[Cut]:
    """Each side's texts of at most `limit` tokens; row by row the sides share one cut of the prompt."""
    cuts = [Cut([], 0, 0) for _ in sides]
    for row in zip(*sides, strict=True):
        longest = min(max(len(text.completion) for text in row), limit - 1)
        for place, text in enumerate(row):
            prompt, completion = _shorter(text, limit - longest, side), text.completion[:longest]
            cuts[place].texts.append(Written(prompt, completion))
            cuts[place] = cuts[place]._replace(
                prompts=cuts[place].prompts + (len(prompt) < len(text.prompt)),
                completions=cuts[place].completions + (len(completion) < len(text.completion)),
            )
    return cuts


def _shorter(text: Written, room: int, side: str) -> list[int]:
    """The prompt in at most `room` tokens, at least one."""
    prompt, (lead, tail) = text.prompt, text.frame
    if len(prompt) <= room:
        return prompt
    if room <= lead + tail:
        lead = tail = 0
    end = len(prompt) - tail
    body = prompt[lead:end][-(room - lead - tail) :] if side == "left" else prompt[lead : room - tail]
    return [*prompt[:lead], *body, *prompt[end:]]


def whole(texts: Sequence[Written]) -> list[Written]:
    """The texts with their prompts as a part of what is learned."""
    return [Written([], [*one.prompt, *one.completion]) for one in texts]


def digest(texts: Sequence[Written]) -> str:
    """The sha256 of the texts' tokens, prompts included: what one model says of a token is compared with what another says of the same."""
    every = hashlib.sha256()
    for text in texts:
        every.update(f"{len(text.prompt)} {len(text.completion)} ".encode())
        every.update(text.ids.astype("<i4").tobytes())
    return every.hexdigest()


def summary(cuts: Sequence[Cut], limit: int) -> dict[str, Any]:
    """The metric "truncated": rows with a cut prompt, and those whose completion has lost its end."""
    rows = max(cut.prompts for cut in cuts)
    return {
        "rows": rows,
        "share": round(rows / max(1, len(cuts[0].texts)), 4),
        "limit": limit,
        "completions": sum(cut.completions for cut in cuts),
    }


def material(
    form: Format, problems: Problems, folders: Mapping[str, Path], rule: Rule, limit: int, side: str
) -> tuple[Material, dict[str, Any]]:
    """What a `tune` stage learns, and the facts of its metrics: tokens (of an epoch), learned (tokens with a loss), truncated,
    empty (texts left out).

    Args:
        folders: texts or pairs, and the stages of SCORED that the objective needs.
        limit: tokens of a text with its prompt.
        side: of a long prompt that is cut.
    """
    names, _, sides, empty = sided(form, problems, folders, other=rule.needs["NEEDS_KL"])
    cuts = cut_sides(sides, limit, side)
    texts = {name: cut.texts for name, cut in cuts.items()}
    if rule.needs["WHOLE"]:
        texts = {name: whole(every) for name, every in texts.items()}
    stored: dict[str, dict[str, Any]] = {name: {} for name in texts}
    for edge in SCORED:
        for name in texts if edge in folders else ():
            column = name if "pairs" in folders else ""
            stored[name][edge] = read_log_p(folders[edge], names, column)
            if name == "other":
                _refuse_next_pairs(folders[edge], names)
            _refuse_other_tokens(stored[name][edge], texts[name], folders[edge], column)
    facts = {
        "tokens": sum(len(one.ids) for name in texts if name != "other" for one in texts[name]),
        "learned": sum(counted(one) for one in texts["chosen"]),
        "truncated": summary(list(cuts.values()), limit),
        "empty": len(empty),
    }
    return Material(texts["chosen"], texts.get("rejected"), texts.get("other"), stored), facts


def own_texts(form: Format, rows: Rows, limit: int) -> tuple[Material, dict[str, Any]]:
    """A pool's own texts as what is learned, row by row, both texts of a pair; with the facts of `material`.

    A text has the tokenizer's special tokens, and the end token unless it was cut or ends with one: a model learns where texts stop.

    Raises:
        UserError: no text has two tokens.
    """
    texts = rows.texts
    if rows.second is not None:
        texts = [text for pair in zip(rows.texts, rows.second, strict=True) for text in pair]
    encoded = encode(form.tokenizer, texts, limit)
    tokens = [ids.tolist() for ids in encoded.ids]
    ended = [ids if len(ids) >= limit or ids[-1] == form.end else [*ids, form.end] for ids in tokens]
    learned = [Written([], ids) for ids in ended if len(ids) > 1]  # a single token has no next token
    if not learned:
        raise UserError(f"no text of {rows.path} has two tokens, so there is no next token to learn")
    facts = {
        "tokens": sum(len(one.completion) for one in learned),
        "learned": sum(map(counted, learned)),
        "truncated": encoded.summary(limit),
        "empty": encoded.empty,
    }
    return Material(learned), facts


class Sides(NamedTuple):
    """What is learned or scored, as token rows."""

    ids: list[str]  # row of each
    samples: list[int] | None  # of texts; None of pairs
    texts: dict[str, list[Written]]  # "chosen", of pairs "rejected" too, and "other" for KTO's estimate
    empty: list[tuple[str, int]]  # (row, sample) of texts that say nothing, which are left out


def sided(form: Format, problems: Problems, folders: Mapping[str, Path], *, other: bool) -> Sides:
    """The texts or pairs of a stage, with their prompts.

    Raises:
        UserError: all texts are empty, what `written` refuses, or with `other` pairs of a single row.
    """
    if "pairs" not in folders:
        completions = read_completions(folders["texts"])
        kept = [place for place, text in enumerate(completions.texts) if text.strip()]
        empty = [name for name, text in zip(completions.names, completions.texts, strict=True) if not text.strip()]
        if not kept:
            raise UserError(
                f"all {len(completions.ids)} texts of {completions.path} are empty: there is nothing to learn or to score"
            )
        ids = [completions.ids[place] for place in kept]
        tokens = written(form, problems, ids, [completions.texts[place] for place in kept], completions.path)
        samples = [int(completions.samples[place]) for place in kept]
        return Sides(ids, samples, {"chosen": tokens}, empty)
    pairs = read_pairs(folders["pairs"])
    sides = {side: pairs.texts(side) for side in SIDES}
    if other:
        sides["other"] = [sides["chosen"][place] for place in _of_next_rows(pairs.ids, pairs.path)]
    tokens_of = {name: written(form, problems, pairs.ids, texts, pairs.path) for name, texts in sides.items()}
    return Sides(pairs.ids, None, tokens_of, [])


def _of_next_rows(ids: Sequence[str], path: Path) -> list[int]:
    """For each pair the place of the next one of another row; after the last pair comes the first.

    Raises:
        UserError: there is no other row.
    """
    if len(set(ids)) == 1:
        raise UserError(
            f"{path}: all its pairs are of row {ids[0]}, and the estimate of kto needs texts of other prompts: pair more rows, or choose "
            "another objective"
        )
    following = (chain(range(at + 1, len(ids)), range(at)) for at in range(len(ids)))
    return [next(place for place in after if ids[place] != own) for own, after in zip(ids, following, strict=True)]


def _refuse_next_pairs(folder: Path, ids: Sequence[str]) -> None:
    """Refuse scores of an older w2s, which took the next pair's text, where that pair is of the same row."""
    if read_digest(folder, "other") is None and any(own == after for own, after in pairwise([*ids, ids[0]])):
        raise UserError(
            f"{folder} was made by an older w2s, which took the row's own text for one of another prompt: remove its stage (w2s rm) and "
            "run the command again"
        )


def _refuse_other_tokens(stored: Sequence[Any], texts: Sequence[Written], folder: Path, column: str) -> None:
    """Refuse scores of a model that reads the same texts as other tokens; those of an older w2s only by their number."""
    for values, text in zip(stored, texts, strict=True):
        if len(values) != counted(text):
            raise UserError(
                f"{folder}: its model has {len(values)} tokens for a completion of which the trained model has {counted(text)}: the two "
                "must share one tokenizer (and one max_length, at which texts are cut)"
            )
    if read_digest(folder, column) not in (None, digest(texts)):
        raise UserError(
            f"{folder}: its model reads the same texts as other tokens than the trained model: the two must share one tokenizer (and one "
            "chat template, and one max_length, at which texts are cut)"
        )
