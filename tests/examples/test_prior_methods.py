"""SAIL, Chain-of-Note and KARD: what they learn of a known trajectory, word by word."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import CASES, INLINE, IRCOT, question, run_case

from doubles import FILM, DictRetriever, drive
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS, byte_level
from steper.errors import InputError, MissingExtraError, SettingsError
from steper.examples.asked import check_recipe
from steper.examples.build import build_examples
from steper.examples.example_folder import RANKINGS, ExampleFolder, write_examples
from steper.examples.example_settings import ExampleSettings
from steper.lm.function import FunctionModel
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES
from steper.recipes.labels import Labeller
from steper.records import Passage, Question
from steper.retrieve.base import Found
from steper.retrieve.bm25 import BM25Index
from steper.store import write_jsonl
from steper.strategy import STRATEGIES
from steper.strategy.actions import Generate
from steper.training.encoding import lay_out
from steper.training.objective import kind_sums

BARE = PromptSettings(instruction=False, demos=0)
RAIN, LEE = (f"Wikipedia Title: {title}\n{FILM[title]}" for title in ("Gold Rain", "Ann Lee"))
ASKED = "Q: When was the director of Gold Rain born?\nA:"
CHAIN = "Gold Rain was directed by Ann Lee. Ann Lee was born in 1950."
READERS = ("sail", "sail_wide", "con", "kard", "kard_bm25", "vanilla_kd_iter")


def built(tmp_path, recipe, case="ircot", form="chat", questions=(), **settings):
    run, _ = run_case(CASES[case], tmp_path / "run", BARE, form, questions)
    parts = {"retriever": DictRetriever(FILM)} if RECIPES.find(recipe).searches else {}
    judge = settings.pop("judge", None)
    made = ExampleSettings(recipe=recipe, form=form, **settings)
    return build_examples(run, made, judge=judge, **parts)


def texts(example):
    prompt = "".join(s.text for s in example.segments if s.kind is None)
    return prompt, "".join(s.text for s in example.segments if s.kind is not None)


def sail(tmp_path, seed):
    (example,) = built(tmp_path / str(seed), "sail", seed=seed)
    return texts(example)


def test_sail_shows_up_to_three_passages_and_says_which_inform(tmp_path):
    seen = dict(sail(tmp_path, seed) for seed in range(40))
    both = f"Search results:\n(1) {LEE}\n\n(2) {RAIN}\n\n{ASKED}"
    none = f"Search results: None\n\n{ASKED}"
    one = f"Search results:\n(1) {LEE}\n\n{ASKED}"
    rest = f"{CHAIN} So the answer is: 1950."
    assert (
        seen[both]
        == f"All search results are informative. I will use them and my own knowledge. {rest}"
    )
    assert seen[none] == rest
    assert seen[one].startswith("The search result is informative. I will use it and my own")


def test_sail_wide_draws_thirds_of_all_passages(tmp_path):
    shown = set()
    for seed in range(40):
        (example,) = built(tmp_path / str(seed), "sail_wide", seed=seed)
        shown.add(texts(example)[0].count("Wikipedia Title"))
    assert shown == {0, 1, 2}


def test_con_notes_each_passage_then_answers(tmp_path):
    whole, answer = built(tmp_path, "con")
    assert texts(whole) == texts(answer)
    assert texts(whole) == (
        f"(1) {RAIN}\n\n(2) {LEE}\n\n{ASKED}",
        "(1) Gold Rain was directed by Ann Lee. (2) Ann Lee was born in 1950. "
        "So the answer is: 1950.",
    )
    assert [(s.kind, s.weight) for s in answer.segments[1:]] == [("agg", 0), ("agg", 1), ("agg", 1)]
    assert {(s.kind, s.weight) for s in whole.segments[1:]} == {("exp", 1)}


def test_half_of_con_s_loss_is_on_the_answer(tmp_path):
    """Equation (3) over the tree of both: ½ mean over all tokens + ½ mean over the answer's."""
    torch = pytest.importorskip("torch")
    encoder = Encoder(byte_level())
    encoded = [encoder.example(example) for example in built(tmp_path, "con")]
    (tree,) = lay_out(encoded, "steps")
    assert tree.is_chain  # one forward pass
    assert len(tree) == len(encoded[0].ids)
    losses = np.random.default_rng(0).random(len(tree.supervised))
    sums = kind_sums(torch.tensor(losses), torch.tensor(tree.weights))
    means = [float(s / n) for s, n in zip(sums, tree.weights.sum(0), strict=True) if n]
    answer = tree.weights[:, 2] > 0
    assert sum(means) / 2 == pytest.approx(losses.mean() / 2 + losses[answer].mean() / 2)
    assert 0 < answer.sum() < len(losses)


def test_kard_learns_with_the_passages_that_the_rationale_finds(tmp_path):
    build = built(tmp_path, "kard")
    (example,) = build
    assert build.retriever.batches[0] == [f"{CHAIN} So the answer is: 1950."]
    assert texts(example) == (
        f"Knowledge:\n{RAIN}\n\n{LEE}\n\n{ASKED}",
        f"{CHAIN} So the answer is: 1950.",
    )


def test_kard_without_a_reranker_learns_the_same_and_ranks_nothing(tmp_path):
    build = built(tmp_path, "kard_bm25")
    (mine,), (kards,) = build, built(tmp_path / "kard", "kard")
    assert texts(mine) == texts(kards)
    assert not (write_examples(build, tmp_path / "out").folder.path / RANKINGS).exists()
    assert "inference" not in build.fingerprint  # asked as the strategy is, and no more
    assert "reranker" in built(tmp_path / "again", "kard").fingerprint["inference"]


def test_kard_s_rankings_score_all_candidates_for_the_rationale(tmp_path):
    out = write_examples(built(tmp_path, "kard"), tmp_path / "out").folder
    (ranking,) = out.rankings()
    assert ranking.query == question().text
    assert [p.title for p in ranking.candidates] == ["Gold Rain", "Ann Lee"]
    assert ranking.first == 2
    other = write_examples(built(tmp_path / "b", "con"), tmp_path / "con").folder
    assert not list(other.rankings())
    assert not (tmp_path / "con" / "rankings.jsonl").exists()


def test_kard_s_scores_are_bm25_s_whatever_the_retriever_s_are(tmp_path):
    """Ranks and cosines would give a target that is all but uniform."""
    pool = [Passage.make(title, text) for title, text in FILM.items()]
    index = BM25Index.build(pool)

    class Ranks(DictRetriever):
        def search(self, queries, k):
            return [[Found(p, 1 / n) for n, p in enumerate(pool, 1)][:k] for _ in queries]

    run, _ = run_case(CASES["ircot"], tmp_path / "run", BARE, "chat")

    def scores(retriever):
        build = build_examples(run, ExampleSettings(recipe="kard"), retriever=retriever)
        assert list(build)
        (ranking,) = build.rankings()
        return dict(zip([p.title for p in ranking.candidates], ranking.scores, strict=True))

    own, ranks = scores(index), scores(Ranks(FILM))
    assert own == pytest.approx({t: score for t, score in ranks.items() if t in own})
    assert max(own.values()) > 1
    index.close()


def test_kard_ranks_for_trajectories_that_gave_examples_alone(tmp_path):
    """Of two samples of a question the wrong one is no example, and no ranking either."""
    run, _ = run_case(CASES["ircot"], tmp_path / "run", BARE, "chat")
    (right,) = run.trajectories()
    wrong = right.model_copy(update={"sample": 1, "answer": "1951"})
    write_jsonl(run.path / "trajectories.jsonl", [right, wrong])
    build = build_examples(run, ExampleSettings(recipe="kard"), retriever=DictRetriever(FILM))
    assert len(list(build)) == 1
    assert build.counts.kept == 1
    assert len(list(build.rankings())) == 1


def test_a_recipe_with_rankings_says_what_is_made_of_them():
    kard = RECIPES.find("kard")
    mine = replace(kard, inference=replace(kard.inference, reranker=None))
    settings = ExampleSettings(recipe="kard", reasoning="anew")
    student = STRATEGIES.find("kard")(prompt=PromptSettings(reasoning="anew"))
    check_recipe(kard, settings, student, corpus=True, judge=False)
    with pytest.raises(SettingsError, match=r"has rankings .* names no `reranker`"):
        check_recipe(mine, settings, student, corpus=True, judge=False)


@pytest.mark.parametrize("recipe", READERS)
@pytest.mark.parametrize("case", ["self_ask", "self_ask, reader", "ircot, direct reader"])
def test_any_loop_s_trajectories_are_learnt_from(recipe, case, tmp_path):
    """Self-Ask's chain is the reader's reference text; the answer is stated in the reader's cue."""
    examples = list(built(tmp_path, recipe, case))
    assert examples
    for example in examples:
        _, target = texts(example)
        assert target.endswith(" So the answer is: 1950.")
        if case == "self_ask" and recipe != "con":
            assert INLINE[1] in target


@pytest.mark.parametrize("recipe", ["con", "kard_bm25"])
@pytest.mark.parametrize(
    ("last", "answer", "said"),
    [
        ("Thus, the answer is no, since Oslo is not in Rome.", "no", ""),
        ("Thus, the answer is: no. They do not know each other.", "no", ""),
        ("She came first, so the final answer is 1950.", "1950", " She came first."),
    ],
)
def test_the_answer_is_parted_where_it_is_stated(recipe, last, answer, said, tmp_path):
    case = replace(CASES["ircot"], texts=[*IRCOT[:2], last])
    run, _ = run_case(case, tmp_path, BARE, "chat", [question(answer=answer)])
    retriever = DictRetriever(FILM) if recipe.startswith("kard") else None
    (example, *_) = build_examples(run, ExampleSettings(recipe=recipe), retriever=retriever)
    target = texts(example)[1].replace("(1) ", "").replace("(2) ", "")
    assert target == f"{CHAIN}{said} So the answer is: {answer}."


@pytest.mark.parametrize("case", ["self_ask", "self_ask, reader"])
def test_a_note_is_a_follow_up_with_its_answer(case, tmp_path):
    (whole, _) = built(tmp_path, "con", case)
    first, second = INLINE[0], "Follow up: When was Ann Lee born?"
    notes = texts(whole)[1].strip()
    assert f"(1) {first}\nIntermediate answer: Ann Lee" in notes
    assert f"(2) {second}\nIntermediate answer: 1950" in notes


def test_vanilla_kd_s_students_can_be_asked_as_iter_retgen_asks(tmp_path):
    """Their training sequence is that of the recipe which is asked so from the start."""
    for number, kind in enumerate(KINDS_OF_TOKENIZERS):
        encoder = Encoder(KINDS_OF_TOKENIZERS[kind]())
        one, other = (
            [encoder.example(e) for e in built(tmp_path / f"{number}{name}", name)]
            for name in ("vanilla_kd", "vanilla_kd_iter")
        )
        assert [e.ids for e in one] == [e.ids for e in other]
        assert [e.kinds for e in one] == [e.kinds for e in other]


@pytest.mark.parametrize(
    "last",
    [
        "So it is Oslo and Rome, and the answer is: 1950.",
        "She came first, so the final answer is 1950.",
        "So the answer is: 1950.",
    ],
)
def test_vanilla_kd_s_own_words_lead_over_to_the_answer_when_it_is_asked_anew(last, tmp_path):
    """A teacher's "and the answer is" is learnt as it stands, or students could not be shared."""
    case = replace(CASES["ircot"], texts=[*IRCOT[:2], last])
    run, _ = run_case(case, tmp_path, BARE, "chat", [question(answer="1950")])
    both = [
        [texts(e)[1] for e in build_examples(run, ExampleSettings(recipe=name))]
        for name in ("vanilla_kd", "vanilla_kd_iter")
    ]
    assert both[0] == both[1] == [f"{CHAIN} {last}"]


@pytest.mark.parametrize("recipe", READERS)
def test_a_student_of_another_strategy_has_the_run_s_limits(recipe, tmp_path):
    own = CASES["ircot forced at the cap"]
    case = replace(own, settings={**own.settings, "k": 3, "max_passages": 7})
    run, _ = run_case(case, tmp_path, BARE, "chat")
    retriever = DictRetriever(FILM) if recipe.startswith("kard") else None
    student = build_examples(run, ExampleSettings(recipe=recipe), retriever=retriever).student
    named = "iter_retgen" if recipe == "vanilla_kd_iter" else recipe.partition("_")[0]
    assert student.name == named
    limits = student.settings
    # SAIL never saw more than three.
    assert (limits.max_steps, limits.max_passages) == (2, 3 if recipe == "sail" else 7)
    assert limits.k == 3
    assert student.settings.gather == ("question" if recipe == "sail" else "written")


@pytest.mark.parametrize("recipe", READERS)
@pytest.mark.parametrize("kind", KINDS_OF_TOKENIZERS)
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_prompts_are_prefixes_of_the_training_sequence(recipe, kind, form, tmp_path):
    """Also where the student writes no answer and is asked for it by force."""
    make = KINDS_OF_TOKENIZERS[kind]
    encoder = Encoder(make() if form == "chat" else make(chat=False))
    build = built(tmp_path, recipe, form=form)
    (example, *_) = build
    ids = encoder.example(example).ids
    shown = [
        Found(Passage.make(t, FILM[t]), 1.0)
        for t in ("Gold Rain", "Ann Lee")
        if f"Title: {t}" in texts(example)[0]
    ]
    order = sorted(shown, key=lambda hit: texts(example)[0].index(f"Title: {hit.passage.title}"))
    written = "".join(s.text for s in example.segments if s.kind is not None)
    before, _, after = written.partition("So the answer is:")
    student = build.student
    student.settings = student.settings.model_copy(update={"gather": "question"})
    record, asked = drive(student, question().text, [before, after], lambda _: order)
    prompts = [encoder.prompt(a.prompt) for a in asked if isinstance(a, Generate)]
    assert record.answer == "1950"
    assert len(prompts) == 2
    assert all(ids[: len(prompt)] == prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reasoning": "user"}, "use reasoning=anew or assistant"),
        ({"layout": "append_only"}, "reads all passages in one turn; use layout=passages_first"),
        ({"labels": "judge"}, "asks a judge, so it needs a model for it: --judge"),
    ],
)
def test_what_such_a_reader_never_sees_is_refused(settings, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        built(tmp_path, "con", **settings)


def test_labels_come_from_where_the_settings_say(tmp_path):
    bare = question().model_copy(update={"gold": (), "decomposition": ()})
    counts = {}
    for name, asked, labels in (
        ("gold", question(), "auto"),
        ("looked up", bare, "auto"),
        ("lexical", question(), "lexical"),
    ):
        build = built(tmp_path / name, "con", questions=[asked], labels=labels)
        (whole, _) = build
        assert texts(whole)[1].startswith("(1) Gold Rain was directed by Ann Lee. (2) Ann Lee was")
        counts[name] = build.counts.labels
    assert counts == {"gold": {"gold": 1}, "looked up": {"lexical": 1}, "lexical": {"lexical": 1}}
    with pytest.raises(InputError, match="question 'q0' has no gold passages, which labels=gold"):
        list(built(tmp_path / "none", "con", questions=[bare], labels="gold"))


SONIA = "The birthplace of Sonia Wyatt is Farrowbury Winter."
TOWN = Passage.make("Sonia Wyatt", "Sonia Wyatt is a poet born in Farrowbury Winter.")
OTHER = Passage.make("Ida Moss", "Ida Moss, Sonia Wyatt's aunt, was born in Farrowbury Winter.")
SAID = ("Ida Moss was born in Farrowbury Winter.",)


@pytest.mark.parametrize(
    ("by", "statement", "passage", "support"),
    [
        ("gold", SONIA, TOWN, "full"),
        ("auto", SONIA, TOWN, "full"),
        ("lexical", SONIA, TOWN, "none"),
        ("gold", SONIA, OTHER, "none"),  # about somebody else
        ("gold", "She was a poet.", TOWN, "none"),  # neither name nor number
        ("gold", "Sonia Wyatt is older than Ida Moss.", TOWN, "none"),
    ],
)
def test_a_gold_passage_supports_what_was_named_before(by, statement, passage, support):
    """Every town of a comparison that is answered with yes was."""
    asked = Question(
        id="q", text="Were Ida Moss and Sonia Wyatt born in the same town?", gold=(TOWN, OTHER)
    )
    assert Labeller(asked, by).support(passage, statement, SAID) == support


def test_a_judge_labels(tmp_path):
    """One that finds support in the second passage alone."""
    judge = FunctionModel(
        lambda r: "Full." if "born in 1950 in Oslo" in r.prompt.text() else "none"
    )
    (whole, _) = built(tmp_path / "a", "con", labels="judge", judge=judge)
    assert texts(whole)[1].startswith(f"(1) irrelevant. (2) {CHAIN} So")
    unsure = FunctionModel(lambda r: "Well, it depends")
    build = built(tmp_path / "b", "con", labels="judge", judge=unsure)
    assert not list(build)
    assert build.counts.dropped == {"judge_unreadable": 1}


def test_an_embedding_model_labels():
    alike = {"Gold Rain": 0.1, "Ann Lee": 0.8, "Oslo": 0.55}
    labeller = Labeller(question(), "embedding", similarity=lambda a, b: alike[a.split("\n")[0]])
    passages = [Passage.make(title, FILM[title]) for title in FILM]
    supports = [labeller.support(passage, "Ann Lee was born in 1950.") for passage in passages]
    assert supports == ["none", "full", "partial"]
    assert [labeller.relevant(p, ["Ann Lee."]) for p in passages] == [False, True, False]


def test_an_embedding_model_comes_with_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"sentence-transformers.*steper\[embedding\]"):
        built(tmp_path, "con", labels="embedding")
    list(built(tmp_path / "other", "steper", labels="embedding"))  # nothing is labelled


def test_only_recipes_that_label_say_so_in_the_manifest(tmp_path):
    for recipe in ("con", "steper"):
        write_examples(built(tmp_path / recipe, recipe), tmp_path / f"{recipe}-out")
    counts = {
        name: json.loads((tmp_path / f"{name}-out" / "manifest.json").read_text())["counts"]
        for name in ("con", "steper")
    }
    assert counts["con"]["labels"] == {"gold": 1}
    assert "labels" not in counts["steper"]
    assert "labels" not in ExampleFolder(tmp_path / "steper-out").manifest["settings"]


def test_final_steps_alone(tmp_path):
    (example,) = built(tmp_path, "steper_agg")
    assert (example.step, example.kind) == (3, "agg")
    assert texts(example)[1].strip() == "So the answer is: 1950."


def test_the_table_in_recipes_md_names_every_recipe():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text.split("## ")[0], re.MULTILINE)
    assert set(named) == set(RECIPES.ours())
