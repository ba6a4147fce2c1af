"""Keys and values of earlier prompts are used again, and no text changes by it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch

from lm.asking import ask
from lm.tiny import make_tiny_llama
from steper.lm.hf import HFModel
from steper.lm.hf_kv import why_not
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.lm.prefix_cache import PrefixCache

WORDS = ["film", "town", "author", "river", "king", "school", "directed", "born", "the", "of"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "chat")


def steps(questions=4, count=4, **fields):
    """Prompts as of trajectories: the same head, passages that grow, then question and text."""
    rng = random.Random(0)
    head = "Read and answer. " * 3
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for _ in range(40)]
    prompts = []
    for step in range(1, count + 1):
        for n in range(questions):
            passages = "\n".join(texts[(n * 7 + i) % 40] for i in range(2 * step))
            said = " ".join(texts[(n + i) % 40] for i in range(step - 1))
            text = f"{head}{passages}\nQuestion {n}: {texts[n]}? {said}"
            request = ask(text, question_id=str(n), step=step, form="chat", **fields)
            prompts.append(request)
    return prompts


def written(model, requests, together=5):
    """Completions, a few requests at a time, so that later ones find what earlier ones left."""
    done = []
    for at in range(0, len(requests), together):
        done += [f.result(60) for f in model.submit(requests[at : at + together])]
    return done


def opened(folder, generation=None, **settings):
    return HFModel(str(folder), generation=generation, settings=HFSettings(**settings))


def transformers_own(folder, requests, **fields):
    """The same by transformers' own loop, one request at a time."""
    model = opened(folder, batch_size=1, **fields)
    written(model, requests[:1])
    model._generator = None
    done = written(model, requests, 1)
    model.close()
    return done


@pytest.fixture(scope="module")
def expected(folder):
    """What the requests of the next test get by transformers' own loop."""
    return transformers_own(folder, steps(max_tokens=24, stop=("\n",)))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prefix_cache_mib": 0},
        {"prefill_tokens": 1},
        {"prefill_tokens": 100_000, "batch_size": 3},
        {"attention": "eager"},
    ],
)
def test_reuse_changes_no_text(folder, expected, settings):
    model = opened(folder, **settings)
    assert written(model, steps(max_tokens=24, stop=("\n",))) == expected
    model.close()


def test_reuse_changes_no_text_of_a_cache_too_small_for_it(folder, expected):
    requests = steps(max_tokens=24, stop=("\n",))
    model = opened(folder)
    (first,) = written(model, requests[:1])
    model._generator.prefixes.limit_bytes = 60_000
    assert [first, *written(model, requests[1:])] == expected
    assert 0 < model._generator.prefixes.bytes <= 60_000
    model.close()


@pytest.mark.slow
def test_rows_that_end_early_leave_the_others_as_they_are(folder):
    requests = [
        ask(r.prompt.text(), question_id=r.question_id, form="chat", max_tokens=1 + 29 * n % 40)
        for n, r in enumerate(steps())
    ]
    model = opened(folder)
    assert written(model, requests, 24) == transformers_own(folder, requests)
    model.close()


@pytest.mark.slow
def test_samples_are_those_without_reuse(folder):
    sampled = GenerationSettings(temperature=0.8, top_p=0.9, seed=3)
    requests = steps(max_tokens=24)
    model = opened(folder, sampled)
    assert written(model, requests) == transformers_own(folder, requests, generation=sampled)
    model.close()


def test_a_prompt_pays_only_for_what_no_earlier_one_had(folder):
    model = opened(folder)
    requests = steps(questions=1, max_tokens=1)
    written(model, requests[:1])
    counts = []
    forward = model._loaded.model.forward

    def count(**kwargs):
        counts.append(kwargs["input_ids"].numel())
        return forward(**kwargs)

    model._loaded.model.forward = count
    ids = [model._text.encode(request) for request in requests]
    written(model, [requests[0], *requests[1:]], 1)
    model.close()
    same = [common(a, b) for a, b in pairwise(ids)]
    assert counts == [1, *(len(b) - n for b, n in zip(ids[1:], same, strict=True))]
    assert all(n > len(a) / 3 for a, n in zip(ids, same, strict=False))


def common(a, b):
    return next(n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)


CONFIGS = {
    "llama": ({}, None),
    "qwen3": ({"head_dim": 8}, None),
    "gpt_neox": ({}, None),
    "mistral": ({"sliding_window": 16}, "sliding window"),
    "gemma3_text": ({"head_dim": 8, "sliding_window": 16}, "sliding window"),
    "phi3": ({"sliding_window": None}, "prepares its inputs"),
    "mamba": ({"state_size": 4}, "prepares its inputs|plain keys and values"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_whose_keys_and_values_cannot_be_shared_are_told_apart(kind):
    fields, reason = CONFIGS[kind]
    model = tiny_of(kind, **fields)
    found = why_not(model)
    if reason is None:
        assert found is None
    else:
        assert any(part in found for part in reason.split("|"))


def tiny_of(kind, **fields):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 600,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
    }
    config = AutoConfig.for_model(kind, **sizes | fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)


def test_rotary_embeddings_that_change_with_length_are_not_shared():
    model = tiny_of("llama", rope_parameters={"rope_type": "dynamic", "factor": 2.0})
    assert "rotary" in why_not(model)
    yarn = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    yarn |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    assert why_not(tiny_of("llama", rope_parameters=yarn)) is None


@pytest.mark.parametrize(
    "kind", ["mistral", *(pytest.param(k, marks=pytest.mark.slow) for k in ("qwen3", "phi3"))]
)
def test_other_models_write_what_transformers_own_loop_writes(folder, tmp_path, kind):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = tiny_of(kind, **CONFIGS[kind][0], eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    requests = steps(questions=3, count=3, max_tokens=16)
    reusing = opened(tmp_path)
    done = written(reusing, requests)
    assert (reusing._generator is None) == (CONFIGS[kind][1] is not None)
    reusing.close()
    assert done == transformers_own(tmp_path, requests)


def kv(ids, start=0):
    """(2, 1, T, 1) that tells each token's value and its place."""
    values = [[100 * token + place for place, token in enumerate(ids)][start:]]
    return torch.tensor([values, values], dtype=torch.float32)[..., None]


def matched(cache, ids):
    pieces = cache.match(ids)
    return torch.cat(pieces, dim=2)[0, 0, :, 0].tolist() if pieces else []


def test_a_prefix_is_found_again_whatever_prompts_it_came_from():
    rng = random.Random(1)
    cache = PrefixCache(1 << 20)
    seen = []
    for _ in range(300):
        ids = [rng.randint(0, 2) for _ in range(rng.randint(1, 12))]
        best = max((len(shared(ids[:-1], old)) for old in seen), default=0)
        found = matched(cache, ids)
        assert found == kv(ids)[0, 0, :best, 0].tolist()
        cache.add(ids, kv(ids, len(found)))
        seen.append(ids)
    distinct = {tuple(ids[:n]) for ids in seen for n in range(1, len(ids) + 1)}
    assert cache.bytes == len(distinct) * 8  # each shared beginning once


def shared(a, b):
    return a[: next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))]


def test_the_least_recently_used_goes_first_and_shared_beginnings_stay():
    cache = PrefixCache(8 * 8)  # eight tokens
    for tail in ([3, 4], [5, 6], [7, 8]):
        ids = [1, 2, *tail]
        cache.add(ids, kv(ids, len(matched(cache, ids))))
    again = [1, 2, 3, 4, 0]
    cache.add(again, kv(again, len(matched(cache, again))))
    assert cache.bytes <= 8 * 8
    assert len(matched(cache, [1, 2, 3, 4, 9])) == 4
    assert len(matched(cache, [1, 2, 5, 6, 9])) == 2
    assert len(matched(cache, [1, 2, 7, 8, 9])) == 4
    cache.clear()
    assert (cache.bytes, matched(cache, again)) == (0, [])
