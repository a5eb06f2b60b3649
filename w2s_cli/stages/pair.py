"""pair: pairs of a better and a worse text, by a rule of pairing/ over the texts of one or more stages.

Pairs of earlier rounds can be added (`earlier`), as self-play finetuning does with those of the round before.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.pipeline.contract import Edge, Pool, RuleField, Spec, Traits
from w2s_cli.stages._chosen import applied, nothing_left, spec_of
from w2s_cli.stages.choose import cautions as cautions
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.choosing import Place, Texts
    from w2s_cli.data.artifacts.pairs import Origin
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="pairs")


def plan(
    job: "Planning",
    *,
    rows: Pool,
    texts: list[Edge],
    rule: RuleField,
    grades: list[Edge] | None = None,
    scores: list[Edge] | None = None,
    earlier: list[Edge] | None = None,
) -> Spec:
    """Pairs of texts.

    Args:
        rows: the pool of the texts.
        texts: completions, or chosen texts.
        rule: {name, args} of a file in pairing/.
        grades, scores: stages of kinds grade and score (or exam), one for each of texts.
        earlier: pairs that are added to those of the rule.
    """
    spec = spec_of(job, "pairing", rule, texts, grades, scores, rows)
    return replace(spec, inputs={**spec.inputs, "earlier": earlier or None})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write pairs.parquet (`data.artifacts.pairs`), in the pool's order; earlier pairs at its end.

    `params`: rule {name, args, code}, sources (names of the stages), seed. `inputs`: rows, texts, grades and scores of each, earlier.

    Raises:
        UserError: no pair is left, a pair of two rows or of equal texts, or an error inside the rule.
    """
    from w2s_cli.data.artifacts.pairs import Pair, read_pairs, write_pairs
    from w2s_cli.errors import UserError
    from w2s_cli.pairing import Paired

    fault("pair.start")
    rule = params["rule"]
    texts, paired = applied("pairing", Paired, params, inputs, ctx)
    fault("pair.step")
    order = {row: place for place, row in enumerate(texts.rows)}
    pairs = []
    for chosen, rejected in paired.pairs:
        row = _row(texts, chosen)
        pair = Pair(row, _origin(texts, chosen), _origin(texts, rejected))
        if row != _row(texts, rejected) or pair.chosen.text == pair.rejected.text:
            raise UserError(
                f"rule {rule['name']}: a pair needs two different texts of one row, and one of row {row} has not"
            )
        if pair.chosen.text and pair.rejected.text:
            pairs.append(pair)
    pairs.sort(key=lambda pair: order[pair.row])
    left_out = {**paired.diagnostics, "empty texts": len(paired.pairs) - len(pairs)}
    if not pairs:
        raise nothing_left(str(inputs["rows"]), rule["name"], len(texts.rows), left_out, "pair")
    own = len(pairs)
    for folder in cast(list[Path], inputs.get("earlier", [])):
        pairs += read_pairs(folder).pairs
    write_pairs(ctx.result, pairs)
    ctx.progress(len(texts.rows), len(texts.rows), examples=len(pairs))
    return {
        "rows": len(texts.rows),
        "pairs": len(pairs),
        "earlier": len(pairs) - own,
        "rows_paired": len({pair.row for pair in pairs}),
        "chosen_of_source": {
            source.name: sum(p.chosen.source == source.name for p in pairs) for source in texts.sources
        },
        "left_out": left_out,
    }


def _row(texts: "Texts", place: "Place") -> str:
    return texts.sources[place.source].ids[place.at]


def _origin(texts: "Texts", place: "Place") -> "Origin":
    from w2s_cli.data.artifacts.pairs import Origin

    source = texts.sources[place.source]
    return Origin(source.texts[place.at], source.name, source.samples[place.at])
