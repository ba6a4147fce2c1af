"""What is paid for again when a command is killed: counted at a real server.

STEPER_KILLS says how often each is killed (5). Each life of a command has an address of its own at
the server, and each answer says in its usage which prompt it was for, which is in the journals.
"""

import json
import random
import re
import shutil
from collections import Counter
from functools import partial
from zlib import crc32

import pytest
import yaml

from doubles import FILM, film_questions
from killing import KILLS, contents, killed_or_ended, one_process
from lm.fake_server import Reply, fake_server

IN_FLIGHT = 8
QUESTIONS = 60

TEACH = "--config {config} --in-flight 8 --demos 0 --questions {made}/questions.jsonl --corpus "
TEACH = f"teach --model openai:m {TEACH}{{made}}/index --out"
COMMANDS = {
    "teach": f"{TEACH} {{out}}/run",
    "relabel": "relabel {made}/run --model openai:m --config {config} --in-flight 8 "
    "--out {out}/steps",
    "build": "build {made}/run --judge openai:m --config {config} --in-flight 8 --judged steps "
    "--out {out}/examples",
}
JOURNALS = ("actions.jsonl", "trajectories.part", "trajectories.jsonl", "verdicts.jsonl")


def name_of(prompt):
    """A number for a prompt, always the same; never 0."""
    return crc32(prompt.encode()) % 90_000_000 + 1


def answers(number, body):
    """What the teacher, or the judge, says: a matter of the prompt alone, after up to 50 ms."""
    prompt = body["messages"][-1]["content"]
    name = name_of(prompt)
    if "one word" in prompt:
        text = "yes" if name % 9 else "no"
    else:
        asked = re.search(r"number (\d+)", prompt)[1]
        facts = ("Gold Rain was directed by Ann Lee", "Ann Lee was born in 1950")
        told = prompt.count(f", says {asked}.")
        text = f"{facts[told]}, says {asked}." if told < 2 else "So the answer is: 1950."
    usage = {"prompt_tokens": name, "completion_tokens": 3}
    return Reply(text, usage=usage, sleep=random.Random(name).uniform(0.005, 0.05))


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with one_process(tmp_path_factory) as commands:
        yield commands


@pytest.fixture(scope="module")
def server():
    with fake_server(answers) as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory, commands, server):
    folder = tmp_path_factory.mktemp("made")
    questions = [q.model_dump(mode="json") for q in film_questions(QUESTIONS)]
    rows = [{"id": q["id"], "question": q["text"], "answers": q["answers"]} for q in questions]
    write_lines(folder / "questions.jsonl", rows)
    corpus = [{"title": title, "text": text} for title, text in FILM.items()]
    write_lines(folder / "corpus.jsonl", corpus)
    commands.run(f"index --corpus {folder}/corpus.jsonl --out {folder}/index")
    config = config_of(folder, server, "made")
    commands.run(f"{TEACH} {{made}}/run".format(made=folder, config=config))
    return folder


def write_lines(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def config_of(folder, server, life):
    """A configuration of a model at the server's address for one life of a command."""
    path = folder / "model.yaml"
    url = server.url.replace("/v1", f"/{life}/v1")
    path.write_text(yaml.safe_dump({"openai": {"base_url": url, "continuation": "none"}}))
    return path


def asked_in(server, life):
    """The prompts that one life of a command asked, by number, in order."""
    calls = [*server.calls]
    return [name_of(b["messages"][-1]["content"]) for p, b, _ in calls if f"/{life}/" in p]


def kept(folder):
    """The prompts whose answers are on disk, in a journal or in what was made of one."""
    found = set()
    for path in folder.rglob("*.*"):
        if path.name in (
            "actions.jsonl",
            "trajectories.part",
            "trajectories.jsonl",
            "verdicts.jsonl",
        ):
            lines = path.read_bytes().split(b"\n")[:-1]  # one that was cut short is not kept
            found |= {int(n) for line in lines for n in re.findall(rb'"prompt_tokens":(\d+)', line)}
    return found - {0}


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * KILLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_was_kept_is_never_paid_again(made, commands, server, tmp_path, name):
    """Paid again is at most what was under way at a kill, and each of those once."""
    out = tmp_path / "out"
    out.mkdir()
    config = config_of(tmp_path, server, f"{name}-whole")
    line = COMMANDS[name].format(made=made, out=out, config=config)
    commands.run(line)
    undisturbed, whole = contents(out), asked_in(server, f"{name}-whole")
    times = [at for path, _, at in server.calls if f"/{name}-whole/" in path]
    span = times[-1] - times[0]
    assert len({*whole}) == len(whole)  # no two prompts have one number
    kills, again, most, rng = 0, 0, 0, random.Random(name)
    begun, life = True, 0
    while kills < KILLS or not begun:
        if begun:
            shutil.rmtree(out)
            out.mkdir()
            before, calls, lost = set(), Counter(), Counter()
        life += 1
        address = f"{name}-{life}"
        config_of(tmp_path, server, address)
        # Mostly while it asks; some while it starts.
        if kills == KILLS:
            code = killed_or_ended(commands, line, 600, rng)
        elif rng.random() < 0.1:
            code = killed_or_ended(commands, line, rng.uniform(0, 0.3), rng)
        else:
            asks = partial(asked_in, server, address)
            code = killed_or_ended(commands, line, rng.uniform(0, span / 2), rng, asks)
        done = not code or (out / "examples" / "manifest.json").exists()
        after = {*whole} if done else kept(tmp_path)
        asked = asked_in(server, address)
        assert len({*asked}) == len(asked)  # within a life nothing is asked twice
        assert not before & {*asked}  # what was kept before is not asked again
        assert before <= after <= before | {*asked}  # and stays
        under_way = {*asked} - after
        assert len(under_way) <= IN_FLIGHT
        calls.update(asked)
        lost.update(under_way)
        most, again, kills = max(most, len(under_way)), again + len(under_way), kills + bool(code)
        before, begun = after, not code
        if not code:
            assert contents(out) == undisturbed
            # Each was paid for once, and once more for each kill that it was under way at.
            assert calls == Counter(whole) + lost
            assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    print(
        f"{name}: {kills} kills, {life} lives, {len(whole)} requests undisturbed; "
        f"paid again: {again}, at most {most} at a kill, of {IN_FLIGHT} under way"
    )
