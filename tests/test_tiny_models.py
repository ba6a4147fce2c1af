"""The shipped models: their sizes, their tokenizer, and that their scores still hold."""

from __future__ import annotations

import json
import random
from functools import cache
from importlib import resources
from pathlib import Path

import pytest

from steper.data.question_files import load_questions
from steper.data.world import World, inventory, make_world, write_world
from steper.data.world.generate import DOMAINS
from steper.data.world.world_questions import QuestionMaker
from steper.engine import Engine
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.records import Passage
from steper.retrieve.bm25 import BM25Index
from steper.runs import make_strategy
from steper.strategy.ircot import IRCoT

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODELS = Path(str(resources.files("steper").joinpath("assets", "models")))
NAMES = ("student-base", "teacher")
DISTILLED = "student"


def shipped(*names: str) -> pytest.MarkDecorator:
    """Skip where one of these models is not in the package yet."""
    missing = [n for n in names if not (MODELS / n / "model.safetensors").exists()]
    return pytest.mark.skipif(
        bool(missing),
        reason=f"not in the package yet: {', '.join(missing)} (scripts/pretrain_tiny.py makes it)",
    )


student = shipped("student-base")
teacher = shipped("teacher")
both = shipped(*NAMES)

SEED = 900_002
FIRST = PromptSettings(layout="passages_first", instruction=False, demos=0)
APPEND = PromptSettings(layout="append_only", instruction=False, demos=0)


@cache
def tokenizer(name: str):
    return transformers.AutoTokenizer.from_pretrained(MODELS / name)


@cache
def world(domain: str = "culture") -> World:
    return make_world(SEED, domain, {"test": 200})


def parameters(name: str) -> int:
    from safetensors import safe_open

    with safe_open(str(MODELS / name / "model.safetensors"), "pt") as tensors:
        return sum(tensors.get_tensor(key).numel() for key in tensors.keys())  # noqa: SIM118


@student
def test_the_student_is_small() -> None:
    assert parameters("student-base") <= 1_000_000


@shipped(*NAMES, DISTILLED)
def test_sizes() -> None:
    small, large = (parameters(name) for name in NAMES)
    assert large <= 8_000_000
    assert small * 8 <= large
    assert parameters("student") == small
    assert sum(f.stat().st_size for f in MODELS.rglob("*") if f.is_file()) <= 16 * 2**20


@pytest.mark.parametrize("name", [pytest.param(n, marks=shipped(n)) for n in (*NAMES, DISTILLED)])
def test_plain_transformers_format(name: str) -> None:
    config = json.loads((MODELS / name / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / name)
    assert model.config.eos_token_id == tokenizer(name).eos_token_id
    assert model.config.pad_token_id == tokenizer(name).pad_token_id


@student
def test_one_token_for_each_name() -> None:
    tokens = tokenizer("student-base")
    for name in inventory(*DOMAINS.values()):
        assert len(tokens(name)["input_ids"]) == 1


@shipped(*NAMES, DISTILLED)
def test_tokenizers_are_the_same() -> None:
    base = tokenizer("student-base").get_vocab()
    assert tokenizer("teacher").get_vocab() == tokenizer(DISTILLED).get_vocab() == base


@student
def test_decoding_gives_back_the_text() -> None:
    tokens = tokenizer("student-base")
    texts = [f"Wikipedia Title: {p.title}\n{p.text}" for p in world().passages.values()]
    texts += [q.question for q in world().questions["test"]]
    texts += ["Zoë said:  “no”\n\n\tx = {1}…", " Mary Vale's ", "naïve 1954's The"]
    for text in texts:
        assert tokens.decode(tokens(text)["input_ids"]) == text


@student
def test_chat_template() -> None:
    talk = [{"role": "user", "content": "Q: Who?\nA:"}]
    tokens = tokenizer("student-base")
    prompt = tokens.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert prompt == "<|user|>\nQ: Who?\nA:<|end|>\n<|assistant|>\n"
    whole = tokens.apply_chat_template(
        [*talk, {"role": "assistant", "content": "She."}], tokenize=False
    )
    assert whole == prompt + "She.<|end|>\n"


def one_hop_accuracy(count: int, size: int = 4) -> float:
    """The student base on single questions about test names, with `size` passages."""
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / "student-base").float()
    tokens = tokenizer("student-base")
    rng = random.Random(1)
    titles = [t for t, p in world().passages.items() if p.part == "test"]
    maker = QuestionMaker(DOMAINS["culture"], world().facts["test"], world().passages, rng)
    right = 0
    for _ in range(count):
        shown = rng.sample(titles, size)
        question, hop = rng.choice(maker.one_hop(rng.choice(shown)))
        passages = tuple(Passage(id=t, title=t, text=world().passages[t].text) for t in shown)
        prompt = build_prompt(IRCoT.words, question, [Turn(passages)], FIRST, "chat").messages()
        text = tokens.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        inputs = tokens(text, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=40, do_sample=False)
        reply = tokens.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        right += reply.endswith(f"So the answer is: {hop.answer}.")
    return right / count


@student
@pytest.mark.slow
def test_the_student_base_answers_single_questions() -> None:
    assert one_hop_accuracy(150) >= 0.85


def loop_accuracy(
    name: str,
    strategy: str,
    settings: PromptSettings,
    folder: Path,
    count: int,
    domain: str = "culture",
) -> float:
    """Share of a world's test questions that a model answers exactly in the loop."""
    from steper.lm.hf import HFModel

    files = write_world(world(domain), folder)
    questions = load_questions(files["test"])[:count]
    rows = [json.loads(line) for line in files["corpus"].read_text("utf-8").splitlines()]
    model = HFModel(str(MODELS / name))
    index = BM25Index.build(Passage(**row) for row in rows)
    engine = Engine(make_strategy(strategy, model, prompt=settings), model, index)
    golds = {q.id: q.answers[0] for q in questions}
    done = list(engine.run(questions))
    model.close()
    index.close()
    assert len(done) == len(questions)
    return sum(t.answer == golds[t.question_id] for t in done) / len(done)


@teacher
@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "settings", "least"),
    [
        pytest.param("ircot", FIRST, 0.85, id="ircot-passages_first"),
        pytest.param("ircot", APPEND, 0.6, id="ircot-append_only"),
        pytest.param("self_ask", FIRST, 0.4, id="self_ask-passages_first"),
        pytest.param("self_ask", APPEND, 0.3, id="self_ask-append_only"),
    ],
)
def test_the_teacher_answers_multi_hop_questions(
    strategy: str, settings: PromptSettings, least: float, tmp_path: Path
) -> None:
    assert loop_accuracy("teacher", strategy, settings, tmp_path, 150) >= least


@shipped(DISTILLED)
@pytest.mark.slow
def test_the_student_answers_multi_hop_questions(tmp_path: Path) -> None:
    """In another world than those that it learnt from: 85.8 % there, less four standard errors."""
    assert loop_accuracy(DISTILLED, "ircot", FIRST, tmp_path, 200) >= 0.76


@both
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strategy", "domain", "settings"),
    [
        pytest.param("teacher", "ircot", "culture", FIRST, id="ircot"),
        pytest.param("teacher", "self_ask", "culture", FIRST, id="self_ask"),
        pytest.param("teacher", "ircot", "ood", FIRST, id="ood"),
        pytest.param("student-base", "ircot", "culture", FIRST, id="student"),
    ],
)
def test_the_scores_of_the_card_hold(
    name: str, strategy: str, domain: str, settings: PromptSettings, tmp_path: Path
) -> None:
    """On another world than the card's, with the package's engine: within three standard errors."""
    told = json.loads((MODELS / "scores.json").read_text("utf-8"))
    wanted = told[f"{name}, {strategy} loop, {domain}, {settings.layout}"]["all"]
    count = 150
    found = loop_accuracy(name, strategy, settings, tmp_path, count, domain)
    error = (max(wanted * (1 - wanted), 0.01) * (1 / count + 1 / told["questions"])) ** 0.5
    assert abs(found - wanted) <= 3 * error


@student
@pytest.mark.slow
def test_the_student_base_cannot_yet_reason_over_several_steps(tmp_path: Path) -> None:
    assert loop_accuracy("student-base", "ircot", FIRST, tmp_path, 100) <= 0.3
