"""chess_move: the first move of the text, in the computer's notation ("e2e4"); well-formed if it is legal.

* The prompt holds the position: as the moves so far ("1. e4 e5 2. Nf3"), or as FEN ("… w KQkq - 0 1") in one of its lines.
* The first word that looks like a move counts, legal or not, in either notation ("Nf3", "g1f3"). A text without one has no answer.
* The right answer is the best move. Where it mates, every mating move is right (data sets name one).
"""

import re
from typing import Any

from w2s_cli.errors import UserError
from w2s_cli.graders import Problem, Reading

FEN = re.compile(
    r"(?<!\S)(?:[pnbrqkPNBRQK1-8]{1,8}/){7}[pnbrqkPNBRQK1-8]{1,8} [wb] (?:[KQkq]{1,4}|-) (?:[a-h][36]|-)(?: \d+ \d+)?"
)
NUMBERED = re.compile(r"\d+\.(?:\.\.)?\s*")
MOVE = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(?:[a-h][1-8][a-h][1-8][qrbn]?|[KQRBN]?[a-h]?[1-8]?x?[a-h][1-8](?:=?[QRBN])?|O-O(?:-O)?|0-0(?:-0)?)"
    r"(?![A-Za-z0-9])"
)
MATE = "mate"  # the value of every mating move where the best one mates


def chess_move(text: str, problem: Problem) -> Reading:
    """The move in `text`.

    Args:
        text: a completion.
        problem: its prompt has the position, its answer is the best move.
    """
    written = MOVE.search(text)
    if written is None:
        return Reading(None, False)
    board = position(problem.prompt)
    move, best = _move(board, written[0]), _best(board, problem)
    if move is None:
        return Reading(f"illegal {written[0]}", False)
    return Reading(MATE if _mates(board, move) and best is not None and _mates(board, best) else move.uci())


def answer(text: str, problem: Problem) -> Reading:
    """The best move; without one that is legal, no answer."""
    board = position(problem.prompt)
    best = _best(board, problem)
    return Reading(None) if best is None else Reading(MATE if _mates(board, best) else best.uci())


def position(prompt: str) -> Any:
    """The board after the moves, or of the FEN, in a prompt.

    Raises:
        UserError: the package chess is missing, or the prompt has no position, or a move that is not legal.
    """
    try:
        import chess
    except ImportError as error:
        raise UserError("the grader chess_move needs the package chess: pip install chess") from error
    written = FEN.search(prompt)
    if written:
        try:
            return chess.Board(written[0])
        except ValueError as error:
            raise UserError(f'"{written[0]}" is no position of chess: {error} (data.prompt)') from error
    board, played = chess.Board(), 0
    for word in NUMBERED.sub(" ", prompt).split():
        try:
            board.push_san(word)
            played += 1
        except ValueError:
            if played and MOVE.match(word):
                raise UserError(
                    f'"{word}", after {played} moves in "{prompt[:60]}", is not legal (data.prompt)'
                ) from None
            if played:
                break
    if not played:
        raise UserError(f'no position in "{prompt[:60]}": the grader chess_move needs the moves so far, or a FEN')
    return board


def _best(board: Any, problem: Problem) -> Any | None:
    written = MOVE.search(problem.answer)
    return None if written is None else _move(board, written[0])


def _move(board: Any, written: str) -> Any | None:
    """The legal move that is written; None of another one."""
    for parse in (board.parse_uci, board.parse_san):
        try:
            return parse(written)
        except ValueError:
            continue
    return None


def _mates(board: Any, move: Any) -> bool:
    board.push(move)
    mate = bool(board.is_checkmate())
    board.pop()
    return mate
