"""A chess puzzle as a choice between the solution and another legal move, drawn at random.

* Lichess gives the position before the opponent's move, then that move and the solution. The text shows the position after that move.
* In EleutherAI's recipe the wrong move is Stockfish's best other move. Here it is any legal move that does not mate: no engine is
  needed, and every machine makes the same rows, but the task is easier.
* Moves are in the computer's notation ("f2g3"). The players' notation marks captures, checks and mates, which would give much away.
"""

from collections.abc import Callable
from typing import Any

from w2s_cli.errors import UserError


def legal_move(
    row: dict[str, Any], *, draw: Callable[[str], float], position: str = "FEN", moves: str = "Moves"
) -> dict[str, Any] | None:
    """Add `fen` (the position to move in), `one` and `two` (moves), `shown` ("1" or "2"), `label` (1: the shown number is the solution's).

    Args:
        row: the source's row.
        draw: purpose → number in [0, 1), fixed for the row.
        position, moves: the fields of the position before the opponent's move, and of the moves ("f2g3 e6e7 …", the opponent's first).

    Returns None for an illegal puzzle, and for a puzzle without another move or whose other moves all mate.

    Raises:
        UserError: the package chess is not installed.
    """
    try:
        import chess
    except ImportError as error:
        raise UserError(
            "the transform legal_move needs the package chess, which knows the legal moves: pip install chess"
        ) from error
    if row[position] is None or row[moves] is None or len(row[moves].split()) < 2:
        return None
    first, solution = row[moves].split()[:2]
    try:
        board = chess.Board(row[position])
        board.push_uci(first)
        right = board.parse_uci(solution)
    except ValueError:
        return None
    others = [move.uci() for move in board.legal_moves if move != right and not _mates(board, move)]
    if not others:
        return None
    wrong = sorted(others)[int(draw("answer") * len(others))]
    place, label = int(draw("place") < 0.5), int(draw("label") < 0.5)  # place: 1 if the solution is second
    one, two = (wrong, solution) if place else (solution, wrong)
    return {
        "fen": board.fen(),
        "one": one,
        "two": two,
        "shown": str(1 + (place if label else 1 - place)),
        "label": label,
    }


def _mates(board: Any, move: Any) -> bool:
    """Whether a move mates: a puzzle may have several mates, and all of them are right."""
    board.push(move)
    mate = bool(board.is_checkmate())
    board.pop()
    return mate
