from steper.gold.casing import restore_case, typed_in_lower_case


def test_only_lower_case_questions_are_touched():
    assert typed_in_lower_case("when did the admiral twin open in #1")
    assert typed_in_lower_case("Who wrote it")
    assert not typed_in_lower_case("when did Oso open")


def test_names_of_the_passage_get_their_capitals():
    text = "The Admiral Twin is a cinema in Tulsa. In the past, Walk the Line ran there in May."
    told = restore_case("when did the admiral twin show walk the line in #1", ["Cinema"], [text])
    assert told == "when did the Admiral Twin show Walk the Line in #1"


def test_words_that_also_stand_in_lower_case_stay():
    text = "It hosts the National Sport Day. A sport is played with Anglicanism, the faith."
    assert restore_case("which sport did anglicanism ban", [], [text]) == (
        "which sport did Anglicanism ban"
    )
    assert restore_case("who left the uk", [], [""]) == "who left the UK"
