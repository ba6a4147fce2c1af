"""Abilities by gold facts: what tells a fact, and what gives a step occasion to."""

import pytest

from doubles import FILM
from steper.evaluation.abilities import measure_abilities
from steper.evaluation.compare import compare_metric
from steper.evaluation.gold_facts import asked_in, claims, gold_facts, told_in
from steper.evaluation.methods import Method
from steper.evaluation.scoring import score_question, score_trajectories
from steper.evaluation.statistics import Bootstrap
from steper.judging.pairs import asked_steps
from steper.lm.base import Completion
from steper.records import Hop, Passage, Question, Usage
from steper.retrieve.base import Found
from steper.strategy.trace import Ending, StopReason, Trace

RAIN, LEE, OSLO = (Passage.make(title, FILM[title]) for title in ("Gold Rain", "Ann Lee", "Oslo"))
QUESTION = Question(
    id="q",
    text="When was the director of Gold Rain born?",
    benchmark="2wikimultihopqa",
    answers=("1950",),
    type="compositional",
    gold=(RAIN, LEE),
    decomposition=(
        Hop(answer="Ann Lee", subject="Gold Rain", relation="director", passage_id=RAIN.id),
        Hop(answer="1950", subject="Ann Lee", relation="date of birth", passage_id=LEE.id),
    ),
)
FACTS = gold_facts(QUESTION)


def told(text, query=""):
    found = set()
    for claim in claims(text, query):
        found |= told_in(claim, FACTS)
    return found


@pytest.mark.parametrize(
    ("text", "query", "facts"),
    [
        ("Gold Rain was directed by Ann Lee.", "", {0}),
        ("The director of Gold Rain is Ann Lee; next, when was Ann Lee born?", "", {0}),
        ("Ann Lee, born in 1950, directed Gold Rain.", "", {0, 1}),
        ("Ann Lee is a director.", "", set()),
        ("The composer of Gold Rain is Ann Lee.", "", set()),
        ("Gold Rain was directed by Ann Leeson.", "", set()),
        ("When was Ann Lee born in 1950?", "", set()),
        ("She was born in 1950.", "Ann Lee directed it.", {1}),
        ("Intermediate answer: 1950", "When was Ann Lee born?", {1}),
        ("She was born in 1950.", "Bo Young directed it.", set()),
        ("Bo Young was born in 1950.", "When was Ann Lee born?", set()),
        ("So the answer is: 1950.", "When was Ann Lee born?", set()),
        ("GOLD RAIN was directed by ann lee", "", {0}),
    ],
)
def test_what_tells_a_fact(text, query, facts):
    assert told(text, query) == facts


def test_a_date_s_parts_may_stand_in_any_order():
    hop = Hop(answer="9 June 1956", subject="Ann Lee", relation="date of birth", passage_id=LEE.id)
    facts = gold_facts(QUESTION.model_copy(update={"decomposition": (hop,)}))
    (claim,) = claims("Ann Lee was born on June 9, 1956.", "")
    assert told_in(claim, facts) == {0}
    (claim,) = claims("Ann Lee was born on June 8, 1956.", "")
    assert told_in(claim, facts) == set()


def test_asking_for_a_fact():
    assert asked_in("Follow up: Who directed Gold Rain?", QUESTION.text, FACTS) == {0}
    assert asked_in(f"Follow up: {QUESTION.text}", QUESTION.text, FACTS) == set()
    assert asked_in("Follow up: Who is Bo?", QUESTION.text, FACTS) == set()


def trajectory(*steps, answer="1950"):
    """Of steps (query, passages that the prompt shows, rationale)."""
    trace = Trace(QUESTION.text)
    for query, shown, text in steps:
        hits = [Found(passage, 1.0) for passage in shown]
        trace.add(Completion(text=text), text, query=query, found=hits, context=shown)
    ending = Ending(answer, StopReason.ANSWERED)
    return trace.trajectory("q", "ircot", "passages_first", "m", "s", ending)


FIRST = ("q", [RAIN, OSLO], "Gold Rain was directed by Ann Lee.")
SECOND = (FIRST[2], [RAIN, OSLO, LEE], "Ann Lee was born in 1950.")
LAST = (None, [RAIN, OSLO, LEE], "So the answer is: 1950.")


def measured(*steps, right=True, **how):
    found = measure_abilities(QUESTION, trajectory(*steps, **how), right)
    return found.initialization, found.expansion, found.aggregation


def test_a_sound_trajectory_shows_all_three():
    assert measured(FIRST, SECOND, LAST) == (1, 1, 1)
    assert measured(FIRST, SECOND, LAST, right=False) == (1, 1, 0)
    assert measured(FIRST, SECOND, LAST, right=None) == (1, 1, None)


def test_each_is_asked_for_where_there_is_occasion():
    lost = ("q", [OSLO], "Gold Rain was directed by Ann Lee.")
    assert measured(lost, SECOND, LAST) == (None, 1, 1)
    idle = (FIRST[2], [RAIN, OSLO, LEE], "Gold Rain was directed by Ann Lee.")
    assert measured(FIRST, idle, LAST) == (1, 0, 1)
    blind = (FIRST[2], [RAIN, OSLO], "Ann Lee was born in 1950.")
    # No passage with the second fact was shown; it was told all the same.
    assert measured(FIRST, blind, LAST) == (1, None, 1)
    nothing = ("q", [OSLO], "Oslo is a city.")
    assert measured(nothing, (None, [OSLO], "So the answer is: 1950.")) == (None, None, None)


def test_a_single_step_begins_and_ends():
    chain = "Gold Rain was directed by Ann Lee. Ann Lee was born in 1951. So the answer is: 1951."
    assert measured(("q", [RAIN], chain), right=False) == (1, None, None)
    assert measured(("q", [RAIN, LEE], chain), right=False) == (1, None, 0)


def test_without_a_decomposition_nothing_is_measured():
    bare = QUESTION.model_copy(update={"decomposition": ()})
    assert measure_abilities(bare, trajectory(FIRST, LAST), True) is None


def evaluated(*trajectories):
    questions = [QUESTION.model_copy(update={"id": t.question_id}) for t in trajectories]
    return score_trajectories(questions, trajectories, Bootstrap(resamples=50))


def named(name, *made):
    trajectories = [t.model_copy(update={"question_id": f"q{n}"}) for n, t in enumerate(made)]
    return Method(name, (), (evaluated(*trajectories),))


def test_metrics_have_the_number_of_questions_with_occasion():
    found = evaluated(
        trajectory(FIRST, SECOND, LAST),
        trajectory(FIRST, LAST, answer="1951").model_copy(update={"question_id": "other"}),
    ).metrics.abilities
    assert (found.initialization.n, found.initialization.mean.value) == (2, 1)
    assert (found.expansion.n, found.expansion.mean.value) == (1, 1)
    assert (found.aggregation.n, found.aggregation.mean.value) == (2, 0.5)


def test_methods_are_paired_over_what_both_have():
    idle = (FIRST[2], [RAIN, OSLO, LEE], "Gold Rain was directed by Ann Lee.")
    whole, idles = trajectory(FIRST, SECOND, LAST), trajectory(FIRST, idle, LAST)
    short = trajectory(FIRST, LAST)
    a = named("a", whole, whole, short)
    b = named("b", idles, short, idles)
    c = named("c", short, short, short)
    ids = ["q0", "q1", "q2"]
    found = compare_metric([a, b, c], "a", "expansion", ids, Bootstrap(resamples=50), {})
    assert [(m.method, m.n, m.mean.value) for m in found.means] == [
        ("a", 2, 1.0),
        ("b", 2, 0.0),
        ("c", 0, 0.0),
    ]
    (difference,) = found.differences
    assert (difference.method, difference.n, difference.difference.value) == ("b", 1, -1.0)
    nothing = compare_metric([c], "c", "expansion", ids, Bootstrap(resamples=50), {})
    assert nothing is None


def test_what_the_reasoning_went_on_without_counts_for_nothing():
    """Neither a decision nor a candidate that another was preferred to; tokens of all count."""
    texts = ["?", "Bo Young directed Gold Rain.", "Gold Rain was directed by Ann Lee."]
    trace = Trace(QUESTION.text)
    for text in texts:
        trace.add(Completion(text=text, usage=Usage(prompt_tokens=5)), text, context=[RAIN])
    trace.discard(trace.steps[:2])
    trace.add(Completion(text="x"), "So the answer is: 1950.", context=[LEE])
    ending = Ending("1950", StopReason.ANSWERED)
    made = trace.trajectory("q", "s", "passages_first", "m", "", ending)
    assert measure_abilities(QUESTION, made, True).initialization == 1
    score = score_question(QUESTION, made)
    assert (score.steps, score.inventing, score.usage.prompt_tokens) == (2, 0, 15)
    assert [step.index for step in asked_steps(made)] == [3, 4]
    assert '"discarded":true' in made.model_dump_json()
    assert "discarded" not in made.steps[2].model_dump(mode="json")
