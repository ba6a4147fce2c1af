"""Log-probabilities of chosen tokens: exact on a local model, read from servers, asked for once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from doubles import FILM, DictRetriever, film_questions, film_script
from lm.asking import ask
from lm.fake_server import Reply, fake_server
from lm.tiny import make_tiny_llama
from steper.engine import Engine
from steper.errors import ModelError
from steper.lm.base import LOWEST_LOGPROB, Completion, TokenLogprob
from steper.lm.hf import HFModel
from steper.lm.hf_logprobs import RowLogprobs
from steper.lm.model_settings import GenerationSettings, HFSettings, OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.lm.scripted import ScriptedModel
from steper.strategy.actions import Generate, request_digest
from steper.strategy.ircot import IRCoT

ASKED = ("<|user|>", " film", " directed", "<|end|>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "chat")


def questions(**fields):
    return [
        ask(
            f"Who directed film {n}{' in the town of the author' * (n % 4)}?",
            question_id=str(n),
            form="chat",
            max_tokens=12,
            **fields,
        )
        for n in range(9)
    ]


def written(folder, requests, generation=None, own_loop=False, **settings):
    model = HFModel(str(folder), generation=generation, settings=HFSettings(**settings))
    try:
        if own_loop:
            model.submit([ask("Who?", form="chat", max_tokens=1)])[0].result(60)
            model._generator = None
        return [future.result(60) for future in model.submit(requests)]
    finally:
        model.close()


@pytest.fixture(scope="module")
def reference(folder):
    """transformers' own tokenizer and model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder), model


@pytest.fixture
def taken(monkeypatch):
    """Of each row that asks: what follows it → the ids that it wrote."""
    ids = {}
    take = RowLogprobs.take

    def note(row, token):
        ids.setdefault(row, []).append(token)
        take(row, token)

    monkeypatch.setattr(RowLogprobs, "take", note)
    return ids


def by_one_forward_pass(reference, request, ids):
    """(log-probability of each token written, of the asked ones) of prompt and text in one pass."""
    tokenizer, model = reference
    prompt = tokenizer.apply_chat_template(
        request.prompt.messages(), add_generation_prompt=True, return_dict=False
    )
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    known = logits.log_softmax(-1)
    asked = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in ASKED]
    return known[range(len(ids)), ids].tolist(), known[:, asked].tolist()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"batch_size": 1},
        {"prefix_cache_mib": 0},
        {"own_loop": True},
        {"generation": GenerationSettings(temperature=0.7, top_p=0.9)},
        {"generation": GenerationSettings(temperature=3.0), "own_loop": True},
    ],
    ids=str,
)
def test_they_are_those_of_one_forward_pass_whatever_the_batch_and_the_temperature(
    folder, reference, taken, how
):
    requests = questions(logprobs=ASKED)
    done = written(folder, requests, **how)
    ids_of = {repr(tuple(row.written)): ids for row, ids in taken.items()}
    for request, completion in zip(requests, done, strict=True):
        tokens = completion.token_logprobs
        own, asked = by_one_forward_pass(reference, request, ids_of[repr(tokens)])
        assert [token.logprob for token in tokens] == pytest.approx(own, abs=1e-4)
        for token, expected in zip(tokens, asked, strict=True):
            assert tuple(token.of) == ASKED
            assert list(token.of.values()) == pytest.approx(expected, abs=1e-4)
    assert sum(completion.usage.completion_tokens for completion in done) == sum(
        len(completion.token_logprobs) for completion in done
    )


def test_a_batch_gives_them_to_those_who_ask_and_no_text_changes(folder):
    plain = questions()
    mixed = [replace(r, logprobs=(() if n % 3 else ASKED)) for n, r in enumerate(plain)]
    mixed[4] = plain[4]
    without, done = written(folder, plain), written(folder, mixed)
    assert [c.text for c in done] == [c.text for c in without]
    assert done[4] == without[4]
    assert "token_logprobs" not in without[0].model_dump(mode="json")
    assert [bool(c.token_logprobs[0].of) for c in done if c.token_logprobs] == [
        True, False, False, True, False, True, False, False,
    ]  # fmt: skip
    again = Completion.model_validate(done[0].model_dump(mode="json"))
    assert again == done[0]


def test_the_end_of_a_turn_and_the_stop_string_are_among_them(folder):
    free = written(folder, questions(logprobs=()))
    assert {c.token_logprobs[-1].text for c in free if c.finish == "stop"} == {"<|end|>"}
    stop = free[1].text[3:6]
    cut = written(folder, questions(logprobs=(), stop=(stop,)))[1]
    assert len(cut.token_logprobs) == cut.usage.completion_tokens < len(free[1].token_logprobs)
    assert stop in "".join(token.text for token in cut.token_logprobs)
    assert stop not in cut.text


def test_a_text_of_several_tokens_has_no_log_probability_of_its_own(folder):
    with pytest.raises(ModelError, match="'Fully supported' is not one token of this model"):
        written(folder, questions(logprobs=("<|user|>", "Fully supported")))


@pytest.mark.parametrize(
    "how",
    [{}, {"batch_size": 1, "generation": GenerationSettings(temperature=2.0)}, {"own_loop": True}],
    ids=str,
)
def test_a_given_text_is_scored_beside_others_that_are_written(folder, reference, taken, how):
    plain = questions()
    target = " directed by the author of the film.\n"
    requests = [replace(r, target=target if n % 2 else "") for n, r in enumerate(plain)]
    done = written(folder, requests, **how)
    assert [c.text for c in done[::2]] == [c.text for c in written(folder, plain, **how)[::2]]
    ids_of = {repr(tuple(row.written)): ids for row, ids in taken.items()}
    for request, scored in zip(requests[1::2], done[1::2], strict=True):
        assert (scored.text, scored.finish) == (target, "stop")
        own, _ = by_one_forward_pass(reference, request, ids_of[repr(scored.token_logprobs)])
        assert sum(t.logprob for t in scored.token_logprobs) == pytest.approx(sum(own), abs=1e-3)


def test_a_given_text_is_scored_by_local_models_alone_and_has_to_fit(folder):
    with pytest.raises(ModelError, match=r"to score, of question '0', has \d+ tokens, but the"):
        written(folder, [replace(questions()[0], target="film " * 40)], context_window=30)
    with fake_server(lambda n, b: Reply("no")) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        error = model.submit([ask(form="chat", target="yes")])[0].exception(30)
        model.close()
    assert "a server cannot score a given text; use hf:FOLDER" in str(error)


def served(answer, asked, **settings):
    """(completion or error, body sent) of one request."""
    with fake_server(answer) as fake:
        settings = OpenAISettings(base_url=fake.url, max_retries=0, **settings)
        model = OpenAIModel("m", settings=settings)
        try:
            future = model.submit([ask(form=model.form, logprobs=asked)])[0]
            return future.exception(30) or future.result(), fake.calls[-1][1]
        finally:
            model.close()


def reply(logprobs, chat=True):
    said = {"message": {"role": "assistant", "content": "no"}} if chat else {"text": "no"}
    return Reply(body={"choices": [{**said, "finish_reason": "stop", "logprobs": logprobs}]})


CHAT = {
    "content": [
        {
            "token": "no",
            "logprob": -0.1,
            "top_logprobs": [{"token": "no", "logprob": -0.1}, {"token": "yes", "logprob": -2.5}],
        },
        {"token": "<|end|>", "logprob": 1e-9, "bytes": None, "top_logprobs": []},
    ]
}
COMPLETIONS = {
    "tokens": ["no", "<|end|>"],
    "token_logprobs": [-0.1, 1e-9],
    "top_logprobs": [{"no": -0.1, "yes": -2.5}, None],
}
READ = (
    TokenLogprob(text="no", logprob=-0.1, of={"yes": -2.5, "no": -0.1}),
    TokenLogprob(text="<|end|>", logprob=0.0, of={}),
)


@pytest.mark.parametrize("form", [CHAT, COMPLETIONS], ids=["chat", "completions"])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_both_protocols_are_asked_and_either_form_is_read(api, form):
    """llama.cpp answers /completions in the chat's form."""
    chat = api == "chat"
    done, body = served(lambda n, b: reply(form, chat), ("yes", "no", "maybe"), api=api)
    assert (done.text, done.token_logprobs) == ("no", READ)
    fields = {name: body[name] for name in ("logprobs", "top_logprobs") if name in body}
    assert fields == ({"logprobs": True, "top_logprobs": 20} if chat else {"logprobs": 20})
    done, body = served(lambda n, b: reply(form, chat), (), api=api, top_logprobs=5)
    assert done.token_logprobs == tuple(t.model_copy(update={"of": {}}) for t in READ)
    assert body["logprobs"] == (True if chat else 1)
    assert "top_logprobs" not in body


def test_what_is_not_asked_for_is_neither_sent_nor_read():
    done, body = served(lambda n, b: reply({"content": "nonsense"}), None)
    assert done.token_logprobs == ()
    assert "logprobs" not in body


def test_a_server_that_ignores_or_refuses_them_is_one_line_with_a_way_out():
    error, _ = served(lambda n, b: Reply("no"), ("yes",))
    assert type(error) is ModelError
    assert str(error).startswith("openai:m: log-probabilities were asked for, and the text came")
    assert "hf:FOLDER" in str(error)
    refusal = {"error": {"message": "at most 5", "param": "logprobs"}}
    error, _ = served(lambda n, b: Reply(status=400, body=refusal), ("yes",), api="completions")
    assert "lower top_logprobs" in str(error)


@pytest.mark.parametrize(
    "said",
    [
        {"content": [{"token": "no"}]},
        {"content": [{"token": "no", "logprob": None}]},
        {"content": [{"token": "no", "logprob": "-1"}]},
        {"content": [{"token": "no", "logprob": 3.0}]},
        {"content": [{"token": 3, "logprob": -1.0}]},
        {"content": ["no"]},
        {"tokens": ["no"], "token_logprobs": []},
        {"tokens": ["no"], "token_logprobs": [-1.0], "top_logprobs": ["no"]},
    ],
    ids=str,
)
def test_log_probabilities_that_cannot_be_are_refused(said):
    error, _ = served(lambda n, b: reply(said), ("yes",))
    assert type(error) is ModelError
    assert "log-probabilities that cannot be" in str(error)


def test_the_logarithm_of_zero_can_be_written_as_json():
    said = {"tokens": ["no"], "token_logprobs": [-math.inf], "top_logprobs": None}
    done, _ = served(lambda n, b: reply(said), ())
    assert done.token_logprobs[0].logprob == LOWEST_LOGPROB


class Sure(IRCoT):
    """IRCoT that asks how sure the model is of each of its texts."""

    name = "sure"

    def run(self, trace):
        actions = super().run(trace)
        action = next(actions)
        while True:
            if isinstance(action, Generate):
                action = replace(action, logprobs=("yes",))
            result = yield action
            if isinstance(result, Completion):
                self.seen.append(result.token_logprobs)
            try:
                action = actions.send(result)
            except StopIteration as stop:
                return stop.value


def with_logprobs(request):
    return Completion(
        text=film_script(request), token_logprobs=(TokenLogprob(text="a", logprob=-float(1)),)
    )


def run_sure(script, **settings):
    strategy = Sure()
    strategy.seen = []
    engine = Engine(strategy, ScriptedModel(script), DictRetriever(FILM), **settings)
    return list(engine.run(film_questions(1))), strategy.seen


def test_a_strategy_gets_them_and_again_when_it_is_resumed():
    rows = []
    whole, seen = run_sure(with_logprobs, record=rows.extend)
    assert whole[0].status == "answered"
    assert [tokens[0].logprob for tokens in seen] == [-1.0, -1.0, -1.0]
    resumed, again = run_sure(lambda r: ModelError("asked"), recorded={("q0", 0): rows})
    assert (resumed, again) == (whole, seen)


def test_a_model_that_gives_none_to_a_strategy_that_asks_fails_with_what_to_do():
    with pytest.raises(ModelError, match="log-probabilities were asked for, and the text came"):
        run_sure(film_script)


def test_only_asking_for_them_changes_a_requests_digest():
    prompt = ask("Who?").prompt
    plain = Generate(1, "reason", prompt, (), 9)
    assert request_digest(plain) == "637f61b2b77db05b"
    asked = {request_digest(replace(plain, logprobs=names)) for names in ((), ("a",), ("b",))}
    assert len(asked | {request_digest(plain)}) == 4
