"""Tokenizers of several kinds, made on the spot."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lm.tiny import CHAT_TEMPLATE, ENGLISH, SPECIAL_TOKENS, _tokenizer

CHATML = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
WORDS = [*ENGLISH, *(f"film {n} : town , Q A . Follow up Wikipedia Title" for n in range(40))]


def byte_level(*, chat=True, template=CHAT_TEMPLATE):
    """GPT-2's kind: no space is put in front, no BOS."""
    tokenizer = _tokenizer(chat=chat, window=1 << 20)
    if chat:
        tokenizer.bos_token = "<|system|>"
        tokenizer.chat_template = template
    return tokenizer


def unigram(*, chat=True, template=CHATML):
    """SentencePiece's kind: a dummy space in front of every text, BOS in front of plain text."""
    return _with_bos(Tokenizer.from_str(_trained_unigram()), chat, template)


@cache
def _trained_unigram():
    base = Tokenizer(models.Unigram())
    base.normalizer = normalizers.NFKC()
    base.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    base.decoder = decoders.Metaspace(prepend_scheme="always")
    letters = sorted({c for text in WORDS for c in text} - {" "})
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", *SPECIAL_TOKENS],
        unk_token="<unk>",
        initial_alphabet=letters,
        show_progress=False,
    )
    base.train_from_iterator(WORDS, trainer)
    return base.to_str()


def word_level(*, chat=True, template=CHATML):
    """One id a word, white space lost."""
    base = Tokenizer(models.WordLevel(unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<s>", *SPECIAL_TOKENS]
    base.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=special))
    return _with_bos(base, chat, template)


def _with_bos(base, chat, template):
    from tokenizers.processors import TemplateProcessing

    base.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", base.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=base,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = template
    return tokenizer


KINDS_OF_TOKENIZERS = {"byte_level": byte_level, "unigram": unigram, "word_level": word_level}
