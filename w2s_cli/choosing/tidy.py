"""tidy: without texts that were cut, that repeat themselves, or that are too short or too long.

Small reasoners run into loops; a student that learns from such traces loops too (a reproduction of W2SR with 73 % loops fell to .16).
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le

from w2s_cli.choosing import Chosen, Place, Texts


def tidy(
    texts: Texts,
    *,
    cut: bool = False,
    words: Annotated[int, Ge(1)] = 8,
    repeats: Annotated[float, Gt(0), Le(1)] = 0.3,
    shortest: Annotated[int, Ge(0)] = 1,
    longest: Annotated[int, Ge(1)] | None = None,
) -> Chosen:
    """Texts that came to their end without a loop.

    Args:
        texts: one source or more.
        cut: True: cut texts stay.
        words: length of the word sequences that are counted.
        repeats: a text is a loop if this share of its sequences came before in it.
        shortest, longest: in tokens of the writing model.
    """
    places, dropped = [], dict.fromkeys(("cut", "loop", "too short", "too long"), 0)
    for number, source in enumerate(texts.sources):
        for at, (text, tokens) in enumerate(zip(source.texts, source.tokens, strict=True)):
            if not cut and not source.whole[at]:
                dropped["cut"] += 1
            elif tokens < shortest:
                dropped["too short"] += 1
            elif longest is not None and tokens > longest:
                dropped["too long"] += 1
            elif repeated(text, words) >= repeats:
                dropped["loop"] += 1
            else:
                places.append(Place(number, at))
    return Chosen(places, dropped)


def repeated(text: str, words: int) -> float:
    """The share of a text's sequences of `words` words that stand in it before."""
    parts = text.split()
    sequences = [tuple(parts[at : at + words]) for at in range(len(parts) - words + 1)]
    return 1 - len(set(sequences)) / len(sequences) if sequences else 0.0
