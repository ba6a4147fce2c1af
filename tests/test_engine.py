import threading
import time

import numpy as np
import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.engine import Engine
from steper.errors import ModelError, QuestionDropped, RetrievalError, SettingsError
from steper.lm.base import FatalModelError
from steper.lm.scripted import ScriptedModel, seeded_delay
from steper.prompt.render import PromptSettings
from steper.records import StopReason
from steper.retrieve.base import Found
from steper.store import dump_line
from steper.strategy.ircot import IRCoT

BARE = PromptSettings(instruction=False, demos=0)


def engine(script=film_script, retriever=None, model=None, **settings):
    lm = model or ScriptedModel(script)
    return Engine(IRCoT(prompt=BARE), lm, retriever or DictRetriever(FILM), **settings)


def test_every_question_gets_its_trajectory():
    runner = engine()
    done = {t.question_id: t for t in runner.run(film_questions(10))}
    assert sorted(done) == sorted(q.id for q in film_questions(10))
    assert all(t.answer == "1950" and len(t.steps) == 3 for t in done.values())
    assert (runner.stats.done, runner.stats.searches, runner.stats.generations) == (10, 30, 30)


def test_searches_are_batched():
    retriever = DictRetriever(FILM)
    list(engine(retriever=retriever).run(film_questions(50)))
    assert sum(len(batch) for batch in retriever.batches) == 150
    assert len(retriever.batches) < 30


def test_no_step_barrier_a_slow_question_holds_nobody_up():
    def delay(request):
        return 0.5 if request.question_id == "q0" else 0.001

    model = ScriptedModel(film_script, delay=delay)
    order = [t.question_id for t in engine(model=model).run(film_questions(20))]
    model.close()
    assert order[-1] == "q0"


def test_in_flight_bounds_requests_and_window_questions():
    seen = []
    model = ScriptedModel(film_script, delay=seeded_delay(0.001, 0.01))
    submit, lock, under_way = model.submit, threading.Lock(), [0]

    def counting(requests):
        with lock:
            under_way[0] += len(requests)
            seen.append(under_way[0])
        futures = submit(requests)
        for future in futures:
            future.add_done_callback(lambda _: under_way.__setitem__(0, under_way[0] - 1))
        return futures

    model.submit = counting
    runner = engine(model=model, in_flight=4, window=6)
    most = 0
    for _ in runner.run(film_questions(40)):
        most = max(most, runner.stats.in_flight)
    model.close()
    assert max(seen) <= 4
    assert most <= 6


def test_a_failed_question_is_recorded_with_its_reason_and_its_search():
    def script(request):
        if request.question_id == "q3" and request.step == 2:
            return ModelError("server said no")
        return film_script(request)

    done = {t.question_id: t for t in engine(script).run(film_questions(6))}
    failed = done.pop("q3")
    assert (failed.status, failed.stop_reason, failed.error) == (
        "failed",
        StopReason.FAILED,
        "server said no",
    )
    assert len(failed.steps) == 2
    assert failed.steps[1].rationale == ""
    assert all(t.status == "answered" for t in done.values())


def test_a_dropped_question_is_no_failure():
    def script(request):
        return QuestionDropped("gold_passage_not_retrieved", "Oslo")

    done = list(engine(script, max_failures=1).run(film_questions(3)))
    assert {(t.status, t.error) for t in done} == {("dropped", "gold_passage_not_retrieved: Oslo")}


def test_many_failures_in_a_row_end_the_run():
    with pytest.raises(ModelError, match="down"):
        list(engine(lambda r: ModelError("down"), max_failures=5).run(film_questions(20)))


def test_searches_that_work_do_not_hide_a_model_that_never_does():
    runner = engine(lambda r: ModelError("down"), in_flight=1, window=2, max_failures=5)
    with pytest.raises(ModelError, match="down"):
        list(runner.run(film_questions(20)))
    assert runner.stats.done == 4


def test_a_run_where_nothing_worked_is_an_error_however_small():
    with pytest.raises(ModelError, match="down"):
        list(engine(lambda r: ModelError("down")).run(film_questions(2)))


def test_a_fatal_error_ends_the_run_at_once():
    def script(request):
        return FatalModelError("bad key") if request.step == 2 else film_script(request)

    with pytest.raises(FatalModelError, match="bad key"):
        list(engine(script).run(film_questions(20)))


def test_a_bug_keeps_its_type():
    def script(request):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(engine(script).run(film_questions(3)))


def test_a_broken_retriever_ends_the_run():
    class Broken(DictRetriever):
        def search(self, queries, k):
            raise RetrievalError("index is gone")

    with pytest.raises(RetrievalError, match="gone"):
        list(engine(retriever=Broken(FILM)).run(film_questions(30)))


@pytest.mark.timeout(20)
def test_a_retriever_that_loses_queries_is_named():
    class Short(DictRetriever):
        def search(self, queries, k):
            return super().search(queries, k)[1:]

    with pytest.raises(RetrievalError, match="gave 0 results for 1 queries"):
        list(engine(retriever=Short(FILM)).run(film_questions(1)))


def test_a_strategy_that_searches_needs_a_retriever():
    runner = Engine(IRCoT(prompt=BARE), ScriptedModel(film_script), None)
    with pytest.raises(SettingsError, match="needs a corpus"):
        list(runner.run(film_questions(1)))


def test_records_replay_without_asking_again():
    rows = []
    first = list(engine(record=rows.extend).run(film_questions(5)))
    recorded = {}
    for row in rows[: len(rows) // 2]:
        recorded.setdefault((row["question_id"], 0), []).append(row)
    asked = []

    def script(request):
        asked.append(request)
        return film_script(request)

    runner = engine(script, recorded=recorded)
    again = list(runner.run(film_questions(5)))
    assert sorted(again, key=lambda t: t.question_id) == sorted(first, key=lambda t: t.question_id)
    known = sum("completion" in row for row in rows[: len(rows) // 2])
    assert len(asked) == 15 - known
    assert runner.stats.replayed == len(rows) // 2


def test_records_of_other_prompts_are_refused():
    rows = []
    list(engine(record=rows.extend).run(film_questions(1)))
    other = Engine(
        IRCoT(prompt=PromptSettings(demos=1)),
        ScriptedModel(film_script),
        DictRetriever(FILM),
        recorded={("q0", 0): rows},
    )
    with pytest.raises(SettingsError, match="recorded action 1"):
        list(other.run(film_questions(1)))


def test_own_cost_stays_under_a_millisecond_an_action():
    runner = engine(retriever=DictRetriever(FILM))
    list(runner.run(film_questions(20)))
    runner = engine()
    start = time.process_time()
    list(runner.run(film_questions(300)))
    actions = runner.stats.searches + runner.stats.generations
    assert (time.process_time() - start) / actions < 0.001


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "high"])
def test_a_score_that_is_no_finite_number_fails_its_question_alone(score):
    class Odd(DictRetriever):
        def search(self, queries, k):
            return [
                [Found(f.passage, score) for f in found] if "of film 3" in query else found
                for query, found in zip(queries, super().search(queries, k), strict=True)
            ]

    questions = film_questions(12)
    odd = questions[3].model_copy(update={"text": f"{questions[3].text} of film 3"})
    rows = []
    runner = engine(retriever=Odd(FILM), record=rows.extend)
    done = {t.question_id: t for t in runner.run([*questions[:3], odd, *questions[4:]])}
    failed = done.pop("q3")
    assert failed.status == "failed"
    assert f"the score {score}; a finite number was expected" in failed.error
    assert {t.status for t in done.values()} == {"answered"}
    assert all(dump_line(row) for row in rows)


def test_scores_of_numpys_are_plain_numbers():
    class Single(DictRetriever):
        def search(self, queries, k):
            return [
                [Found(f.passage, np.float32(f.score)) for f in found]
                for found in super().search(queries, k)
            ]

    rows = []
    (done,) = engine(retriever=Single(FILM), record=rows.extend).run(film_questions(1))
    assert done.status == "answered"
    assert all(dump_line(row) for row in rows)
