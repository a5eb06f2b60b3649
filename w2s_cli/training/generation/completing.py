"""The texts of a batch of prompts, token by token.

* Prompts stand at the right of their batch, with padding at the left, so that all rows write at the same place. A mask hides the padding,
  and each row counts its positions from its own first token.
* Prompts are read in parts of about equal length, so that hardly any padding goes through the model, and then stand side by side.
* The beginning that all prompts share, the demonstrations, goes through the model once (`Writer.read`), and each distinct prompt of a
  batch too, however many samples it has.
* A row leaves the batch with its last token: its end token, the token that completes a stop string, or the last one that it may have.
* A model that needs another mask than transformers' usual one (ALiBi, sliding windows) is told by a trial, and gets its rows one by one,
  with its own cache: slower, and right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from w2s_cli.training.attention import decoding
from w2s_cli.training.batching import LAUNCHED, PADDED, micro_batches
from w2s_cli.training.device import autocast
from w2s_cli.training.generation.cache import GROWTH, joined, keep, new_cache, room_for, staying_first, taken
from w2s_cli.training.generation.sampling import Sampling, choose, keys_of
from w2s_cli.training.models.trunk import layers

END, STOP, LENGTH = "end", "stop", "length"  # why a text is over
CLOSE = 1e-4  # nats between first and second choice, which rounding in fp32 could bridge
TRIED = 2e-3  # largest difference of log-probabilities, padded against alone
CACHED = 2048  # tokens of prompts that a CPU reads at once: above it, activations leave its cache
TAIL = 8  # tokens beyond a stop string's own that may begin or end inside of it


class Unit(NamedTuple):
    """One text to write."""

    row: str  # the id of its row
    sample: int
    prompt: np.ndarray  # [tokens] int64, after the common beginning; at least one


class Head(NamedTuple):
    """The beginning that all prompts of a batch share."""

    ids: Sequence[int]
    cache: Cache | None  # its keys and values, as one row; None: no ids, or a model that reads its rows one by one


@dataclass
class Text:
    """A written text."""

    ids: list[int]  # without its end token
    finish: str  # END, STOP or LENGTH
    log_p: float  # of its tokens and its end token, in nats
    close: int  # tokens that rounding could have changed (see `sampling.py`)


@dataclass(frozen=True)
class Writer:
    """A model with all settings of its writing."""

    model: Any
    tokenizer: Any
    sampling: Sampling
    most: int  # tokens of a text
    ends: frozenset[int]  # ids of end tokens
    stop: tuple[str, ...]  # strings that end a text; they are no part of it
    precision: str
    alone: bool = False  # rows go through the model one by one
    closing: dict[int, bool] = field(default_factory=dict)  # token id → whether a stop string can end in it

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Head:
        """The beginning `ids` of all prompts, read."""
        if self.alone or not ids:
            return Head(ids, None)
        return Head(ids, self._prompts([np.array(ids, dtype=np.int64)], Head((), None))[1])

    @torch.inference_mode()
    def write(self, units: Sequence[Unit], head: Head, watch: Callable[[int, int], None]) -> list[Text]:
        """The texts of a batch, whose prompts all begin with `head`.

        `watch(texts, tokens)` is called at every step with the numbers of finished texts and of written tokens.
        """
        if not self.alone:
            return self._write(units, head, watch)
        texts: list[Text] = []
        before = 0  # tokens
        for unit in units:
            seen = len(texts), before

            def watch_one(done: int, written: int, seen: tuple[int, int] = seen) -> None:
                watch(seen[0] + done, seen[1] + written)

            texts += self._write([unit], head, watch_one)
            before += len(texts[-1].ids) + (texts[-1].finish == END)
        return texts

    def _write(self, units: Sequence[Unit], head: Head, watch: Callable[[int, int], None]) -> list[Text]:
        device = self.model.device
        texts = [Text([], LENGTH, 0.0, 0) for _ in units]
        keys = keys_of(self.sampling.seed, [(unit.row, unit.sample) for unit in units], device)
        logits, state = self._begin(units, head)
        seen = self._seen(units, head, logits)
        rows = list(range(len(units)))  # the unit of each row of the batch
        history: list[tuple[list[int], Tensor, Tensor]] = []  # of each step: rows, log_p, gap
        done = written = 0
        for step in range(self.most):
            choice = choose(logits, self.sampling, keys, step, seen)
            history.append((rows, choice.log_p, choice.gap))
            chosen = enumerate(zip(rows, choice.tokens.tolist(), strict=True))
            staying = [place for place, (unit, token) in chosen if self._goes_on(texts[unit], token)]
            if step + 1 == self.most:
                staying = []
            written += len(rows)
            done += len(rows) - len(staying)
            watch(done, written)
            if not staying:
                break
            last = choice.tokens
            if len(staying) < len(rows):
                order = staying_first(staying)
                rows = [rows[place] for place in order]
                index = torch.tensor(order, device=device)
                keys, last = keys[index], last[index]
                seen = None if seen is None else seen[index]
                state.keep(index)
            if seen is not None:
                seen.scatter_(1, last.unsqueeze(1), True)
            logits = self._step(state, last)
        log_p = torch.cat(
            [step_log_p for _, step_log_p, _ in history]
        ).tolist()  # one wait for the device, not one a step
        close = (torch.cat([gap for *_, gap in history]) < CLOSE).tolist()
        for unit, of_token, near in zip(chain.from_iterable(units for units, *_ in history), log_p, close, strict=True):
            texts[unit].log_p += of_token
            texts[unit].close += near
        return texts

    def _goes_on(self, text: Text, token: int) -> bool:
        """Add a token to a text; whether the text may go on."""
        if token in self.ends:
            text.finish = END
            return False
        text.ids.append(token)
        if self.stop and self._stopped(text.ids):
            text.finish = STOP
            return False
        return True

    def _begin(self, units: Sequence[Unit], head: Head) -> "tuple[Tensor, _State]":
        """The logits [units, vocabulary] after the prompts, and the state of the batch."""
        if self.alone:
            return self._begin_alone(np.concatenate([np.array(head.ids, dtype=np.int64), units[0].prompt]))
        device = self.model.device
        names = [unit.prompt.tobytes() for unit in units]
        distinct = sorted(dict.fromkeys(names), key=len, reverse=True)
        prompts = [np.frombuffer(name, dtype=np.int64) for name in distinct]
        lengths = np.array([len(prompt) for prompt in prompts])
        before = len(head.ids) + len(prompts[0])
        budget, layout = (CACHED, PADDED) if device.type == "cpu" else (len(prompts) * len(prompts[0]), LAUNCHED)
        parts = [
            self._prompts([prompts[row] for row in part], head)
            for part in micro_batches(range(len(prompts)), lengths, budget, layout)
        ]
        logits = torch.cat([part[0] for part in parts])
        visible = torch.zeros(len(prompts), before + self.most + GROWTH, dtype=torch.bool)
        visible[:, : len(head.ids)] = True
        for row, length in enumerate(lengths.tolist()):
            visible[row, before - length : before] = True
        mask = decoding.mask_of(visible[:, None, None, :].to(device))
        positions = torch.from_numpy(len(head.ids) + lengths - 1).to(device)
        state = _State(joined([part[1] for part in parts], len(head.ids)), mask, positions)
        place_of = {name: place for place, name in enumerate(distinct)}
        places = [place_of[name] for name in names]
        if places == list(range(len(prompts))):  # sorted, one text each: no copy
            return logits, state
        index = torch.tensor(places, device=device)
        return logits[index], state.taken(index)

    def _prompts(self, prompts: Sequence[np.ndarray], head: Head) -> tuple[Tensor, Cache]:
        """The logits [rows, vocabulary] after prompts that follow `head`, and the keys and values, those of prompts at the right end."""
        device = self.model.device
        rows, tokens = len(prompts), max(map(len, prompts))
        padded, present = np.zeros((rows, tokens), dtype=np.int64), np.zeros((rows, tokens), dtype=bool)
        for row, prompt in enumerate(prompts):
            padded[row, tokens - len(prompt) :] = prompt
            present[row, tokens - len(prompt) :] = True
        ids, real = torch.from_numpy(padded).to(device), torch.from_numpy(present).to(device)  # [rows, tokens]
        before = 0 if head.cache is None else len(head.ids)
        cache = self._new_cache() if head.cache is None else taken(head.cache, ids.new_zeros(rows))
        positions = before + (real.long().cumsum(1) - 1).clamp(min=0)
        keys = torch.cat([real.new_ones(rows, before), real], dim=1)  # [rows, before + tokens]
        causal = torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)
        visible = keys[:, None, None, :] & causal  # [rows, 1, tokens, before + tokens]
        more = room_for(cache, tokens) - visible.shape[-1]  # a single token makes room for others
        visible = nn.functional.pad(visible, (0, more))
        return self._logits(ids, decoding.mask_of(visible), positions, cache), cache

    def _step(self, state: "_State", tokens: Tensor) -> Tensor:
        """The logits [rows, vocabulary] after one more token of each row."""
        if state.mask is None:
            with autocast(self.model.device, self.precision):
                output = self.model(
                    input_ids=tokens.unsqueeze(1), past_key_values=state.cache, use_cache=True, logits_to_keep=1
                )
            return output.logits[:, -1]  # type: ignore[no-any-return]
        state.positions = state.positions + 1
        state.mask[..., state.cache.get_seq_length()] = 0  # the new token sees itself, and later ones see it
        mask = state.mask[..., : room_for(state.cache, 1)]
        return self._logits(tokens.unsqueeze(1), mask, state.positions.unsqueeze(1), state.cache)

    def _logits(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        with autocast(self.model.device, self.precision), decoding.used(self.model):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _begin_alone(self, ids: np.ndarray) -> "tuple[Tensor, _State]":
        tokens = torch.from_numpy(ids).unsqueeze(0).to(self.model.device)
        with autocast(self.model.device, self.precision):
            output = self.model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1], _State(output.past_key_values, None, tokens.new_tensor([len(ids) - 1]))

    def _new_cache(self) -> Cache:
        return new_cache(len(layers(self.model.base_model)))

    def _seen(self, units: Sequence[Unit], head: Head, logits: Tensor) -> Tensor | None:
        if self.sampling.repetition_penalty == 1.0:
            return None
        seen = torch.zeros_like(logits, dtype=torch.bool)
        for place, unit in enumerate(units):
            seen[place, torch.tensor([*head.ids, *unit.prompt.tolist()], device=logits.device)] = True
        return seen

    def _stopped(self, ids: list[int]) -> bool:
        """Whether the last token completes a stop string."""
        if ids[-1] not in self.closing:
            shown = self._decoded([ids[-1], ids[-1]])  # twice, since decoders drop a space at the beginning
            self.closing[ids[-1]] = "\ufffd" in shown or any(stop[-1] in shown for stop in self.stop)
        if not self.closing[ids[-1]]:
            return False
        longest = max(len(stop.encode()) for stop in self.stop)  # a token may be a single byte
        end = self._decoded(ids[-(longest + TAIL) :])
        return any(stop in end for stop in self.stop)

    def _decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@dataclass
class _State:
    """A batch between two steps."""

    cache: Cache
    # [rows, 1, 1, positions] what a step adds to its scores, −∞ at padding and at positions to come; None: the model's own
    mask: Tensor | None
    positions: Tensor  # [rows] of the last token

    def taken(self, rows: Tensor) -> "_State":
        """A batch of the rows at the indices `rows`, which may repeat."""
        return _State(taken(self.cache, rows), None if self.mask is None else self.mask[rows], self.positions[rows])

    def keep(self, order: Tensor) -> None:
        """Go on with the rows at the indices `order`, from `staying_first`."""
        keep(self.cache, order)
        self.mask = None if self.mask is None else self.mask[order]
        self.positions = self.positions[order]


@torch.inference_mode()
def needs_alone(writer: Writer, prompts: Sequence[np.ndarray]) -> bool:
    """Whether the model reads a prompt in another way beside a longer one than by itself; then rows go through one by one."""
    ordered = sorted(prompts, key=len)
    short, long = ordered[0], ordered[-1]
    if len(short) == len(long):  # any difference will do, within the positions that the model has
        short, long = (short[:-1], long) if len(short) > 1 else (short, np.concatenate([long, long]))
    tried = [short, long, long[:-1]]  # the last is read with padding, however much shorter the first is
    try:
        together, state = writer._begin([Unit("", 0, prompt) for prompt in tried], Head((), None))
        following = writer._step(state, torch.zeros(len(tried), dtype=torch.int64, device=writer.model.device))
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
        return True  # each architecture refuses in its own way
    alone = torch.stack([_alone(writer, [*prompt.tolist(), *more]) for more in ([], [0]) for prompt in tried])
    difference = torch.cat([together, following]).float().log_softmax(-1) - alone.log_softmax(-1)
    return not bool(difference.abs().max() <= TRIED * (20 if writer.precision == "bf16" else 1))


def _alone(writer: Writer, ids: list[int]) -> Tensor:
    """The logits [vocabulary] after one prompt, without padding, mask and cache."""
    tokens = torch.tensor([ids], device=writer.model.device)
    with autocast(writer.model.device, writer.precision):
        return writer.model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1].float()  # type: ignore[no-any-return]
