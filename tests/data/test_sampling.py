import pytest

from steper.data import sample_questions
from steper.errors import InputError
from steper.records import Question

QUESTIONS = [Question(id=f"q{i}", text="Who?") for i in range(50)]


def test_samples_are_disjoint_and_in_order():
    test, dev = sample_questions(QUESTIONS, test=20, dev=10, seed=3)
    assert (len(test), len(dev)) == (20, 10)
    assert not {q.id for q in test} & {q.id for q in dev}
    assert test == [q for q in QUESTIONS if q in test]


def test_the_seed_decides_and_the_order_of_the_file_does_not():
    def ids(questions, seed):
        return {q.id for q in sample_questions(questions, test=20, dev=10, seed=seed).test}

    assert ids(QUESTIONS, 1) == ids(QUESTIONS[::-1], 1) != ids(QUESTIONS, 2)


def test_too_few_questions_are_refused():
    with pytest.raises(InputError, match=r"45 test and 10 dev .* there are 50"):
        sample_questions(QUESTIONS, test=45, dev=10)
    with pytest.raises(InputError, match="must not be negative"):
        sample_questions(QUESTIONS, test=-1, dev=10)


def test_dev_and_test_samples_stay_apart_whatever_their_sizes() -> None:
    questions = [Question(id=str(i), text="?") for i in range(1300)]
    test = {q.id for q in sample_questions(questions, test=250, dev=0).test}
    dev = {q.id for q in sample_questions(questions, test=0, dev=100).dev}
    both = sample_questions(questions, test=250, dev=100)
    assert not test & dev
    assert ({q.id for q in both.test}, {q.id for q in both.dev}) == (test, dev)
