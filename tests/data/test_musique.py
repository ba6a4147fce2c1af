from mini import MUSIQUE, changed, lines

from steper.data import load_questions


def test_decomposition_in_order_with_its_paragraphs(tmp_path):
    (question,) = load_questions(lines(tmp_path, MUSIQUE))
    assert [p.title for p in question.gold] == ["Vel Museum", "Torvik"]
    assert [hop.question for hop in question.decomposition] == [
        "Vel Museum >> location",
        "when was #1 founded",
    ]
    assert [hop.passage_id for hop in question.decomposition] == [p.id for p in question.gold]
    assert (question.answers, question.hops, question.type) == (("1612", "in 1612"), 2, "2hop")


def test_test_files_have_no_decomposition(tmp_path):
    rows = changed(
        MUSIQUE, 0, answer=..., answer_aliases=..., question_decomposition=..., answerable=...
    )
    rows[0]["id"] = "3hop1__1_2_3"
    for paragraph in rows[0]["paragraphs"]:
        del paragraph["is_supporting"]
    (question,) = load_questions(lines(tmp_path, rows))
    assert (question.answers, question.gold, question.hops) == ((), (), 3)
