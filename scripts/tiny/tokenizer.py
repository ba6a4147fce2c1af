"""The small models' tokenizer: one token for each entity name and word, bytes for all else.

It decodes to exactly the text that it read. A space belongs to the word after it, or, in front of
an entity name, to the word before it, so that each name has one token wherever it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

END = "<|end|>"
PAD = "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_PIECES = r" ?[A-Za-z'-]+(?: \z)?| ?[0-9]+(?: \z)?|\n+| ?[^\sA-Za-z0-9]+(?: \z)?|\s+"
MAX_LENGTH = 2048


def _bare(vocab: dict[str, int], names: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in (PAD, END, *ROLES)]
    )
    tokenizer.add_tokens([AddedToken(n, single_word=True, normalized=False) for n in names])
    return tokenizer


def build_tokenizer(
    names: Iterable[str], texts: Iterable[str], always: Iterable[str] = (), min_count: int = 3
) -> PreTrainedTokenizerFast:
    """A tokenizer for `names` and the pieces of `texts` (those met `min_count` times at least).

    `always` are pieces that must have a token whether or not `texts` hold them.
    """
    names = list(names)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = _bare({c: i for i, c in enumerate(alphabet)}, names)
    known = {*names, PAD, END, *ROLES}
    pieces: Counter[str] = Counter()
    for text in texts:
        for chunk in _chunks(bare, text, known):
            pieces.update(p for p, _ in bare.pre_tokenizer.pre_tokenize_str(chunk))
    for text in always:
        pieces.update({p: min_count for p, _ in bare.pre_tokenizer.pre_tokenize_str(text)})
    words = sorted(p for p, count in pieces.items() if count >= min_count and len(p) > 1)
    vocab = {piece: i for i, piece in enumerate([*alphabet, *words])}
    return PreTrainedTokenizerFast(
        tokenizer_object=_bare(vocab, names),
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def _chunks(bare: Tokenizer, text: str, known: set[str]) -> list[str]:
    """The stretches of `text` between names and special tokens."""
    chunks, start, encoding = [], 0, bare.encode(text)
    for token, (begin, end) in zip(encoding.tokens, encoding.offsets, strict=True):
        if token in known:
            chunks.append(text[start:begin])
            start = end
    return [c for c in (*chunks, text[start:]) if c]
