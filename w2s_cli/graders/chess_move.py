"""chess_move: the first move of the text, in the computer's notation ("e2e4"); well-formed if it is legal.

* The prompt holds the position: as the moves so far ("1. e4 e5 2. Nf3"), or as FEN ("… w KQkq - 0 1") in one of its lines.
* The right answer is the best move, in either notation. Where the position has several mates, each is right (data sets name one).
"""

import re
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, Reading

FEN = re.compile(
    r"(?:[pnbrqkPNBRQK1-8]{1,8}/){7}[pnbrqkPNBRQK1-8]{1,8} [wb] (?:[KQkq]{1,4}|-) (?:[a-h][36]|-)(?: \d+ \d+)?"
)
NUMBERED = re.compile(r"\d+\.(?:\.\.)?\s*")
WORD = re.compile(r"[A-Za-z][A-Za-z0-9=+#-]*")
MATE = "mate"  # the value of every mating move where the best one mates


def chess_move(text: str, problem: Problem) -> Reading:
    """The move in `text`.

    Args:
        text: a completion, or the best move.
        problem: its prompt has the position.
    """
    board = position(problem.prompt)
    best, move = _move(board, problem.answer), _move(board, text)
    if move is None:
        first = WORD.search(NUMBERED.sub("", text))
        return Reading(None if first is None else f"illegal {first[0]}", False)
    return Reading(MATE if _mates(board, move) and best is not None and _mates(board, best) else move.uci())


def position(prompt: str) -> Any:
    """The board after the moves, or of the FEN, in a prompt.

    Raises:
        UserError: the package chess is missing, or the prompt has no position.
    """
    try:
        import chess
    except ImportError as error:
        raise UserError("the grader chess_move needs the package chess: pip install chess") from error
    written = FEN.search(prompt)
    if written:
        return chess.Board(written[0])
    board, played = chess.Board(), 0
    for word in NUMBERED.sub(" ", prompt).split():
        try:
            board.push_san(word)
            played += 1
        except ValueError:
            if played:
                break
    if not played:
        raise UserError(f'no position in "{prompt[:60]}": the grader chess_move needs the moves so far, or a FEN')
    return board


def _move(board: Any, text: str) -> Any | None:
    """The first legal move in a text; None if its first word is none."""
    first = WORD.search(NUMBERED.sub("", text))
    if first is None:
        return None
    for parse in (board.parse_uci, board.parse_san):
        try:
            return parse(first[0])
        except ValueError:
            continue
    return None


def _mates(board: Any, move: Any) -> bool:
    board.push(move)
    mate = bool(board.is_checkmate())
    board.pop()
    return mate
