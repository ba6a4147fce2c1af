"""`vllm:MODEL` with a double of vLLM's engine: it writes what `hf:` writes of the same model."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from doubles import FILM, DictRetriever, film_questions
from lm import fake_vllm
from lm.asking import ask
from lm.tiny import make_tiny_llama
from steper.errors import MissingExtraError, ModelError
from steper.lm.base import Request
from steper.lm.hf import HFModel
from steper.lm.model_settings import GenerationSettings, HFSettings, VLLMSettings
from steper.lm.open import open_model
from steper.lm.vllm_engine import VLLMModel
from steper.prompt.segments import Prompt, Segment
from steper.runs import teach


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("m") / "tiny"))


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    return fake_vllm.install(monkeypatch)


@pytest.fixture
def model(folder):
    opened = VLLMModel(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def same(folder):
    opened = HFModel(folder)
    yield opened
    opened.close()


def begun(text):
    prompt = Prompt("chat", (Segment("user", "Who?"), Segment("assistant", text)))
    return Request("q", "ircot", 1, "reason", prompt, max_tokens=12)


def requests():
    """Of all kinds: short and long, stopped, continued, with log-probabilities."""
    return [
        ask("Who?", form="chat", max_tokens=20),
        ask("Who directed the film?", form="chat", max_tokens=3),
        ask("Which of the two books?", form="chat", max_tokens=40, stop=("a", "e", "o", "i")),
        begun("Ann Lee was"),
        ask("Where was the author born?", form="chat", max_tokens=9, logprobs=()),
    ]


def test_it_writes_what_transformers_writes(model, same, engine):
    asked = requests()
    ours, theirs = ([future.result(60) for future in lm.submit(asked)] for lm in (model, same))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.finish, one.usage) == (other.text, other.finish, other.usage)
        assert [t.text for t in one.token_logprobs] == [t.text for t in other.token_logprobs]
        for a, b in zip(one.token_logprobs, other.token_logprobs, strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
    assert ours[4].token_logprobs
    assert {one.finish for one in ours} == {"stop", "length"}
    (made,) = engine.made
    assert made.most == len(asked)  # all at once, with no barrier
    assert made.arguments.enable_prefix_caching is True
    assert made.arguments.generation_config == "vllm"
    assert [ids for ids, _ in made.added] == [model._text.encode(r) for r in asked]
    assert made.aborted  # what a stop string ended is not written further
    assert not made.requests


def test_log_probabilities_of_chosen_tokens_are_given_where_they_are_among_the_likeliest(folder):
    from transformers import AutoTokenizer

    names = ("Paris", " film", "<|end|>")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = [n for n in names if len(tokenizer.encode(n, add_special_tokens=False)) == 1]
    asked = ask("Who?", form="chat", max_tokens=4, logprobs=tuple(known))
    many = VLLMModel(folder, settings=VLLMSettings(top_logprobs=len(tokenizer)))
    few = VLLMModel(folder, settings=VLLMSettings(top_logprobs=1))
    exact = HFModel(folder)
    try:
        all_told, told, right = (
            lm.submit([asked])[0].result(60).token_logprobs for lm in (many, few, exact)
        )
    finally:
        for lm in (many, few, exact):
            lm.close()
    for place, other in zip(all_told, right, strict=True):
        assert place.of == pytest.approx(other.of, abs=1e-4)
        assert set(place.of) == set(known)
    assert any(set(place.of) < set(known) for place in told)


def test_each_sample_has_its_seed_and_greedy_has_none(folder, engine):
    sampled = VLLMModel(folder, generation=GenerationSettings(temperature=0.7, top_p=0.9, seed=5))
    request = ask("Who?", form="chat", max_tokens=6)
    texts = [sampled.submit([replace(request, sample=n)])[0].result(60).text for n in (0, 1, 0)]
    assert texts[0] == texts[2] != texts[1]
    parameters = [p for _, p in engine.made[0].added]
    assert [p.seed for p in parameters] == [5, replace(request, sample=1).seed(5), 5]
    assert {(p.temperature, p.top_p) for p in parameters} == {(0.7, 0.9)}
    assert not sampled.greedy
    sampled.close()
    greedy = VLLMModel(folder, generation=GenerationSettings(top_p=0.9, seed=5))
    assert greedy.greedy
    greedy.submit([request])[0].result(60)
    assert engine.made[1].added[0][1].seed is None
    assert greedy.fingerprint()["generation"] == {"temperature": 0.0}
    greedy.close()


def test_a_run_by_vllm_has_the_trajectories_of_one_by_transformers(model, same, tmp_path):
    runs = [
        teach(film_questions(4), "ircot", lm, DictRetriever(FILM), tmp_path / lm.name[:2])
        for lm in (model, same)
    ]
    ours, theirs = (list(run.trajectories()) for run in runs)
    assert [t.steps for t in ours] == [t.steps for t in theirs]
    assert runs[0].manifest["settings"]["model"]["kind"] == "vllm"


def test_what_decides_the_text_is_in_the_fingerprint(folder, same):
    model = VLLMModel(folder, settings=VLLMSettings(engine={"quantization": "fp8"}))
    found = model.fingerprint()
    model.close()
    assert found["engine"] == {"quantization": "fp8"}
    assert found["dtype"] == "float32"  # in force, not "auto"
    shared = ("digest", "chat_template", "form", "context_window")
    assert [found[name] for name in shared] == [same.fingerprint()[name] for name in shared]


def test_a_prompt_without_room_and_a_text_to_score_fail_alone(model):
    long = ask("Who? " * 3000, form="chat")
    given = ask("Who?", form="chat", target="Paris")
    fine = ask("Who?", form="chat", max_tokens=3)
    failed, scored, done = model.submit([long, given, fine])
    assert "show fewer passages or set a context budget" in str(failed.exception(60))
    assert "cannot score a given text; load the model with hf:" in str(scored.exception(60))
    assert done.result(60).usage.completion_tokens <= 3


def test_a_cancelled_request_is_given_up_in_the_engine(model, engine):
    slow = model.submit([ask("Who?", form="chat", max_tokens=2000)])[0]
    done = model.submit([ask("Who directed it?", form="chat", max_tokens=2)])[0]
    done.result(60)
    slow.cancel()
    model.submit([ask("Who directed it?", form="chat", max_tokens=4)])[0].result(60)
    assert "0" in engine.made[0].aborted


def test_an_engine_that_ends_fails_what_it_was_asked(model, engine):
    engine.made[0].breaks = RuntimeError("CUDA error")
    error = model.submit([ask("Who?", form="chat")])[0].exception(60)
    assert isinstance(error, ModelError)
    assert "vLLM ended: RuntimeError: CUDA error" in str(error)
    with pytest.raises(ModelError, match="is closed"):
        model.submit([ask("Who?", form="chat")])


def test_a_text_that_the_engine_ends_by_itself_is_no_answer(model, engine, monkeypatch):
    def aborts(self, key, run):
        del self.requests[key]
        output = fake_vllm.CompletionOutput(0, "", [], None, "abort")
        return fake_vllm.RequestOutput(key, run.prompt, [output], finished=True)

    monkeypatch.setattr(engine, "_step", aborts)
    error = model.submit([ask("Who?", form="chat")])[0].exception(60)
    assert "ended the text by itself (finish_reason abort)" in str(error)


def test_closing_cancels_and_lets_go_of_the_engine(folder):
    model = VLLMModel(folder)
    future = model.submit([ask("Who?", form="chat", max_tokens=2000)])[0]
    model.close()
    assert future.cancelled()
    assert not hasattr(model, "_engine")


def test_a_spec_opens_it_with_its_settings(folder, engine):
    settings = VLLMSettings(form="plain", context_window=64, tensor_parallel_size=2)
    model = open_model(f"vllm:{folder}", vllm=settings)
    assert (model.form, model.context_window) == ("plain", 64)
    assert engine.made[0].arguments.tensor_parallel_size == 2
    assert engine.made[0].arguments.max_model_len == 64
    model.close()


def test_without_vllm_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'steper\[vllm\]'"):
        VLLMModel(folder)


def test_an_argument_that_vllm_does_not_know_is_one_line(folder):
    with pytest.raises(ModelError, match="cannot be loaded as a model of vLLM") as error:
        VLLMModel(folder, settings=VLLMSettings(engine={"speed": "high"}))
    assert len(str(error.value).splitlines()) == 1


def test_adapters_and_packed_models_are_refused(tmp_path, folder):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/adapter_config.json").write_text(f'{{"base_model_name_or_path": "{folder}"}}')
    (tmp_path / "a/adapter_model.safetensors").touch()
    with pytest.raises(ModelError, match="a LoRA adapter is not run by vllm: here; load it with"):
        VLLMModel(str(tmp_path / "a"))


def test_a_form_that_the_tokenizer_does_not_have_is_refused_by_both(tmp_path):
    plain = str(make_tiny_llama(tmp_path / "plain", chat=False))
    for kind, settings in ((VLLMModel, VLLMSettings), (HFModel, HFSettings)):
        with pytest.raises(ModelError, match="form is chat, but its tokenizer has no"):
            kind(plain, settings=settings(form="chat"))


def test_the_double_has_the_names_of_vllm_itself(monkeypatch):
    """Where vLLM is installed: what the double takes, vLLM takes, too."""
    monkeypatch.undo()
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed")
    from dataclasses import fields
    from inspect import signature

    pairs = (
        (fake_vllm.EngineArgs, vllm.EngineArgs),
        (fake_vllm.SamplingParams, vllm.SamplingParams),
    )
    for double, real in pairs:
        assert {f.name for f in fields(double)} <= set(signature(real).parameters)
    for name in ("from_engine_args", "add_request", "abort_request", "step"):
        ours = list(signature(getattr(fake_vllm.LLMEngine, name)).parameters)
        assert list(signature(getattr(vllm.LLMEngine, name)).parameters)[: len(ours)] == ours
