"""Tiny random models of known architectures, made on the spot: for dry runs without a download.

The weights are random and the sizes tiny, but the shape is the real model's: class, grouped
queries, rotary scaling, a byte-level BPE tokenizer with the real special tokens, and a chat
template that lays out turns as the real one does. They answer nothing; what they show is that the
whole pipeline runs with such a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.prompt.words import demonstrations
from steper.store import package_text, package_yaml
from steper.strategy import STRATEGIES
from steper.strategy.readers import READERS

VOCABULARY = 1200

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's and Qwen 2's pre-tokenization (numbers by up to three digits, as in Llama 3)."""


@dataclass(frozen=True)
class Family:
    """An architecture: transformers' model type, its configuration's shape, its tokenizer.

    `names` is a pattern of its models' names. `special` are the special tokens, of which `bos`
    begins a text (None: none does), `ends` end a turn or a text (the first is the tokenizer's own
    end), and `pad` fills up. `template` is the file of the chat template.
    """

    name: str
    names: str
    model_type: str
    shape: dict[str, Any]
    special: list[str]
    bos: str | None
    ends: list[str]
    pad: str
    template: str


FAMILIES = [Family(**row) for row in package_yaml(__package__, "families.yaml")]
LLAMA, QWEN = FAMILIES

SMALL = {"num_attention_heads": 4, "num_hidden_layers": 2}
LARGE = {"num_attention_heads": 8, "num_hidden_layers": 3}
"""Llama 8B has 32 heads and 70B 64, both with 8 groups: 4 and 8 heads a group, kept here."""


def family_of(name: str) -> Family | None:
    """The architecture of a model by its name; None for an unknown one."""
    return next((f for f in FAMILIES if re.search(f.names, name.lower())), None)


def is_large(name: str) -> bool:
    """Whether a model's name says that it has 30 billion parameters or more."""
    sizes = re.findall(r"(\d+(?:\.\d+)?)b\b", name.lower())
    return any(float(size) >= 30 for size in sizes)


def make_tiny_model(folder: Path, family: Family, large: bool = False, seed: int = 0) -> int:
    """Save a random model of `family` with its tokenizer to `folder`; returns its parameters.

    About 0.2 million parameters in float32; the same ones each time.
    """
    import torch
    import transformers

    tokenizer = make_tokenizer(family)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in family.special}
    ends = [ids[name] for name in family.ends]
    config = transformers.AutoConfig.for_model(
        family.model_type,
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=224,
        num_key_value_heads=1,
        bos_token_id=ids[family.bos] if family.bos else None,
        eos_token_id=ends,
        pad_token_id=ids[family.pad],
        **(LARGE if large else SMALL),
        **family.shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=ends, pad_token_id=ids[family.pad]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def make_tokenizer(family: Family) -> Any:
    """A byte-level BPE tokenizer trained on the package's own prompts, with the family's tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=family.special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(), trainer)
    if family.bos:
        bos = (family.bos, bpe.token_to_id(family.bos))
        bpe.post_processor = TemplateProcessing(single=f"{family.bos} $A", special_tokens=[bos])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=family.bos,
        eos_token=family.ends[0],
        pad_token=family.pad,
        model_max_length=family.shape["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = package_text(__package__, family.template)
    return tokenizer


def _texts() -> list[str]:
    """English that comes with the package: instructions, worked examples and their passages."""
    every = [kind.words for kind in STRATEGIES.ours().values()]
    every += [reader.words for reader in READERS.values()]
    texts = [words.instruction for words in every]
    for demo in demonstrations():
        texts.append(f"Question: {demo.question}\nAnswer: {demo.answer}")
        for passages, text in (turn for words in every for turn in words.demonstrate(demo)):
            texts.append(text)
            texts += [f"Wikipedia Title: {p.title}\n{p.text}" for p in passages]
    return texts
