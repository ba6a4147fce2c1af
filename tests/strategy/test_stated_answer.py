"""Where a text states its answer, and what it tells before."""

import pytest

from steper.strategy.stated_answer import stated_answer, told_before_answer


@pytest.mark.parametrize(
    ("text", "told", "answer"),
    [
        ("So the answer is: 1950.", "", "1950"),
        ("So the final answer is: 1950", "", "1950"),
        ("Thus, the answer is: no. They do not know each other.", "", "no"),
        ("Ann was born first, so the final answer is Ann.", "Ann was born first.", "Ann"),
        ("They met in Oslo. So the answer is: Oslo.", "They met in Oslo.", "Oslo"),
        ("So it is Oslo and Rome, and the answer is: yes.", "So it is Oslo and Rome.", "yes"),
        ("Ann was.\nBased on the passages, the answer is:\nAnn", "Ann was.", "Ann"),
        ("Ann was born in 1950. Final answer: 1950", "Ann was born in 1950.", "1950"),
        ("The answer is Ann, I think. So the answer is Eva.", "", "Eva"),
        ("She was born in Oslo. <answer>Oslo</answer>", "She was born in Oslo.", "Oslo"),
        (r"She was born in \boxed{1950}.", "She was born in 1950.", "1950"),
        (r"She was born.\n".replace(r"\n", "\n") + r"\boxed{1950}", "She was born.", "1950"),
        ("Ann was born in 1950.", None, None),
        ("The answer is not available.", None, None),
    ],
)
def test_what_a_text_tells_before_its_answer(text, told, answer):
    assert told_before_answer(text) == told
    assert stated_answer(text) == answer


def test_a_reason_behind_the_answer_is_no_statement():
    text = "Thus, the answer is no, since the two towns are not one."
    assert told_before_answer(text) == ""
