from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from doubles import FILM, DictRetriever, film_questions
from lm.asking import ask
from lm.tiny import make_tiny_llama
from steper.errors import MissingExtraError, ModelError, SettingsError
from steper.lm import hf_load
from steper.lm.futures import CompletionFuture
from steper.lm.hf import HFModel
from steper.lm.hf_batch import BatchRow, Sampler, keep_top_p, pick_batch
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Prompt, Segment
from steper.runs import teach
from steper.strategy.ircot import IRCoT

TRANSFORMERS = tuple(int(part) for part in transformers.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {
        "chat": make_tiny_llama(root / "chat"),
        "plain": make_tiny_llama(root / "plain", chat=False, window=128),
    }


@pytest.fixture(scope="module")
def chat(folders):
    model = HFModel(str(folders["chat"]))
    yield model
    model.close()


@pytest.fixture(scope="module")
def plain(folders):
    model = HFModel(str(folders["plain"]))
    yield model
    model.close()


def questions(count, form="chat", **fields):
    places = (f"the town {'of the author ' * (n % 9)}" for n in range(count))
    return [
        ask(f"Who directed film {n} in {p}?", question_id=str(n), form=form, **fields)
        for n, p in enumerate(places)
    ]


def results(model, requests):
    return [f.result(60) for f in model.submit(requests)]


def alone(folder, text, max_tokens=30):
    """What transformers' own greedy search writes after `text`, unpadded."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=max_tokens, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_greedy_equals_transformers_own_generation(folders, chat, plain):
    requests = questions(4, "plain", max_tokens=30)
    written = [done.text for done in results(plain, requests)]
    assert written == [alone(folders["plain"], r.prompt.text()) for r in requests]
    (done,) = results(chat, [ask("Who?", form="chat", max_tokens=30)])
    assert done.text == alone(folders["chat"], "<|user|>Who?<|end|><|assistant|>")


def test_an_assistants_open_turn_is_continued(folders, chat):
    turn = Prompt("chat", (Segment("user", "Who?"), Segment("assistant", "The film was")))
    request = ask(max_tokens=30)
    object.__setattr__(request, "prompt", turn)
    (done,) = results(chat, [request])
    assert done.text == alone(folders["chat"], "<|user|>Who?<|end|><|assistant|>The film was")


def test_a_template_that_continues_no_turn_falls_back_to_the_users(folders, tmp_path, caplog):
    folder = shutil.copytree(folders["chat"], tmp_path / "m")
    path = next(
        p for p in (folder / "chat_template.jinja", folder / "tokenizer_config.json") if p.exists()
    )
    # As Qwen3-Thinking's does: the generation prompt opens thoughts that no message shows.
    path.write_text(
        path.read_text().replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    )
    model = HFModel(str(folder))
    try:
        prompt = PromptSettings(demos=0, reasoning="assistant")
        run = teach(
            film_questions(2), IRCoT(None, prompt), model, DictRetriever(FILM), tmp_path / "r"
        )
        settings = run.manifest["settings"]
        assert run.manifest["counts"]["failed"] == 0
    finally:
        model.close()
    assert "reasoning" not in settings["prompt"]
    assert settings["model"]["continuation"] == "none"
    (said,) = (r.getMessage() for r in caplog.records if "reasoning: user" in r.getMessage())
    assert "does not show an assistant's message" in said


def test_a_template_that_continues_turns_records_nothing(chat, caplog):
    assert chat.continues_turns()
    assert "continuation" not in chat.fingerprint()
    assert caplog.text == ""


def test_batching_changes_no_text(folders, chat):
    requests = questions(24, max_tokens=24)
    together = results(chat, requests)
    single = HFModel(str(folders["chat"]), settings=HFSettings(batch_size=1))
    assert [single.submit([r])[0].result(60) for r in requests] == together
    single.close()
    assert {done.finish for done in together} == {"length"}
    assert all(done.usage.completion_tokens == 24 for done in together)


def test_each_request_has_its_own_stops_and_limit(chat):
    (free,) = results(chat, [ask("Who?", form="chat", max_tokens=40)])
    stop = free.text[9:12]
    cut, short, same = results(
        chat,
        [
            ask("Who?", form="chat", max_tokens=40, stop=("no such text", stop)),
            ask("Who?", form="chat", max_tokens=3),
            ask("Who?", form="chat", max_tokens=40),
        ],
    )
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.usage.completion_tokens < free.usage.completion_tokens
    assert free.text.startswith(short.text)
    assert (short.finish, short.usage.completion_tokens) == ("length", 3)
    assert same == free


def test_every_stop_string_inside_the_text_is_found_where_it_stands(chat):
    """Also those that begin or end inside a token, or inside a character of several bytes."""
    (free,) = results(chat, [ask("Who wrote it?", form="chat", max_tokens=40)])
    stops = [free.text[n : n + size] for n in range(len(free.text)) for size in (1, 2, 5)]
    requests = [ask("Who wrote it?", form="chat", max_tokens=40, stop=(s,)) for s in stops]
    for stop, done in zip(stops, results(chat, requests), strict=True):
        assert done.text == free.text[: free.text.index(stop)]
        assert done.finish == "stop"


def test_a_stop_string_in_the_prompt_stops_nothing(chat):
    (free,) = results(chat, [ask("Who?", form="chat", max_tokens=20)])
    (done,) = results(chat, [ask("Who?", form="chat", max_tokens=20, stop=("?<|end|>", "Who"))])
    assert done == free


def test_end_of_sequence_ends_a_row(folders, tmp_path):
    (free,) = results_of_copy(folders["chat"], tmp_path / "a", eos=[1])
    third = free_ids(folders["chat"], free.text)[2]
    (ended,) = results_of_copy(folders["chat"], tmp_path / "b", eos=[1, third])
    assert ended.finish == "stop"
    assert ended.usage.completion_tokens == 3
    assert free.text.startswith(ended.text)


def free_ids(folder, text):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


def results_of_copy(folder, copy, eos):
    shutil.copytree(folder, copy)
    path = copy / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": eos}))
    model = HFModel(str(copy))
    done = results(model, [ask("The film was directed", form="chat", max_tokens=12)])
    model.close()
    return done


@pytest.mark.parametrize(
    ("name", "field", "value", "said"),
    [
        ("generation_config.json", "eos_token_id", "x", "eos_token_id is 'x'; an id, or a list"),
        ("tokenizer_config.json", "model_max_length", "x", "model_max_length is 'x'; a number"),
        ("tokenizer.json", "added_tokens", 3, "reading its tokenizer.json and tokenizer_config"),
        # before 5.4, transformers checks no field of a configuration: only the files are named
        ("config.json", "hidden_size", "x", "reading its .*config.json"),
        pytest.param(
            *("config.json", "hidden_size", "x", "reading its config.json .*'hidden_size': "),
            marks=pytest.mark.skipif(TRANSFORMERS < (5, 4), reason="names no field"),
        ),
    ],
)
def test_a_models_files_are_told_by_file_and_field(folders, tmp_path, name, field, value, said):
    shutil.copytree(folders["chat"], tmp_path / "m")
    path = tmp_path / "m" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ModelError, match=said) as caught:
        HFModel(str(tmp_path / "m"))
    assert "\n" not in str(caught.value)
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match=f"{name}: a file was expected|no config.json"):
        HFModel(str(tmp_path / "m"))


def test_the_models_own_sampling_defaults_are_left_out(folders, chat, tmp_path):
    shutil.copytree(folders["chat"], tmp_path / "m")
    path = tmp_path / "m" / "generation_config.json"
    own = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 5.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    model = HFModel(str(tmp_path / "m"))
    request = questions(1, max_tokens=20)
    assert results(model, request) == results(chat, request)
    model.close()


def test_samples_depend_on_seed_and_request_not_on_the_batch(folders):
    requests = questions(12, max_tokens=16)

    def sample(seed, batch_size, order):
        model = HFModel(
            str(folders["chat"]),
            generation=GenerationSettings(temperature=0.8, top_p=0.9, seed=seed),
            settings=HFSettings(batch_size=batch_size),
        )
        done = dict(zip(order, results(model, [requests[n] for n in order]), strict=True))
        model.close()
        return [done[n].text for n in range(12)]

    first = sample(0, 12, range(12))
    assert first == sample(0, 5, range(11, -1, -1)) == sample(0, 1, range(12))
    assert first != sample(1, 12, range(12))


def test_sampler_draws_from_the_softmax_and_top_p_keeps_the_smallest_set():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    counts = torch.zeros(4)
    rows = [BatchRow(ask(question_id=str(n)), CompletionFuture()) for n in range(4000)]
    chosen = Sampler(rows, GenerationSettings(temperature=1.0))(None, scores.repeat(4000, 1))
    counts = (chosen == 0).sum(0) / 4000
    assert torch.allclose(counts, scores.exp()[0], atol=0.03)
    probs = torch.tensor([[0.15, 0.5, 0.05, 0.3]])
    assert keep_top_p(probs, 0.8).tolist() == [[0, 0.5, 0, pytest.approx(0.3)]]
    assert keep_top_p(probs, 0.81).count_nonzero() == 3
    assert keep_top_p(probs, 0.1).count_nonzero() == 1


def test_pick_batch_takes_the_oldest_and_its_neighbours_in_length():
    rows = [
        BatchRow(ask(), CompletionFuture(), prompt_ids=[0] * length, limit=10)
        for length in (50, 500, 48, 52, 10)
    ]
    lengths = [len(row.prompt_ids) for row in pick_batch(rows, 3, 10_000)]
    assert lengths == [50, 48, 52]
    assert [len(r.prompt_ids) for r in pick_batch(rows, 9, 125)] == [50, 48]
    assert [len(r.prompt_ids) for r in pick_batch(rows[1:2], 9, 10)] == [500]


def test_a_prompt_longer_than_the_window_fails_alone_and_a_full_one_ends(plain):
    words = "film " * 400
    long, fits, good = plain.submit(
        [ask(words), ask("a " * 60, max_tokens=500), ask("Who?", max_tokens=2)]
    )
    error = long.exception(30)
    assert isinstance(error, ModelError)
    assert "context window is 128" in str(error)
    assert fits.result(30).finish == "length"
    usage = fits.result().usage
    assert usage.prompt_tokens + usage.completion_tokens == 128
    assert good.result(30).usage.completion_tokens == 2


def test_form_window_and_token_counts(chat, plain):
    assert (chat.form, chat.context_window) == ("chat", 2048)
    assert (plain.form, plain.context_window) == ("plain", 128)
    assert chat.count_tokens("") == 0
    (done,) = results(plain, [ask("The film was", max_tokens=1)])
    assert plain.count_tokens("The film was") == done.usage.prompt_tokens
    error = plain.submit([ask(form="chat")])[0].exception(30)
    assert isinstance(error, ModelError)
    assert "chat template" in str(error)


def test_fingerprint_tells_weights_dtype_and_sampling_apart(folders, chat, tmp_path):
    def fingerprint(folder, **settings):
        model = HFModel(str(folder), **settings)
        model.close()
        return model.fingerprint()

    base = chat.fingerprint()
    assert fingerprint(folders["chat"]) == base
    assert json.loads(json.dumps(base)) == base
    half = fingerprint(folders["chat"], settings=HFSettings(dtype="bfloat16"))
    assert half["dtype"] == "bfloat16"
    sampled = fingerprint(folders["chat"], generation=GenerationSettings(temperature=1.0))
    copy = shutil.copytree(folders["chat"], tmp_path / "m")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    other = fingerprint(copy)
    assert other["digest"] != base["digest"]
    assert sampled != base


def test_arguments_of_the_template_and_the_day_it_is_told_are_in_the_fingerprint(folders, tmp_path):
    copy = shutil.copytree(folders["chat"], tmp_path / "m")
    template = copy / "chat_template.jinja"
    switch = "{% if think is defined %}{{ think }}{% endif %}"
    template.write_text(template.read_text() + switch)
    base, other = asked_with(copy, {}), asked_with(copy, {"think": "think: no"})
    assert "chat_template_kwargs" not in base[0]
    assert "today" not in base[0]
    assert other[0] == {**base[0], "chat_template_kwargs": {"think": "think: no"}}
    assert other[1] > base[1]
    with pytest.raises(SettingsError, match="thinks: the model's chat template does not ask for"):
        asked_with(copy, {"thinks": False})
    template.write_text(template.read_text() + "{{ strftime_now('%d %b %Y') }}")
    assert asked_with(copy, {})[0]["today"] == "2024-07-26"


def asked_with(folder, arguments):
    """(fingerprint, tokens of a prompt) of a model whose template gets these arguments."""
    model = HFModel(str(folder), settings=HFSettings(chat_template_kwargs=arguments))
    (done,) = results(model, [ask("Who?", form="chat", max_tokens=1)])
    model.close()
    return model.fingerprint(), done.usage.prompt_tokens


def test_a_chat_ends_where_the_template_ends_a_turn(folders, tmp_path):
    """A base model ends a document with another token, the one that its settings know."""
    copy = shutil.copytree(folders["chat"], tmp_path / "m")
    for name, value in (("generation_config", 0), ("config", 0), ("tokenizer_config", "<|pad|>")):
        path = copy / f"{name}.json"
        key = "eos_token" if name == "tokenizer_config" else "eos_token_id"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    model = HFModel(str(copy))
    model.close()
    assert model._loaded.eos == {0}
    assert model._eos == {0, 1}


def test_dtype_is_bfloat16_only_for_16_bit_weights_on_fast_hardware(monkeypatch):
    from transformers import LlamaConfig

    monkeypatch.setattr(hf_load, "multiplies_bfloat16_fast", lambda: True)
    chosen = {
        stored: hf_load._dtype("auto", "cpu", LlamaConfig(dtype=stored))
        for stored in ("bfloat16", "float16", "float32")
    }
    assert chosen == {"bfloat16": "bfloat16", "float16": "bfloat16", "float32": "float32"}
    monkeypatch.setattr(hf_load, "multiplies_bfloat16_fast", lambda: False)
    assert hf_load._dtype("auto", "cpu", LlamaConfig(dtype="bfloat16")) == "float32"
    assert hf_load._dtype("bfloat16", "cpu", LlamaConfig(dtype="float32")) == "bfloat16"


@pytest.mark.parametrize(("half", "fast"), [(0.004, True), (0.009, False), (0.02, False)])
def test_bfloat16_is_fast_where_it_is_measured_to_be(monkeypatch, half, fast):
    """Seconds of a float32 product here: 0.01; the first of each is slow."""
    clock = [0.0]
    calls = []

    def multiply(left, right):
        calls.append(left.dtype)
        seconds = half if left.dtype == torch.bfloat16 else 0.01
        clock[0] += seconds + (1.0 if len(calls) <= 2 else 0.0)

    monkeypatch.setattr(torch, "mm", multiply)
    monkeypatch.setattr(hf_load.time, "perf_counter", lambda: clock[0])
    assert hf_load.multiplies_bfloat16_fast.__wrapped__() is fast


def broken(folder, target, name, content):
    copy = shutil.copytree(folder, target / "broken")
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"not weights"),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "vit"}'),
        ("config.json", b'{"model_type": "nonesuch"}'),
    ],
)
def test_folders_that_hold_no_causal_lm_are_one_line(folders, tmp_path, name, content):
    with pytest.raises(ModelError, match="cannot be loaded as a causal LM") as caught:
        HFModel(str(broken(folders["chat"], tmp_path, name, content)))
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_made_up(folders, tmp_path):
    copy = shutil.copytree(folders["chat"], tmp_path / "m")
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"9 weights are missing from its files \(model.layers.2"):
        HFModel(str(copy))


def test_what_is_no_model_folder_says_so(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        HFModel(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match=r"no config.json, so it holds no model"):
        HFModel(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="base_model_name_or_path is None; the adapter's base"):
        HFModel(str(tmp_path))
    with pytest.raises(ModelError, match="is a file"):
        HFModel(str(tmp_path / "adapter_config.json"))


def test_an_unknown_hub_name_is_one_line(monkeypatch):
    import transformers

    def fail(*args, **kwargs):
        raise OSError("not found\nsee the documentation")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fail)
    with pytest.raises(ModelError, match="no such folder, and the Hugging Face hub") as caught:
        HFModel("nonesuch/model")
    assert "\n" not in str(caught.value)


def test_a_model_may_be_spread_over_devices(folders, monkeypatch):
    placed = []
    original = AutoModelForCausalLM.from_pretrained

    def load(*args, **kwargs):
        placed.append(kwargs.get("device_map"))
        return original(*args, **kwargs)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load)
    texts = []
    for settings in (HFSettings(), HFSettings(device_map="auto")):
        model = HFModel(str(folders["chat"]), settings=settings)
        texts.append([found.text for found in results(model, questions(3, max_tokens=4))])
        model.close()
    assert placed == [None, "auto"]
    assert texts[0] == texts[1]
    with pytest.raises(ValueError, match="device is cpu, but device_map chooses the devices"):
        HFSettings(device="cpu", device_map="auto")
    monkeypatch.setattr(hf_load, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"package accelerate.*steper\[train\]"):
        HFModel(str(folders["chat"]), settings=HFSettings(device_map="auto"))


def test_an_unusable_device_is_one_line(folders):
    with pytest.raises(ModelError, match="device 'cuda:77' cannot be used here"):
        HFModel(str(folders["chat"]), settings=HFSettings(device="cuda:77"))


def test_a_failure_inside_the_worker_reaches_the_futures_and_the_worker_lives(folders):
    model = HFModel(str(folders["chat"]))
    results(model, questions(1, max_tokens=1))
    forward = model._loaded.model.forward
    failures = [ZeroDivisionError("a bug"), torch.OutOfMemoryError("out of memory")]

    def fail(*args, **kwargs):
        if failures:
            raise failures.pop(0)
        return forward(*args, **kwargs)

    model._loaded.model.forward = fail
    requests = questions(3, max_tokens=2)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        results(model, requests)
    assert len(results(model, requests)) == 3  # halved after running out of memory
    failures.append(torch.OutOfMemoryError("out of memory"))
    with pytest.raises(ModelError, match="out of memory on cpu with one request"):
        results(model, requests[:1])
    assert len(results(model, requests)) == 3
    model.close()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGINT)"])
def test_the_process_ends_cleanly_in_mid_batch_without_close(folders, end):
    code = f"""
import os, signal, time
from lm.asking import ask
from steper.lm.hf import HFModel
model = HFModel({str(folders["chat"])!r})
futures = model.submit([ask(max_tokens=1900) for n in range(8)])
time.sleep(0.3)
{end}
futures[0].result()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == (3 if "Exit" in end else -signal.SIGINT), done.stderr
    assert "terminate" not in done.stderr


def test_small_models_run_on_one_thread_until_closed(folders):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = HFModel(str(folders["chat"]))
        seen = []
        forward = model._loaded.model.forward

        def note(*args, **kwargs):
            seen.append(torch.get_num_threads())
            return forward(*args, **kwargs)

        model._loaded.model.forward = note
        results(model, questions(1, max_tokens=1))
        model.close()
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_close_in_mid_batch_is_quick_and_cancels(folders):
    before = threading.active_count()
    model = HFModel(str(folders["chat"]), settings=HFSettings(batch_size=2))
    futures = model.submit(questions(6, max_tokens=1500))
    futures[5].cancel()
    time.sleep(0.3)
    start = time.monotonic()
    model.close()
    model.close()
    assert time.monotonic() - start < 1.0
    done, late = wait(futures, timeout=1)
    assert not late
    assert all(f.cancelled() for f in done)
    assert threading.active_count() <= before
    with pytest.raises(ModelError, match="closed"):
        model.submit(questions(1))
