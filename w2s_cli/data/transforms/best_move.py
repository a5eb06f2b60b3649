"""A chess puzzle as a problem: the position, its best move, and its difficulty.

* Lichess gives the position before the opponent's move, then that move and the solution. The position after that move is shown.
* The move is in the players' notation ("Nf3"), as in Burns et al. (2023), or in the computer's ("g1f3").
* The level is the number of `bounds` that the puzzle's rating reaches, from 1: a number, so that tables sort by it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from w2s_cli.errors import UserError


def best_move(
    row: dict[str, Any],
    *,
    draw: Callable[[str], float],
    position: str = "FEN",
    moves: str = "Moves",
    rating: str = "Rating",
    bounds: Sequence[int] = (1000, 1500, 2000),
    notation: Literal["players", "computer"] = "players",
) -> dict[str, Any] | None:
    """Add `fen` (the position to move in), `best` (the first move of the solution) and `level` (null without a rating).

    Args:
        row: the source's row.
        draw: not used.
        position, moves: the fields of the position before the opponent's move, and of the moves ("f2g3 e6e7 …", the opponent's first).
        rating: the field of the puzzle's rating.
        bounds: the ratings at which a level ends.
        notation: of the move.

    Returns None for an illegal puzzle.

    Raises:
        UserError: the package chess is not installed.
    """
    try:
        import chess
    except ImportError as error:
        raise UserError(
            "the transform best_move needs the package chess, which knows the legal moves: pip install chess"
        ) from error
    if row[position] is None or row[moves] is None or len(row[moves].split()) < 2:
        return None
    first, solution = row[moves].split()[:2]
    try:
        board = chess.Board(row[position])
        board.push(board.parse_uci(first))
        move = board.parse_uci(solution)
    except ValueError:
        return None
    rated = row.get(rating)
    return {
        "fen": board.fen(),
        "best": board.san(move) if notation == "players" else move.uci(),
        "level": None if rated is None else str(1 + sum(int(rated) >= bound for bound in bounds)),
    }
