"""A tiny random Llama with its own tokenizer, made on the spot, for tests without network."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
ENGLISH = (
    "Who directed the film in which the singer played a doctor?",
    "The film was directed by Ann Lee. Ann Lee was born in Paris, France.",
    "So the answer is: Paris.",
    "Wikipedia Title: Blue River\nBlue River is a 1987 drama film set in a small town.",
    "Question: Which of the two books was published first?\nAnswer:",
    "Follow up: Where was the author born?\nIntermediate answer: In St. Louis, in 1903.",
    "Are follow up questions needed here: Yes.\nSo the final answer is: no",
    "The company was founded by two brothers, and its head office is in the capital.",
)


def make_tiny_llama(
    path: Path | str,
    *,
    chat: bool = True,
    window: int = 2048,
    intermediate: int = 32,
    shard: str = "1GB",
    tied: bool = False,
) -> Path:
    """Save a random fp32 Llama (hidden 16, 2 layers, about 20,000 parameters) to `path`.

    The same weights and the same byte-level BPE tokenizer (512 tokens at most; every text decodes
    to itself) each time. `chat` adds a chat template; eos is `<|end|>`. `window` is
    `max_position_embeddings`; an `intermediate` size of 32,768 makes it 12.6 MB; no file of weights
    is larger than `shard`. `tied`: what embeds tokens scores them, too. Returns `path`.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    path = Path(path)
    tokenizer = _tokenizer(chat=chat, window=window)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=intermediate,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tied,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(path, max_shard_size=shard)
    tokenizer.save_pretrained(path)
    return path


@cache
def _trained() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([*ENGLISH, string.printable], trainer)
    return bpe.to_str()


def _tokenizer(*, chat: bool, window: int):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()),
        pad_token="<|pad|>",
        eos_token="<|end|>",
        model_max_length=window,
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
