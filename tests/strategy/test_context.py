from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steper.prompt.render import Turn
from steper.prompt.segments import Prompt, Segment
from steper.records import Passage
from steper.retrieve.base import Found
from steper.strategy.context import Budget, ContextSettings, Gathered, fit


def found(*titles, text="A text about {}."):
    return [Found(Passage.make(t, text.format(t)), 1.0) for t in titles]


def titles(passages):
    return [p.title for p in passages]


def test_passages_come_first_come_up_to_the_cap():
    gathered = Gathered(ContextSettings(max_passages=3))
    gathered.add(found("Alpha", "Beta"))
    gathered.add(found("Beta", "Gamma", "Delta"))
    assert [titles(t) for t in gathered.turns] == [["Alpha", "Beta"], ["Gamma"]]


def test_near_duplicates_and_overlong_passages_stay_out():
    gathered = Gathered(ContextSettings(max_passage_words=6))
    gathered.add(found("Alphabet", text="one two three four {}"))
    gathered.add([Found(Passage.make("Alphabet", "one two three four Alphabet."), 1.0)])
    gathered.add(found("Long", text="one two three four five six {}"))
    assert titles(gathered.all) == ["Alphabet"]


def render(turns: list[Turn]) -> Prompt:
    return Prompt("plain", (Segment("user", "".join(p.title for t in turns for p in t.passages)),))


def test_named_passages_stay_longest_and_the_oldest_distractor_goes_last():
    gathered = Gathered(ContextSettings())
    gathered.add(found("AAAA", "BBBB"))
    gathered.add(found("CCCC", "DDDD"))
    dropped = []
    for room in (12, 8, 4):
        _, shown, out = fit(gathered, ["About DDDD."], "q", render, Budget(room, len), False)
        dropped.append((titles(shown), titles(out)))
    assert dropped == [
        (["AAAA", "BBBB", "DDDD"], ["CCCC"]),
        (["AAAA", "DDDD"], ["BBBB", "CCCC"]),
        (["DDDD"], ["AAAA", "BBBB", "CCCC"]),
    ]


def test_a_passage_without_a_title_is_not_named():
    gathered = Gathered(ContextSettings())
    gathered.add(found("AAAA", ""))
    gathered.add(found("CCCC"))
    _, shown, out = fit(gathered, ["About aaaa and cccc."], "q", render, Budget(4, len), False)
    assert (titles(shown), titles(out)) == (["AAAA"], ["CCCC", ""])


def test_append_only_never_touches_the_past():
    gathered = Gathered(ContextSettings())
    gathered.add(found("AAAA"))
    gathered.add(found("BBBB", "CCCC"))
    prompt, shown, out = fit(gathered, ["r"], "q", render, Budget(8, len), True)
    assert (titles(shown), titles(out)) == (["AAAA", "BBBB"], ["CCCC"])
    assert titles(gathered.all) == ["AAAA", "BBBB"]
    prompt, _, _ = fit(gathered, ["r"], "q", render, Budget(3, len), True)
    assert prompt is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # by the clock
@given(
    st.lists(st.lists(st.text("abcdef", min_size=1, max_size=9), max_size=4), max_size=4),
    st.integers(0, 60),
)
def test_what_is_shown_fits_and_nothing_vanishes(steps, room):
    gathered = Gathered(ContextSettings())
    for step in steps or [[]]:
        gathered.add([Found(Passage.make(t, f"{t * 3} {len(t)}"), 1.0) for t in step])
    before = gathered.all
    prompt, shown, out = fit(
        gathered, ["r"] * (len(gathered.turns) - 1), "q", render, Budget(room, len), False
    )
    if prompt is not None:
        assert len(prompt.text()) <= room
        assert sorted(p.id for p in (*shown, *out)) == sorted(p.id for p in before)
