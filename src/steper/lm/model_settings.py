"""Settings of language models: the one place where their defaults and descriptions stand.

The command line's help and the documentation derive from these classes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from steper.prompt.segments import Form

DType = Literal["auto", "bfloat16", "float32"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


class Settings(BaseModel):
    """Base of all settings: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_OWN_TEMPLATE_ARGUMENTS = """
messages conversation tools documents chat_template add_generation_prompt tokenize padding
continue_final_message sanitize_control_tokens truncation max_length return_tensors return_dict
return_assistant_tokens_mask tokenizer_kwargs
"""


def _of_the_template(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments; ValueError where one is of transformers' function, not of the template."""
    taken = sorted(set(arguments) & set(_OWN_TEMPLATE_ARGUMENTS.split()))
    if taken:
        raise ValueError(f"{taken[0]} is set by steper itself; leave it out")
    return arguments


TemplateArguments = Annotated[dict[str, Any], AfterValidator(_of_the_template)]
"""Arguments of a model's chat template, by name."""


class GenerationSettings(Settings):
    """How the next token is chosen."""

    temperature: float = Field(
        0.0, ge=0, le=10, description="0 takes the likeliest token; above 0 samples."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample from the likeliest tokens of this total probability."
    )
    seed: int = Field(0, ge=0, description="Seed of the sampling; unused at temperature 0.")


class HFSettings(Settings):
    """How a local transformers model is loaded and run."""

    device: str = Field(
        "auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1, mps, …"
    )
    device_map: Literal["auto"] | None = Field(
        None,
        description="auto: spread a model that is too large for one device over all GPUs and, "
        "what is left, the CPU's memory (needs accelerate); by default it goes to one device.",
    )
    dtype: DType = Field(
        "auto",
        description="auto: bfloat16 where the weights have 16 bits and the hardware multiplies "
        "bfloat16 natively, float32 otherwise.",
    )
    attention: Attention = Field(
        "auto", description="Attention implementation; auto leaves the choice to transformers."
    )
    form: Form | None = Field(
        None, description="chat or plain; by default chat where the tokenizer has a template."
    )
    chat_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        description="Arguments of the model's chat template, such as {enable_thinking: false}; a "
        "trained student brings its own. (Servers: in extra_body.)",
    )
    batch_size: int = Field(32, ge=1, description="Most requests in a batch.")
    batch_tokens: int = Field(
        32768,
        ge=1,
        description="Most tokens in a batch (rows x (longest prompt + longest completion)).",
    )
    prefill_tokens: int | None = Field(
        None,
        ge=1,
        description="Most tokens of one forward pass over prompts (a longer prompt is one by "
        "itself); by default 1,024 on a CPU, 16,384 elsewhere.",
    )
    prefix_cache_mib: int = Field(
        2048,
        ge=0,
        description="Memory for keys and values of earlier prompts, in MiB: a prompt that begins "
        "as an earlier one (the step before, the same demonstrations) takes them over; 0: none.",
    )
    context_window: int | None = Field(
        None, ge=2, description="Longest prompt + completion in tokens; by default the model's own."
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of torch, in this whole process until the model is closed; by "
        "default one for models below 50 million parameters, else torch's own choice.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Only for models you trust."
    )

    @model_validator(mode="after")
    def _one_placement(self) -> HFSettings:
        if self.device_map is not None and self.device != "auto":
            raise ValueError(
                f"device is {self.device}, but device_map chooses the devices; give one of them"
            )
        return self


class VLLMSettings(Settings):
    """How vLLM loads and runs a local model in this process."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="auto: vLLM's own choice, by the weights."
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that one model is spread over.")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of a GPU's memory that vLLM takes."
    )
    form: Form | None = Field(
        None, description="chat or plain; by default chat where the tokenizer has a template."
    )
    chat_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        description="Arguments of the model's chat template; a trained student brings its own.",
    )
    context_window: int | None = Field(
        None, ge=2, description="Longest prompt + completion in tokens; by default the model's own."
    )
    top_logprobs: int = Field(
        20,
        ge=1,
        description="Likeliest tokens a place whose log-probabilities are given, where any are "
        "wanted.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    trust_remote_code: bool = Field(
        False, description="Run Python code that comes with the model. Only for models you trust."
    )
    engine: dict[str, Any] = Field(
        default_factory=dict,
        description="Further arguments of vLLM's EngineArgs, such as {quantization: fp8}; they are "
        "part of what a run is known by.",
    )


def _addresses(value: Any) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or not all(isinstance(each, str) for each in listed):
        raise ValueError("an address was expected, or a list of them")
    return tuple(listed)


Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
"""One address, or several."""


class TokenPrice(Settings):
    """What a model's tokens cost."""

    prompt: float = Field(ge=0, description="Dollars per million prompt tokens.")
    completion: float = Field(ge=0, description="Dollars per million completion tokens.")


class OpenAISettings(Settings):
    """How an OpenAI-compatible server is reached."""

    base_url: Addresses | None = Field(
        None,
        description="Address up to /v1, such as http://localhost:8000/v1, or several of servers of "
        "one model, each question going to one of them; by default the environment variable "
        "OPENAI_BASE_URL, else OpenAI's own.",
    )
    api: Literal["chat", "completions"] = Field(
        "chat", description="chat: /chat/completions; completions: raw text to /completions."
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="Environment variable that holds the key; servers at http:// need none.",
    )
    concurrency: int = Field(
        64, ge=1, description="Most requests under way at once, at all servers together."
    )
    timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds for one whole answer, to its last byte, before it is asked for again.",
    )
    max_retries: int = Field(
        6,
        ge=0,
        description="Times a request is tried again after 429, 5xx, time-outs, resets and answers "
        "that hold an error or nothing.",
    )
    max_retry_after: float = Field(
        600.0,
        ge=0,
        description="Longest Retry-After to obey, in seconds; a server that asks for more fails "
        "the request.",
    )
    prices: dict[str, TokenPrice] = Field(
        default_factory=dict,
        description="Dollars per million tokens: {model: {prompt: …, completion: …}}.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="Further fields of the request body, as the server wants; vLLM, SGLang and "
        "llama.cpp take chat_template_kwargs: {enable_thinking: false} there.",
    )
    context_window: int | None = Field(
        None, ge=2, description="Longest prompt + completion in tokens, if it is known."
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens",
        description="Name of the completion limit in chat requests; OpenAI's reasoning models "
        "want max_completion_tokens.",
    )
    send_stop: bool = Field(
        True,
        description="Send the stop strings; without (some models refuse them) the text is cut at "
        "them here alone.",
    )
    send_temperature: bool = Field(
        True,
        description="Send temperature, top_p and seed; without (some models refuse them) the "
        "server samples in its own way.",
    )
    top_logprobs: int = Field(
        20,
        ge=1,
        description="Likeliest tokens a place whose log-probabilities the server is asked for, "
        "where any are wanted; OpenAI's and vLLM's chat gives 20 at the most, OpenAI's "
        "completions 5.",
    )
    continuation: Literal["auto", "continue_final_message", "last_message", "none"] = Field(
        "auto",
        description="How the server continues an assistant's turn (reasoning: assistant): by the "
        "field continue_final_message (vLLM, SGLang), whenever the last message is the "
        "assistant's (llama.cpp, Ollama), or not at all; auto asks it with a few tiny requests.",
    )
    tokenizer: str | None = Field(
        None,
        description="Folder or hub name of the model's tokenizer: with api completions, chats are "
        "put into its chat template here and sent as raw text.",
    )

    @model_validator(mode="after")
    def _tokenizer_renders(self) -> OpenAISettings:
        if self.tokenizer is not None and self.api != "completions":
            raise ValueError(
                f"tokenizer is {self.tokenizer!r}, but it is for api completions alone"
            )
        return self

    @model_validator(mode="after")
    def _http(self) -> OpenAISettings:
        for url in self.base_url or ():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"base_url is {url!r}; it must start with http:// or https://")
        return self
