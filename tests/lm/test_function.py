"""A Python function as a language model: its texts, its errors, its threads."""

import pytest

from lm.asking import ask
from steper.errors import ModelError, QuestionDropped
from steper.lm.base import Completion
from steper.lm.function import FunctionModel


def answer(function, asked=None):
    model = FunctionModel(function)
    try:
        return model.submit([asked or ask("Who?")])[0].result()
    finally:
        model.close()


def test_a_text_is_cut_at_the_stop_strings_and_counted():
    completion = answer(lambda asked: "Ann Lee did.\n\nNext", ask("Who?", stop=("\n\n",)))
    assert completion.text == "Ann Lee did."
    assert completion.usage.completion_tokens == 3


def test_a_completion_is_handed_on_as_it_is():
    made = Completion(text="x", finish="length")
    assert answer(lambda asked: made) is made


def test_errors_of_ours_stay_what_they_are():
    def drops(asked):
        raise QuestionDropped("gold_passage_not_retrieved", "Oslo")

    with pytest.raises(QuestionDropped, match="Oslo"):
        answer(drops)


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda asked: {}["x"], "failed: KeyError: 'x'"), (lambda asked: 7, "gave int; a text was")],
)
def test_other_errors_are_told_in_one_line(function, message):
    with pytest.raises(ModelError, match=message):
        answer(function)
