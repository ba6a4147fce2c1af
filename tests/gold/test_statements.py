import random

import pytest

from steper.gold.statements import mended, statement


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("what is the name of the hill in Oso", "Vel", "The name of the hill in Oso is Vel."),
        ("Who was the first president of Oso ?", "Ann", "Ann was the first president of Oso."),
        ("Who is Trajan 's mother?", "Marcia", "Marcia is Trajan's mother."),
        ("Who made The Gate?", "Ann", "Ann made The Gate."),
        ("What company published The Gate?", "Vel", "Vel published The Gate."),
        ("What city did Ann live when she died?", "Oso", "Ann lived in Oso when she died."),
        ("What year did rugby start?", "1895", "Rugby started in 1895."),
        ("What river does Uma turn into?", "Oso River", "Uma turns into the Oso River."),
        ("What city was Vel formed in?", "Oso", "Vel was formed in Oso."),
        ("What state is KAGH located?", "Oso", "KAGH is located in Oso."),
        ("In what state did the writer die?", "Oso", "The writer died in Oso."),
        ("Of what country is Ann a citizen?", "Sweden", "Ann is a citizen of Sweden."),
        ("When did Oso become a state?", "4 May 1901", "Oso became a state on 4 May 1901."),
        ("when did Oso became a state", "1901", "Oso became a state in 1901."),
        ("When was Oso taken by the British?", "1842", "Oso was taken by the British in 1842."),
        ("Where was Ann from?", "Oso", "Ann was from Oso."),
        ("Where is Oso located in Uma", "Vel", "In Uma, Oso is located in Vel."),
        ("how many shops are in Oso", "35", "There are 35 shops in Oso."),
        ("What amount of TEUs did Oso handle in 2010?", "27", "Oso handled 27 TEUs in 2010."),
        ("The director of The Gate is who?", "Ann", "The director of The Gate is Ann."),
        ("jousting is the sport of which us state", "Oso", "Jousting is the sport of Oso."),
        ("Besides Oso , where did Ann have land?", "Uma", "Besides Oso, Ann had land in Uma."),
        ("what state is directly west of Oso", "Uma", "Uma is the state directly west of Oso."),
        ("Which country is considered old?", "Oso", "Oso is considered old."),
        ("What did Ann use as a base?", "a hut", "Ann used a hut as a base."),
        ("How does Ann group the towns?", "by size", "Ann groups the towns by size."),
        ("when do stores close in Oso", "3 a.m.", "Stores close in Oso at 3 a.m."),
    ],
)  # fmt: skip
def test_questions_become_statements(question, answer, told):
    assert statement(question, answer) == told


def test_no_rule_cuts_inside_a_name():
    name = "the Committee That Did Nothing"
    assert statement(f"when did {name} start", "1793", [name]) == f"T{name[1:]} started in 1793."


def test_what_no_rule_fits_is_told_with_a_colon():
    assert statement("Ann Orr Bo Larn movie", "Last Vel") == "Ann Orr Bo Larn movie: Last Vel."
    assert statement("why zzz Oso", "of Vel") == "Why zzz Oso: of Vel."


def test_no_question_is_too_odd():
    words = "what who which where when how in is was did does do are the city Oso live born of"
    rng = random.Random(0)
    for _ in range(3000):
        question = " ".join(rng.choices(words.split(), k=rng.randint(1, 8)))
        told = statement(question, rng.choice(["Vel", "in Oso", "1901"]))
        assert told == told.strip()
        assert told.endswith(".")


def test_a_double_past_is_mended():
    assert mended("When did Oso became a state") == "When did Oso become a state"
    assert mended("When did Oso become known") == "When did Oso become known"
