"""Public model families in small: the chat template of each, over a tokenizer of its kind.

The templates say by hand what the public ones do with plain chats; tools are left out. The
tokenizers are trained here on a few sentences, with the family's special tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "Ann Lee was born in Paris. The film was directed by Bob Ray, a doctor from the old town.",
    "Who was the mother of the director of the first film? Wikipedia Title: Blue River",
    "So the answer is: Ann Lee. Follow up: Where was she born? Intermediate answer: Paris.",
    "user assistant model system Today Date: 26 Jul 2024\n\nA: Q: Are follow up questions needed",
]
BYTES = [f"<0x{n:02X}>" for n in range(256)]


@dataclass(frozen=True)
class Family:
    """A template, the kind of its tokenizer, its special tokens, and how its turns end."""

    name: str
    kind: str
    marks: tuple[str, ...]
    end: str
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    system: bool = True
    plain_marks: tuple[str, ...] = ()
    arguments: dict[str, bool] = field(default_factory=dict)
    file: str = ""

    @property
    def template(self) -> str:
        return Path(__file__).with_name(f"{self.file or self.name}.jinja").read_text("utf-8")


_LLAMA3 = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_CHATML = ("<|im_start|>", "<|im_end|>")
_PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_GEMMA = ("<start_of_turn>", "<end_of_turn>")
_THINK = ("<think>", "</think>")

ALL = [
    Family("llama2", "llama", (), end="</s>", bos="<s>", eos="</s>"),
    Family("llama31", "gpt", _LLAMA3, end="<|eot_id|>", bos="<|begin_of_text|>", eos="<|eot_id|>"),
    Family("llama32", "gpt", _LLAMA3, end="<|eot_id|>", bos="<|begin_of_text|>", eos="<|eot_id|>"),
    Family("qwen25", "gpt", _CHATML, end="<|im_end|>", eos="<|im_end|>", pad="<|endoftext|>"),
    Family("qwen3", "gpt", _CHATML, end="<|im_end|>", eos="<|im_end|>", plain_marks=_THINK),
    Family(
        "qwen3_no_thinking",
        "gpt",
        _CHATML,
        end="<|im_end|>",
        eos="<|im_end|>",
        plain_marks=_THINK,
        arguments={"enable_thinking": False},
        file="qwen3",
    ),
    Family("gemma2", "gemma", _GEMMA, "<end_of_turn>", "<bos>", "<eos>", "<pad>", system=False),
    Family("gemma3", "gemma", _GEMMA, "<end_of_turn>", "<bos>", "<eos>", "<pad>"),
    Family("mistral_v01", "llama", (), "</s>", "<s>", "</s>", system=False),
    Family("mistral_v03", "mistral", ("[INST]", "[/INST]"), "</s>", "<s>", "</s>", system=False),
    Family("phi3", "llama", _PHI, "<|end|>", "<s>", "<|endoftext|>", "<|endoftext|>"),
    Family("smollm2", "gpt", _CHATML, "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_end|>"),
    # A base model whose maker added the end of turn, not marked as special, and left EOS alone.
    Family(
        "added_end_of_turn",
        "gpt",
        ("<|im_start|>",),
        end="<|im_end|>",
        eos="<|endoftext|>",
        plain_marks=("<|im_end|>",),
        file="qwen25",
    ),
]


def tokenizer_of(family: Family, *, chat: bool = True) -> PreTrainedTokenizerFast:
    """A fresh tokenizer of a family, without its template where not for `chat`."""
    base = Tokenizer.from_str(_trained(family.kind))
    special = dict.fromkeys(filter(None, (family.bos, family.eos, family.pad, *family.marks)))
    # Phi-3's own swallow the white space that follows them.
    swallow = family.name == "phi3"
    base.add_special_tokens([AddedToken(text, special=True, rstrip=swallow) for text in special])
    base.add_tokens([AddedToken(text, normalized=False) for text in family.plain_marks])
    if family.bos and family.name != "smollm2":
        base.post_processor = TemplateProcessing(
            single=f"{family.bos} $A",
            special_tokens=[(family.bos, base.token_to_id(family.bos))],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=base,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = family.template
    return tokenizer


@cache
def _trained(kind: str) -> str:
    return (_gpt() if kind == "gpt" else _sentencepiece(kind)).to_str()


def _gpt() -> Tokenizer:
    """Bytes as letters, cut before spaces: GPT-2's kind, as Llama 3 and Qwen have it."""
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    base.train_from_iterator(
        TEXTS, BpeTrainer(vocab_size=450, initial_alphabet=alphabet, show_progress=False)
    )
    return base


def _sentencepiece(kind: str) -> Tokenizer:
    """Spaces as ▁, unknown letters as bytes.

    Llama 2's kind puts ▁ in front of every text and behind special tokens, newer Mistrals' in front
    of the whole alone, Gemma's nowhere.
    """
    spaces = normalizers.Replace(" ", "▁")
    learning = Tokenizer(models.BPE(unk_token="<unk>"))
    learning.normalizer = spaces
    learning.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = BpeTrainer(vocab_size=600, special_tokens=["<unk>", *BYTES], show_progress=False)
    learning.train_from_iterator(TEXTS, trainer)
    learnt = json.loads(learning.to_str())["model"]
    merges = [tuple(merge) for merge in learnt["merges"]]
    base = Tokenizer(
        models.BPE(learnt["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    front = [normalizers.Prepend("▁")] if kind == "llama" else []
    base.normalizer = normalizers.Sequence([*front, spaces])
    if kind == "mistral":
        base.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    strip = [decoders.Strip(" ", 1, 0)] if kind != "gemma" else []
    base.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return base
