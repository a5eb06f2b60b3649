"""The cautions of many results in a few lines."""

from w2s_cli.results.cautions import SHOWN, once


def test_a_caution_of_several_results_is_one_line_that_names_them():
    assert once([("a", ["x."]), ("b", ["x."])]) == ["x."]
    assert once([("a", ["x."]), ("b", ["x.", "y."]), ("c", [])]) == ["x. (2 settings)", "y. (b)"]
    assert once([("a", []), ("b", [])]) == []


def test_a_long_list_of_cautions_is_cut_with_their_number_unless_all_are_wanted():
    many = [(f"s{n}", [f"x{n}."]) for n in range(SHOWN + 3)]
    assert len(once(many)) == SHOWN + 1
    assert once(many)[-1] == "Caution: 3 more such lines; w2s report shows all of a run."
    assert len(once(many, at_most=None)) == SHOWN + 3
