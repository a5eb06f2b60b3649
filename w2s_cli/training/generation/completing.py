"""The texts of a batch of prompts, token by token.

* Prompts stand at the right of their batch, with padding at the left, so that all rows write at the same place. A mask hides the padding,
  and each row counts its positions from its own first token. The examples that all prompts begin with go through the model once.
* Each distinct prompt goes through the model once too, however many samples it has.
* A row leaves the batch with its last token: its end token, the token that completes a stop string, or the last one that it may have.
* A model that needs another mask than transformers' usual one (ALiBi, sliding windows) is told by a trial, and gets its rows one by one,
  with its own cache: slower, and right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from w2s_cli.training.attention import decoding
from w2s_cli.training.device import autocast
from w2s_cli.training.generation.cache import new_cache, taken
from w2s_cli.training.generation.sampling import Sampling, choose, keys_of
from w2s_cli.training.models.trunk import layers

END, STOP, LENGTH = "end", "stop", "length"  # why a text is over
TRIED = 2e-3  # largest difference of log-probabilities, padded against alone
TAIL = 8  # tokens beyond a stop string's own that may begin or end inside of it


class Unit(NamedTuple):
    """One text to write."""

    row: str  # the id of its row
    sample: int
    prompt: np.ndarray  # [tokens] after the common beginning


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

    @torch.inference_mode()
    def write(self, units: Sequence[Unit], head: Sequence[int], watch: Callable[[int, int], None]) -> list[Text]:
        """The texts of a batch; `head` has the token ids that all prompts begin with.

        `watch(texts, tokens)` is called at every step with the numbers of finished texts and of written tokens.
        """
        if self.alone:
            return [text for unit in units for text in self._write([unit], head, watch)]
        return self._write(units, head, watch)

    def _write(self, units: Sequence[Unit], head: Sequence[int], watch: Callable[[int, int], None]) -> list[Text]:
        device = self.model.device
        texts = [Text([], LENGTH, 0.0, 0) for _ in units]
        keys = keys_of(self.sampling.seed, [(unit.row, unit.sample) for unit in units], device)
        logits, state = self._begin(units, head)
        seen = self._seen(units, head, logits)
        rows = list(range(len(units)))  # the unit of each row of the batch
        done = written = 0
        for step in range(self.most):
            choice = choose(logits, self.sampling, keys, step, seen)
            staying, tokens = [], choice.tokens.tolist()
            sure = choice.gap.tolist()
            for place, (unit, token, log_p) in enumerate(zip(rows, tokens, choice.log_p.tolist(), strict=True)):
                text = texts[unit]
                text.log_p += log_p
                text.close += sure[place] < CLOSE
                if token in self.ends:
                    text.finish = END
                else:
                    text.ids.append(token)
                    if self.stop and self._stopped(text.ids):
                        text.finish = STOP
                    elif step + 1 < self.most:
                        staying.append(place)
            written += len(rows)
            done += len(rows) - len(staying)
            watch(done, written)
            if not staying:
                break
            if len(staying) < len(rows):
                chosen = torch.tensor(staying, device=device)
                keys, state = keys[chosen], state.taken(chosen)
                seen = None if seen is None else seen[chosen]
                rows = [rows[place] for place in staying]
                last = choice.tokens[chosen]
            else:
                last = choice.tokens
            if seen is not None:
                seen.scatter_(1, last.unsqueeze(1), True)
            logits = self._step(state, last)
        return texts

    def _begin(self, units: Sequence[Unit], head: Sequence[int]) -> "tuple[Tensor, _State]":
        """The logits [units, vocabulary] after the prompts, and the state of the batch."""
        distinct: dict[bytes, int] = {}
        prompt_of = [distinct.setdefault(unit.prompt.tobytes(), len(distinct)) for unit in units]
        prompts = [np.frombuffer(prompt, dtype=units[0].prompt.dtype) for prompt in distinct]
        if self.alone:
            return self._begin_alone(np.concatenate([np.array(head, dtype=np.int64), prompts[0]]))
        longest = max(len(prompt) for prompt in prompts)
        size = len(head) + longest + self.most
        ids = np.zeros((len(prompts), longest), dtype=np.int64)
        mask = np.zeros((len(prompts), longest), dtype=bool)
        for place, prompt in enumerate(prompts):
            ids[place, longest - len(prompt) :] = prompt
            mask[place, longest - len(prompt) :] = True
        cache = new_cache(len(layers(self.model.base_model)), size)
        if head:
            cache = self._read_head(head, cache, len(prompts))
        logits, state = self._read(torch.from_numpy(ids), torch.from_numpy(mask), len(head), cache)
        index = torch.tensor(prompt_of, device=self.model.device)
        same = prompt_of == list(range(len(prompts)))
        return (logits, state) if same else (logits[index], state.taken(index))

    def _read_head(self, head: Sequence[int], cache: Cache, rows: int) -> Cache:
        """The cache of the common beginning, for each of `rows` rows."""
        ids = torch.tensor([list(head)])
        self._read(ids, torch.ones_like(ids, dtype=torch.bool), 0, cache)
        return taken(cache, torch.zeros(rows, dtype=torch.int64, device=self.model.device))

    def _read(self, ids: Tensor, mask: Tensor, before: int, cache: Cache) -> "tuple[Tensor, _State]":
        """Prompts [rows, tokens] after `before` common tokens; mask is true at real tokens."""
        device = self.model.device
        rows, tokens = ids.shape
        ids, mask = ids.to(device), mask.to(device)
        positions = before + (mask.long().cumsum(1) - 1).clamp(min=0)
        keys = torch.cat([mask.new_ones(rows, before), mask], dim=1)  # [rows, before + tokens]
        causal = torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)
        visible = keys[:, None, None, :] & causal  # [rows, 1, tokens, before + tokens]
        logits = self._logits(ids, visible, positions, cache)
        return logits, _State(cache, keys, positions[:, -1])

    def _step(self, state: "_State", tokens: Tensor) -> Tensor:
        """The logits [rows, vocabulary] after one more token of each row."""
        if self.alone:
            with autocast(self.model.device, self.precision):
                output = self.model(
                    input_ids=tokens.unsqueeze(1), past_key_values=state.cache, use_cache=True, logits_to_keep=1
                )
            state.cache = output.past_key_values
            return output.logits[:, -1]  # type: ignore[no-any-return]
        state.keys = torch.cat([state.keys, state.keys.new_ones(len(tokens), 1)], dim=1)
        state.positions = state.positions + 1
        return self._logits(
            tokens.unsqueeze(1), state.keys[:, None, None, :], state.positions.unsqueeze(1), state.cache
        )

    def _logits(self, ids: Tensor, visible: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        with autocast(self.model.device, self.precision), decoding.used(self.model):
            output = self.model(
                input_ids=ids,
                attention_mask=decoding.mask_of(visible),
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _begin_alone(self, ids: np.ndarray) -> "tuple[Tensor, _State]":
        tokens = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0).to(self.model.device)
        with autocast(self.model.device, self.precision):
            output = self.model(input_ids=tokens, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1], _State(output.past_key_values, tokens, tokens[:, -1])

    def _seen(self, units: Sequence[Unit], head: Sequence[int], logits: Tensor) -> Tensor | None:
        if self.sampling.repetition_penalty == 1.0:
            return None
        seen = torch.zeros_like(logits, dtype=torch.bool)
        for place, unit in enumerate(units):
            seen[place, torch.tensor([*head, *unit.prompt.tolist()], device=logits.device)] = True
        return seen

    def _stopped(self, ids: list[int]) -> bool:
        """Whether the last tokens hold a stop string."""
        tail = ids[-(max(map(len, self.stop)) + TAIL) :]
        end = self.tokenizer.decode(tail, skip_special_tokens=True)
        return any(stop in end for stop in self.stop)


CLOSE = 1e-4  # nats between first and second choice, which rounding in fp32 could bridge


@dataclass
class _State:
    """A batch between two steps."""

    cache: Cache
    keys: Tensor  # [rows, positions] true at real tokens
    positions: Tensor  # [rows] of the last token

    def taken(self, rows: Tensor) -> "_State":
        return _State(taken(self.cache, rows), self.keys[rows], self.positions[rows])


@torch.inference_mode()
def needs_alone(writer: Writer, prompts: Sequence[np.ndarray]) -> bool:
    """Whether the model reads a prompt in another way beside a longer one than by itself; then rows go through one by one."""
    ordered = sorted(prompts, key=len)
    short, long = ordered[0], ordered[-1]
    if len(short) == len(long):
        long = np.concatenate([long, long[-1:]])
    pair = [Unit("short", 0, short), Unit("long", 0, long)]
    try:
        together, state = writer._begin(pair, [])
        following = writer._step(state, torch.zeros(2, dtype=torch.int64, device=writer.model.device))
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
        return True  # each architecture refuses in its own way
    alone = torch.stack([_alone(writer, [*prompt.tolist(), *more]) for more in ([], [0]) for prompt in (short, long)])
    difference = torch.cat([together, following]).float().log_softmax(-1) - alone.log_softmax(-1)
    return not bool(difference.abs().max() <= TRIED * (20 if writer.precision == "bf16" else 1))


def _alone(writer: Writer, ids: list[int]) -> Tensor:
    """The logits [vocabulary] after one prompt, without padding, mask and cache."""
    tokens = torch.tensor([ids], device=writer.model.device)
    with autocast(writer.model.device, writer.precision):
        return writer.model(input_ids=tokens, use_cache=False, logits_to_keep=1).logits[0, -1].float()  # type: ignore[no-any-return]
