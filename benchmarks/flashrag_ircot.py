"""IRCoT by this package against FlashRAG's own IRCoT pipeline: questions a second on a CPU.

    pip install --no-deps flashrag-dev==0.1.2 tiktoken
    python benchmarks/flashrag_ircot.py [--questions 100] [--rounds 3] [--batch 32]

Both ask the shipped teacher in float32 the same test questions of a generated world, with the same
BM25 index, K = 4 passages a search, at most S = 5 steps of at most 64 tokens, greedily, without a
forced answer, in the prompts that the teacher was trained on: FlashRAG's pipeline and Hugging Face
generator as they are, with our renderer as its prompt template and our index as its retriever.
(Its pipeline shows the passages with the lowest score first and puts no limit on their number;
ours keeps them as they came. So their texts differ now and then, and generations are counted, too.)

FlashRAG's IRCoT takes one question after another. Ours runs with `--batch` questions in flight, and
once more with one. Each measurement is a process of its own with one thread, without the loading
of the model; a round runs all three, in turning order, and ratios are taken within a round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rounds import rounds

K, STEPS, TOKENS = 4, 5, 64
SYSTEMS = ("flashrag", "ours", "ours, one by one")


def make_files(folder: Path, count: int) -> None:
    """The world, its index."""
    from steper.data import load_corpus
    from steper.data.world import make_world, write_world
    from steper.retrieve import BM25Index

    write_world(make_world(3, "culture", {"test": count}), folder)
    BM25Index.build(load_corpus(folder / "corpus.jsonl")).save(folder / "index")


def our_strategy() -> Any:
    """IRCoT as the shipped teacher knows it."""
    from steper.prompt.render import PromptSettings
    from steper.strategy.ircot import IRCoT, IRCoTSettings

    settings = IRCoTSettings(k=K, max_steps=STEPS, max_tokens=TOKENS, force_answer=False)
    return IRCoT(settings, PromptSettings(instruction=False, demos=0), "chat")


def run_ours(folder: Path, in_flight: int) -> dict[str, Any]:
    """Seconds, and what was generated, of a `teach` run, records on disk included."""
    import steper
    from steper.data import load_questions
    from steper.lm.model_settings import HFSettings
    from steper.retrieve import BM25Index
    from steper.runs import teach

    model = steper.open_model(
        "shipped:teacher", hf=HFSettings(dtype="float32", batch_size=in_flight)
    )
    questions = load_questions(folder / "test.json")
    index = BM25Index.load(folder / "index", n_threads=1)
    with tempfile.TemporaryDirectory() as out:
        began, cpu = time.perf_counter(), time.process_time()
        run = teach(questions, our_strategy(), model, index, Path(out) / "run", in_flight=in_flight)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        counts = run.manifest["counts"]
        right = sum(t.answer in questions[n].answers for n, t in enumerate(run.trajectories()))
    return {
        "seconds": seconds,
        "cpu": cpu,
        "generations": counts["generations"],
        "tokens": counts["completion_tokens"],
        "right": right,
    }


def run_flashrag(folder: Path) -> dict[str, Any]:
    """The same by FlashRAG's pipeline."""
    from flashrag.dataset.dataset import Item
    from flashrag.generator.generator import HFCausalLMGenerator
    from flashrag.pipeline.active_pipeline import IRCOTPipeline
    from flashrag.prompt import PromptTemplate

    from steper.data import load_questions
    from steper.lm.shipped import model_folder
    from steper.prompt.render import Turn
    from steper.records import Passage
    from steper.retrieve import BM25Index

    index = BM25Index.load(folder / "index", n_threads=1)
    strategy = our_strategy()

    class Retriever:
        def search(self, query: str, return_score: bool = True) -> Any:
            found = index.search([query], K)[0]
            documents = [
                {"id": f.passage.id, "contents": f"{f.passage.title}\n{f.passage.text}"}
                for f in found
            ]
            return documents, [f.score for f in found]

    class Template(PromptTemplate):
        def get_string(
            self, question: str, retrieval_result: Sequence[Any], previous_gen: str, **_: Any
        ) -> str:
            parts = [d["contents"].partition("\n") for d in retrieval_result]
            passages = tuple(Passage.make(title, text) for title, _, text in parts)
            turns = [Turn(passages, previous_gen), Turn()] if previous_gen else [Turn(passages)]
            messages = strategy.render(question, turns).messages()
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return text

    path = str(model_folder("shipped:teacher"))
    config = {
        "framework": "hf",
        "device": "cpu",
        "generator_model": "teacher",
        "generator_model_path": path,
        "generator_max_input_len": 2048,
        "generator_batch_size": 1,
        "generation_params": {"max_new_tokens": TOKENS, "do_sample": False},
        "save_retrieval_cache": False,
        "save_metric_score": False,
        "save_intermediate_data": False,
        "save_dir": str(folder),
        "metrics": [],
        "dataset_name": "",
    }
    generator = HFCausalLMGenerator(config)
    generator.model.float()
    template = Template(config)
    pipeline = IRCOTPipeline(config, template, Retriever(), generator, max_iter=STEPS)
    questions = load_questions(folder / "test.json")
    items = [
        Item({"id": q.id, "question": q.text, "golden_answers": list(q.answers)}) for q in questions
    ]
    began, cpu = time.perf_counter(), time.process_time()
    for item in items:
        pipeline.run_item(item)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    generations = sum(
        name.startswith("intermediate_output_iter") for item in items for name in item.output
    )
    texts = [item.output["pred"] for item in items]
    answers = [text.partition("So the answer is:")[2].strip().removesuffix(".") for text in texts]
    return {
        "seconds": seconds,
        "cpu": cpu,
        "generations": generations,
        "tokens": sum(len(template.tokenizer(text).input_ids) for text in texts),
        "right": sum(a in q.answers for a, q in zip(answers, questions, strict=True)),
    }


def measure(folder: Path, system: str, batch: int) -> dict[str, Any]:
    """One system."""
    if system == "flashrag":
        return run_flashrag(folder)
    return run_ours(folder, batch if system == "ours" else 1)


def main() -> None:
    """Run the rounds and print what each took."""
    questions, found = rounds(__file__, SYSTEMS, make_files, measure)
    for system in SYSTEMS:
        speed = [questions / r[system]["seconds"] for r in found]
        ratio = [r["flashrag"]["seconds"] / r[system]["seconds"] for r in found]
        in_cpu = [r["flashrag"]["cpu"] / r[system]["cpu"] for r in found]
        print(
            f"{system:18} {statistics.median(speed):.2f} questions/s, "
            f"{statistics.median(ratio):.2f} of FlashRAG's ({min(ratio):.2f} to {max(ratio):.2f}; "
            f"in CPU seconds {statistics.median(in_cpu):.2f})"
        )


if __name__ == "__main__":
    main()
