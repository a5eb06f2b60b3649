"""Every grader reads the answers that people and models write, and no answer where there is none."""

import importlib.util
from typing import Any

import pytest

from tests.data_sets import read_gz, real
from w2s_cli.errors import UserError
from w2s_cli.graders import Grade, Problem, load_grader

SCIENCE = "Question: What is cold?\nA) ice\nB) dry ice\nC) a body of water\nD) It is nice.\nAnswer:"
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
TWO_MATES = "6k1/5ppp/8/8/8/8/5PPP/RR4K1 w - - 0 1"  # Ra8 and Rb8 both mate


def read(name: str, text: str, prompt: str = "", answer: str = "", **args: Any) -> str | None:
    """The value of the reading."""
    return load_grader({"name": name, "args": args}).read(text, Problem(prompt, answer)).value


def graded(name: str, text: str, answer: str, prompt: str = "", **args: Any) -> Grade:
    """The grade of a text, by the right answer as a recipe has it."""
    grader = load_grader({"name": name, "args": args})
    problem = Problem(prompt, answer)
    return grader.grade(text, problem, grader.answer(problem))


# --- number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 + 13 = 18\n#### 18", "18"),
        ("so 5 + 13 = 18\nA: 18 apples of 20", "18"),
        ("The answer is 18, not 20.", "18"),
        ("The answer is $18.\nQuestion: 7 pens", "18"),  # what follows the line does not count
        ("The final answer is:\n\n18", "18"),
        ("**Final answer:** 18", "18"),
        ("Final Answer: **18** of 20", "18"),
        ("The answer is 3. No, the answer is 4 of 5", "4"),  # the last mark
        ("She has 5 and buys 13, so 18.", "18"),
        ("about $1,234.50 in all", "1234.5"),
        ("26.00", "26"),
        ("$.50", "0.5"),
        ("1,234,567", "1234567"),
        ("5,10", "10"),  # a list
        ("well...5", "5"),
        ("\\$20", "20"),
        ("£20 or €21", "21"),
        ("50%", "50"),
    ],
)
def test_a_number_is_read_after_the_last_mark_else_at_the_end(text: str, value: str) -> None:
    assert read("number", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-3", "-3"),
        ("\N{MINUS SIGN}3 degrees", "-3"),
        ("100 - 200 = -100", "-100"),
        ("climb 7,000 feet (10,000 - 3,000)", "3000"),  # subtracted, not negative
        ("10-3", "3"),
        ("- 5 apples", "5"),  # a list's dash
        ("-$5 and $-5", "-5"),
        ("-$1,000.50", "-1000.5"),
        ("-0", "0"),
    ],
)
def test_a_minus_sign_belongs_to_a_number_that_it_touches(text: str, value: str) -> None:
    assert read("number", text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 1/2", "0.5"),
        ("#### 1 / 3", "1/3"),
        ("that is 10/5", "2"),
        ("it lasts 7 1/2 years", "7.5"),
        ("-1 1/2", "-1.5"),
        ("$5/day", "5"),
        ("5/0", "5"),
        ("3/1.5", "1.5"),  # a division, not a ratio of whole numbers
    ],
)
def test_a_ratio_and_a_mixed_number_are_read_by_value(text: str, value: str) -> None:
    assert read("number", text) == value


def test_a_clock_is_no_number() -> None:
    assert read("number", "at 6:25") == "6:25"
    assert graded("number", "#### 6:25", "25").outcome == "wrong"
    assert graded("number", "#### 6:25", "#### 6:25").outcome == "right"
    assert read("number", "3:1") == "1"


def test_numbers_compared_as_text_keep_how_they_are_written() -> None:
    assert graded("number", "#### 26.00", "26").outcome == "right"
    assert graded("number", "#### 26.00", "26", compare="text").outcome == "wrong"
    assert read("number", "#### 1/2", compare="text") == "1"
    assert read("number", "1/2", compare="text", marks=False) == "2"
    assert read("number", "#### $1,200", compare="text") == "1200"


def test_without_marks_the_last_number_counts_and_without_signs_minus_three_is_three() -> None:
    assert read("number", "#### 18 of 20", marks=False) == "20"
    assert graded("number", "it was -3", "3", signed=False).outcome == "right"
    assert graded("number", "it was -3", "3").outcome == "wrong"
    assert graded("number", "it was -3", "3", signed=False, compare="text").outcome == "right"


def test_a_number_is_well_formed_if_it_follows_a_mark() -> None:
    assert graded("number", "#### 18", "18").well_formed
    assert not graded("number", "so 18", "18").well_formed
    assert graded("number", "so 18", "18", marks=False).well_formed  # nothing else is asked for


@pytest.mark.parametrize("text", ["", " \n", "no idea", "18 apples\n####", "It is 18. The answer is unknown."])
def test_a_text_without_a_number_at_its_place_has_no_answer(text: str) -> None:
    assert read("number", text) is None
    assert graded("number", text, "18") == Grade(None, "no answer", False)


def test_long_numbers_stay_exact() -> None:
    assert read("number", "9" * 60) == "9" * 60  # more digits than a Decimal keeps
    assert read("number", f"0.{'0' * 40}1") == f"0.{'0' * 40}1"
    assert graded("number", "1" * 40, "1" * 39 + "2").outcome == "wrong"
    assert graded("number", "7" * 6000, "7").outcome == "wrong"  # Python converts no more than 4,300 digits


# --- boxed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"so \boxed{18}.", "18"),
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\fbox{7}", "7"),
        (r"\boxed 7$", "7"),
        (r"\boxed{7} and an open \boxed{8", "7"),  # cut there
        (r"\boxed{\sqrt{\frac{x}{2}}}", r"\sqrt{\frac{x}{2}}"),
        (r"\boxed{\left\{ x, y \right.}", r"\{x,y"),  # the brace of a set is no brace of the box
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\sqrt2}", r"\sqrt{2}"),
    ],
)
def test_the_content_of_a_box(text: str, value: str) -> None:
    assert read("boxed", text) == value


def test_the_first_box_where_it_is_asked_for() -> None:
    assert read("boxed", r"\boxed{1} or \boxed{2}", which="first") == "1"
    steps = r"\boxed{3}, so \boxed{1}"  # of a right solution the last box counts
    assert graded("boxed", r"\boxed{1}. Next: \boxed{2}", steps, which="first").outcome == "right"


@pytest.mark.parametrize(
    "same",
    [
        ["1/2", "0.5", ".5", r"\frac{1}{2}", r"\dfrac12", r"\frac{2}{4}", "0.50"],
        [r"-\frac{1}{2}", r"\frac{-1}{2}", "-0.5", "\N{MINUS SIGN}1/2"],
        ["1234", "1,234", r"1,\!234", "1{,}234", r"\$1,234", "1234.", "1234.00", r"x=1234", "x = 1234"],
        ["90", r"90^\circ", r"90^{\circ}", r"90\text{ degrees}", r"90\%", r"90\mbox{ cm}^2", r"90 \text{ cm}^{2}"],
        [r"(1,2)", r"\left( 1, 2 \right)", r"(1,\,2)"],
        ["east", r"\text{east}", r"\text{ east }"],
    ],
)
def test_spellings_of_one_formula_agree(same: list[str]) -> None:
    assert len({read("boxed", f"\\boxed{{{one}}}") for one in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("(1,234)", "(1234)"), ("12", "1,2"), ("1/3", "0.33"), (r"\frac{1}{0}", "0"), ("a=b+1", "b")]
)
def test_different_formulas_do_not_agree(one: str, other: str) -> None:
    assert read("boxed", f"\\boxed{{{one}}}") != read("boxed", f"\\boxed{{{other}}}")


def test_a_right_answer_may_stand_without_a_box_and_a_completion_may_not() -> None:
    assert graded("boxed", r"so \boxed{18}", "18").outcome == "right"
    assert graded("boxed", "18", "18") == Grade(None, "no answer", False)  # also where it is what the recipe has
    assert graded("boxed", r"\boxed{18}", r"One adds. \boxed{18}").outcome == "right"
    with pytest.raises(UserError, match="reads no answer"):
        graded("boxed", r"\boxed{18}", r"cut at \boxed{18")


@pytest.mark.parametrize("text", ["", "18", r"\boxed{18", r"\boxed{}", r"\boxed{ }", r"\boxed"])
def test_a_text_without_a_closed_box_has_no_answer(text: str) -> None:
    assert read("boxed", text) is None


def test_a_box_of_many_digits_is_compared_as_text() -> None:
    assert read("boxed", "\\boxed{" + "7" * 6000 + "}") == "7" * 6000


# --- math

needs_math_verify = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="the package math-verify is not installed"
)


@needs_math_verify
@pytest.mark.parametrize(
    ("text", "answer", "outcome"),
    [
        (r"so \boxed{\frac{1}{2}}", "0.5", "right"),
        (r"\boxed{1+x}", "x+1", "right"),
        (r"\boxed{x+1} or \boxed{x+2}", "x+2", "right"),  # the last box
        (r"\boxed{x+1} or \boxed{x+2}", "x+1", "wrong"),
        ("it is $2\\sqrt{2}$", r"\boxed{\sqrt{8}}", "right"),
        (r"\boxed{[1,2]}", "[1,2]", "right"),
        (r"\boxed{[1,2]}", "(1,2)", "wrong"),
        (r"\boxed{\text{east}}", r"\text{east}", "right"),
        ("so it is 18.", "#### 18", "right"),
        (r"\boxed{0.33333}", "1/3", "wrong"),
        (r"\boxed{3}", "$4$", "wrong"),
        ("I do not know", "18", "no answer"),
        ("", "18", "no answer"),
        (r"\boxed{", "18", "no answer"),
    ],
)
def test_formulas_are_compared_by_meaning(text: str, answer: str, outcome: str) -> None:
    assert graded("math", text, answer).outcome == outcome


@needs_math_verify
def test_the_decimals_of_formulas_are_an_argument() -> None:
    assert graded("math", r"\boxed{0.33333}", "1/3", decimals=4).outcome == "right"
    assert graded("math", "it is $3$", "3") == Grade("3", "right", False)  # no box
    assert read("math", r"\boxed{\frac12}") == read("math", r"\boxed{0.5}") == "0.5"  # one spelling, for majorities


def test_without_math_verify_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(UserError, match="pip install"):
        graded("math", "18", "18")


# --- choice


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" B", "B"),
        ("B) dry ice", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("B", "B"),
        ("B is colder than A", "B"),
        ("A", "A"),
        ("A because it is frozen", "A"),
        ("The answer is B.", "B"),
        ("The answer is: **B**", "B"),
        ("the answer is **(B) dry ice**", "B"),
        ("The correct option is B, not C.", "B"),
        ("The answer is option B", "B"),
        (r"The answer is $\boxed{B}$", "B"),
        (r"The answer is \boxed{\text{B}}.", "B"),
        ("Answer: C\nAnswer: B", "B"),  # the last one
        ("Not (B) and not (B) again", "B"),
        ("dry ice", "B"),  # not A, whose text stands inside of B's
        ("I would take the dry ice!", "B"),
        ("ice", "A"),
        ("It is a body of water.", "C"),
        ("A body of water", "C"),  # the article, not the letter
        ("The answer is a body of water", "C"),
        ("It is nice.", "D"),  # "ice" is no word of it
        ("Answer: b", "B"),
        ("the answer is b.", "B"),
        ("Answer: b\nThat is colder.", "B"),
        ("It must be (b)", "B"),
        ("b) dry ice", "B"),
        ("a body of water", "C"),
        ("answer: a body of water", "C"),
    ],
)
def test_a_choice_is_read_by_its_letter_or_by_its_text(text: str, value: str) -> None:
    assert read("choice", text, SCIENCE) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none of them",
        "either (A) or (B)",
        "either (a) or (B)",
        "answer: e",
        "dry ice or a body of water",
        "The answer is E",
        "The answer is not known",
        "Because",
    ],
)
def test_a_text_that_names_no_option_or_several_has_no_answer(text: str) -> None:
    assert read("choice", text, SCIENCE) is None


def test_a_choice_is_well_formed_if_its_letter_is_written() -> None:
    assert graded("choice", "B", "B", SCIENCE) == Grade("B", "right", True)
    assert graded("choice", "dry ice", "B", SCIENCE) == Grade("B", "right", False)
    assert graded("choice", "B", "dry ice", SCIENCE).outcome == "right"  # the recipe may have the text
    assert graded("choice", "C", "A body of water", SCIENCE).outcome == "right"
    with pytest.raises(UserError, match="reads no answer"):
        graded("choice", "B", "E", SCIENCE)


def test_two_options_of_one_text_are_told_apart_by_their_letters_only() -> None:
    prompt = "A) ice\nB) ice\nC) fire"
    assert read("choice", "ice", prompt) is None
    assert read("choice", "B) ice", prompt) == "B"


def test_the_options_of_the_last_question_count() -> None:
    from w2s_cli.graders.choice import options_of

    shots = "Q: One?\nA) x\nB) y\nC) z\nA: C\n\nQ: Two?\nA) u\nB) v\nA:"
    assert options_of(shots) == {"A": "u", "B": "v"}
    assert options_of("(A) x\n(B) y") == options_of("A. x\nB. y") == options_of("A: x\nB: y") == {"A": "x", "B": "y"}
    assert read("choice", "The answer is C", shots) is None
    assert read("choice", "The answer is C", "no options") == "C"


# --- chess_move

FEN_PROMPT = f"{START}\nBest move:"


@pytest.mark.parametrize(
    ("prompt", "text", "value"),
    [
        (FEN_PROMPT, " e2e4", "e2e4"),
        (FEN_PROMPT, "e4", "e2e4"),
        (FEN_PROMPT, "1. Nf3 d5 2. g3", "g1f3"),
        (FEN_PROMPT, "The best move is Nf3!", "g1f3"),
        (FEN_PROMPT, "e5", "illegal e5"),
        (FEN_PROMPT, "e7e5", "illegal e7e5"),
        (FEN_PROMPT, "0000", None),  # a null move, which python-chess would accept
        (FEN_PROMPT, "I resign", None),
        (FEN_PROMPT, "", None),
        ("1. e4 e5 2. Nf3", "Nc6", "b8c6"),
        ("1.e4 e5 2.Nf3 Nc6 3.Bc4 Bc5 4.", "O-O", "e1g1"),
        ("1. e4 e5 2. Nf3 1-0 and more", "2... Nc6", "b8c6"),
        ("White to move and win: 1. e4 e5", "Nf3", "g1f3"),
    ],
)
def test_the_first_move_of_a_text(prompt: str, text: str, value: str | None) -> None:
    pytest.importorskip("chess")
    assert read("chess_move", text, prompt, "e2e4") == value


def test_a_move_is_right_if_it_is_the_best_one_and_well_formed_if_it_is_legal() -> None:
    pytest.importorskip("chess")
    assert graded("chess_move", "e4", "e2e4", FEN_PROMPT) == Grade("e2e4", "right", True)
    assert graded("chess_move", "d4", "e2e4", FEN_PROMPT) == Grade("d2d4", "wrong", True)
    assert graded("chess_move", "Ke5", "e2e4", FEN_PROMPT) == Grade("illegal Ke5", "wrong", False)
    assert graded("chess_move", "I resign", "e2e4", FEN_PROMPT).outcome == "no answer"


def test_every_mating_move_is_right_where_the_best_one_mates() -> None:
    pytest.importorskip("chess")
    outcomes = [graded("chess_move", move, "a1a8", TWO_MATES).outcome for move in ("a1a8", "Rb8#", "Ra7")]
    assert outcomes == ["right", "right", "wrong"]
    assert graded("chess_move", "Rb8#", "a1a7", TWO_MATES).outcome == "wrong"


@pytest.mark.parametrize(
    ("prompt", "answer", "said"),
    [
        ("Who are you?", "e4", "no position"),
        ("1. e4 e5 2. Nf6", "Nc6", "is not legal"),
        ("9/8/8/8/8/8/8/8 w - - 0 1", "e4", "no position"),
        ("p8/8/8/8/8/8/8/8 w - - 0 1", "e4", "is no position of chess"),
        (FEN_PROMPT, "e7e5", "reads no answer"),  # else an illegal move could be right
        (FEN_PROMPT, "?", "reads no answer"),
    ],
)
def test_a_row_without_a_position_or_a_legal_best_move_is_refused(prompt: str, answer: str, said: str) -> None:
    pytest.importorskip("chess")
    with pytest.raises(UserError, match=said):
        graded("chess_move", "e4", answer, prompt)


def test_the_solutions_of_real_puzzles_are_right_in_both_notations() -> None:
    chess = pytest.importorskip("chess")
    mates = 0
    for puzzle in read_gz(real("lichess_puzzles") / "test.jsonl.gz")[:300]:
        board = chess.Board(puzzle["FEN"])
        first, solution = puzzle["Moves"].split()[:2]
        board.push_uci(first)
        move = chess.Move.from_uci(solution)
        for written in (solution, board.san(move)):
            grade = graded("chess_move", f" {written}", solution, f"{board.fen()}\n")
            assert (grade.outcome, grade.well_formed) == ("right", True), puzzle
        mates += grade.value == "mate"
    assert mates > 20


def test_without_the_package_chess_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "chess", None)
    with pytest.raises(UserError, match="pip install chess"):
        graded("chess_move", "e4", "e4", FEN_PROMPT)


# --- exact


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' "Paris". ', "paris"),
        ("\n\nNew  York!\nand more", "new york"),
        ("-5", "-5"),
        (".5", ".5"),
        ("50%", "50%"),
        ("C++", "c++"),
        ("$5", "$5"),
        ("...", None),
        ("", None),
        (" \n\t", None),
        ("?!", None),
    ],
)
def test_the_whole_text_as_the_answer(text: str, value: str | None) -> None:
    assert read("exact", text) == value


def test_case_and_later_lines_count_where_it_is_asked_for() -> None:
    assert graded("exact", "paris", "Paris").outcome == "right"
    assert graded("exact", "paris", "Paris", case=True).outcome == "wrong"
    assert graded("exact", "Paris\nFrance", "paris").outcome == "right"
    assert graded("exact", "Paris\nFrance", "paris", first_line=False).outcome == "wrong"
    assert graded("exact", "Paris,\n France.", "paris, france", first_line=False).outcome == "right"
