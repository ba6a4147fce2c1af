"""What a pipeline's configuration holds. Defaults are those of the stages' own settings classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from steper.errors import SettingsError
from steper.evaluation.compare import DEFAULT_METRICS
from steper.evaluation.methods import Metric
from steper.evaluation.statistics import Bootstrap
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.lm import GenerationSettings, HFSettings, OpenAISettings, VLLMSettings
from steper.lm.model_settings import Settings
from steper.pipeline.data_settings import AskedSettings, DataSettings
from steper.pipeline.method_settings import MethodSettings, check_methods, with_rounds
from steper.pipeline.places import Jobs
from steper.pipeline.sections import checked_section
from steper.pipeline.tune_settings import TuneSettings
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES, Recipe
from steper.reporting import ReportSettings
from steper.retrieve.retriever_settings import BM25Settings
from steper.strategy import DEFAULT, STRATEGIES, StepSettings, Strategy
from steper.training.train_settings import TrainSettings

M = TypeVar("M", bound=BaseModel)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


BASE_DEMOS = "base_demos"
"""What tables call the untrained student that is shown demonstrations."""


class LaunchSettings(Settings):
    """How trainings are started."""

    processes: int = Field(
        1,
        ge=1,
        description="processes of this machine that train a student together, started by torchrun, "
        "one for each GPU; with 1, trainings run side by side, each on a GPU of its own",
    )


class TeacherSettings(Settings):
    """Who writes the trajectories."""

    model: str = Field("gold", description="as `steper teach --model`; shipped:teacher is ours")
    samples: int = Field(
        1,
        ge=1,
        description="trajectories of each training question, each sampled with a seed of its own; "
        "several need generation.temperature above 0",
    )
    prompt: PromptSettings = PromptSettings()
    generation: GenerationSettings = GenerationSettings()
    hf: HFSettings = HFSettings()
    openai: OpenAISettings = OpenAISettings()
    vllm: VLLMSettings = VLLMSettings()
    in_flight: int = Field(64, ge=1, description="requests to the model under way at once")


class StudentSettings(Settings):
    """Who learns."""

    model: str = Field(description="a folder or hub name; shipped:student-base is ours")
    made_by: str | None = Field(
        None,
        description="command that makes the model's folder where it is not there yet, run in the "
        "working folder: a small one, that fits a core",
    )
    generation: GenerationSettings = GenerationSettings()
    hf: HFSettings = HFSettings()

    @model_validator(mode="after")
    def _makes_a_folder(self) -> StudentSettings:
        if self.made_by is not None and not Path(self.model).is_absolute():
            raise ValueError("made_by makes a folder: begin `model` with ./")
        return self


class EvaluationSettings(Settings):
    """Who is asked the test questions, and how answers are compared."""

    teacher: bool = Field(True, description="ask the teacher, too")
    teacher_model: str | None = Field(
        None, description="ask this model as the teacher, not the one that wrote the trajectories"
    )
    base: Literal["student", "teacher", "none"] = Field(
        "student",
        description="ask the untrained student: prompted as the trained ones, as the teacher "
        "(with its demonstrations), or not at all",
    )
    base_demos: dict[str, Any] | None = Field(
        None,
        description="ask the untrained student once more, with demonstrations: prompt settings "
        "over its own, such as {demos: 3, demo_steps: chain}; shown are right trajectories of the "
        "teacher's over training questions, question types taking turns",
    )
    also: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="ask the trained students once more for each name, with these settings of the "
        "strategy over their own, such as {ends_steps: {keep: all}}; compared among themselves",
    )
    further: dict[str, AskedSettings] = Field(
        default_factory=dict,
        description="further questions that all are asked: out of domain, other benchmarks",
    )
    in_flight: int = Field(64, ge=1, description="requests to a model under way at once")
    baseline: str | None = Field(
        None, description="the method that others are compared with (none: the first recipe)"
    )
    metrics: tuple[Metric, ...] = Field(DEFAULT_METRICS, min_length=1, description="compared")
    bootstrap: Bootstrap = Bootstrap()

    @field_validator("also", "further", mode="after")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_names(value)


class PipelineSettings(Settings):
    """A whole pipeline. `recipes` may be a list of names where nothing differs between them."""

    data: dict[str, DataSettings] = Field(min_length=1)
    index: BM25Settings = BM25Settings()
    strategy: dict[str, Any] = Field(default_factory=lambda: {"name": DEFAULT})
    teacher: TeacherSettings = TeacherSettings()
    students: dict[str, StudentSettings] = Field(min_length=1)
    recipes: dict[str, MethodSettings] = Field(min_length=1)
    examples: ExampleSettings = ExampleSettings()
    filters: FilterSettings = FilterSettings()
    train: TrainSettings = TrainSettings()
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="a student is trained for each")
    tune: TuneSettings | None = Field(
        None, description="choose settings for each method by its scores on development questions"
    )
    evaluate: EvaluationSettings = EvaluationSettings()
    report: ReportSettings = ReportSettings()
    launch: LaunchSettings = LaunchSettings()
    jobs: Jobs = Field(
        "auto",
        description="tasks that run side by side, at most; auto: small models on a core each, "
        "larger ones alone on all cores; on GPUs, one for each. With a number the cores are "
        "shared evenly",
    )
    ray_address: str | None = Field(
        None,
        min_length=1,
        description="a Ray cluster whose machines do the tasks: auto (the one that this machine "
        "is in), HOST:PORT, or local (this machine alone)",
    )

    @field_validator("recipes", mode="before")
    @classmethod
    def _list_of_recipes(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        if isinstance(value, dict):
            given = {name: {} if method is None else method for name, method in value.items()}
            return with_rounds(given)
        return value

    @field_validator("data", "students", "recipes", mode="after")
    @classmethod
    def _folder_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_names(value)

    @field_validator("seeds", mode="after")
    @classmethod
    def _different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value) or min(value) < 0:
            raise ValueError("seeds must be different numbers, 0 or more")
        return value

    @model_validator(mode="after")
    def _named_once(self) -> PipelineSettings:
        if "recipe" in self.examples.model_fields_set:
            raise ValueError("examples.recipe: recipes are named in section recipes")
        if "seed" in self.train.model_fields_set:
            raise ValueError("train.seed: a student is trained for each of `seeds`; set them")
        for name in self.evaluate.further:
            if name in self.data:
                raise ValueError(f"evaluate.further.{name}: data has a set of that name already")
        check_methods(self.recipes)
        for name, method in self.recipes.items():
            self._check_length_of(name, method)
        return self

    def _check_length_of(self, name: str, method: MethodSettings) -> None:
        """Check what a method takes its length from, where it does."""
        if method.tokens_of is not None and method.seconds_of is not None:
            raise ValueError(f"recipes.{name}: tokens_of and seconds_of exclude each other")
        field = "tokens_of" if method.seconds_of is None else "seconds_of"
        other = method.tokens_of or method.seconds_of
        if other is None:
            return
        others = {other for other, m in self.recipes.items() if m.by_itself}
        if other not in others:
            raise ValueError(
                f"recipes.{name}.{field} is {other!r}; expected a method of this file "
                f"that has no tokens_of itself: {', '.join(sorted(others)) or 'there is none'}"
            )
        if method.seconds_of and self.rate_of(name) is None:
            raise ValueError(
                f"recipes.{name}.seconds_of: no method of this file has the same recipe, examples "
                "and filters and trains by epochs; its rate is needed"
            )
        lengths = {"max_tokens", "max_steps"} & self.train.model_fields_set
        lengths |= {"max_tokens", "max_steps", "epochs"} & set(method.train)
        if lengths:
            raise ValueError(f"recipes.{name}: {field} and train.{min(lengths)} exclude each other")

    def rate_of(self, name: str) -> str | None:
        """The method whose training shows how fast one with `seconds_of` computes."""

        def made_of(method: str) -> tuple[Any, ...]:
            own = self.recipes[method]
            return own.recipe or method, own.examples, own.filters, own.more_filters

        alike = (o for o, m in self.recipes.items() if m.by_itself and made_of(o) == made_of(name))
        return next(alike, None)

    def length_of(self, name: str) -> tuple[str, ...]:
        """The methods that a method's length is read from: none, one, or that and its rate's."""
        method = self.recipes[name]
        if method.seconds_of is None:
            return (method.tokens_of,) if method.tokens_of else ()
        rate = self.rate_of(name)
        assert rate is not None
        return method.seconds_of, rate

    def rounds_of(self, method: str) -> tuple[str, ...]:
        """The methods whose labelled states a method learns, its own last; see `states_of`.

        A student that is trained on learns from its own states alone.
        """
        before = self.recipes[method].states_of
        if before is None:
            return ()
        return (method,) if self.trains_on(method) else (*self.rounds_of(before), method)

    def recipe_of(self, method: str) -> Recipe:
        """A method's recipe."""
        return RECIPES.find(self.recipes[method].recipe or method)

    def trains_on(self, method: str) -> bool:
        """Whether a method trains a trained student on, by what comes of its own states."""
        return self.recipe_of(method).learns != "trajectories"

    @property
    def strategy_name(self) -> str:
        """The strategy's name."""
        return str(self.strategy.get("name", DEFAULT))

    @property
    def strategy_kind(self) -> type[Strategy[Any]]:
        """The strategy; SettingsError where there is none of that name."""
        return STRATEGIES.find(self.strategy_name)

    def asked_by(self, method: str) -> type[Strategy[Any]]:
        """The strategy that a method's students are asked by: its recipe's, else the teacher's."""
        own = self.recipe_of(method).asked(self.example_settings(method).target).strategy
        return STRATEGIES.find(own) if own else self.strategy_kind

    @property
    def strategy_settings(self) -> StepSettings:
        """The strategy's own settings."""
        values = {key: value for key, value in self.strategy.items() if key != "name"}
        kind: type[StepSettings] = self.strategy_kind.settings_type
        return checked_section(kind, values, ("strategy",))

    def check_also(self) -> None:
        """SectionError where `evaluate.also` names what the strategy does not have."""
        for name, asked in self.evaluate.also.items():
            checked_section(self.strategy_kind.settings_type, asked, ("evaluate", "also", name))

    def example_settings(
        self, method: str, over: Mapping[str, Any] | None = None
    ) -> ExampleSettings:
        """Settings of a method's examples; `form` is the student's where none is given.

        `over` are tuned values over its own, as in `train_settings`.
        """
        recipe = self.recipes[method].recipe or method
        return self._for_method(method, "examples", self.examples, over, recipe=recipe)

    def filter_settings(self, method: str) -> FilterSettings:
        """Settings of a method's filters."""
        return self._for_method(method, "filters", self.filters)

    def train_settings(
        self, method: str, seed: int, student: str, over: Mapping[str, Any] | None = None
    ) -> TrainSettings:
        """Settings of a student's training by a method with a seed.

        Its chat template gets the arguments that it is asked with, unless there are others.
        """
        settings = self._for_method(method, "train", self.train, over, seed=seed)
        own = self.students[student].hf.chat_template_kwargs
        if not own or settings.chat_template_kwargs:
            return settings
        return settings.model_copy(update={"chat_template_kwargs": own})

    def _for_method(
        self,
        method: str,
        section: str,
        common: M,
        over: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> M:
        """A common section with what a method says over it."""
        values = common.model_dump(exclude_unset=True) | getattr(self.recipes[method], section)
        values |= over or {}
        return checked_section(type(common), values | more, ("recipes", method, section))

    def student_prompt(self) -> PromptSettings:
        """How an untrained student is prompted: as the examples of section `examples` are."""
        return self.examples.prompt(self.teacher.prompt)

    def base_demos(self) -> PromptSettings | None:
        """How the untrained student is prompted with demonstrations, where it is asked so.

        SettingsError where none are asked for, or where a separate reader, of whose demonstrations
        trajectories of one loop tell nothing, would be shown the package's.
        """
        given = self.evaluate.base_demos
        if given is None:
            return None
        place = ("evaluate", "base_demos")
        values = {**self.student_prompt().model_dump(), **given}
        prompt = checked_section(PromptSettings, values, place)
        if not prompt.demos:
            raise SettingsError("evaluate.base_demos: say how many, such as {demos: 3}")
        reader = getattr(self.strategy_settings, "reader", "none")
        if reader != "none":
            raise SettingsError(
                f"evaluate.base_demos: reader={reader} answers apart from the loop, and what it is "
                "shown is not taken from trajectories; use reader=none, or leave base_demos out"
            )
        return prompt

    @property
    def baseline(self) -> str:
        """The method that others are compared with."""
        return self.evaluate.baseline or next(iter(self.recipes))


def check_names(value: dict[str, Any]) -> dict[str, Any]:
    """`value`; ValueError where a key cannot be a folder's name."""
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"the name {name!r} is that of a folder, too: letters, digits, - and _ only"
            )
    return value


def describe(settings: BaseModel, place: str = "") -> Iterator[tuple[str, Any, str]]:
    """(key, value, what it means) of every setting, as `--set` takes them."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        key = f"{place}.{name}" if place else name
        if isinstance(settings, PipelineSettings) and name == "strategy":
            yield "strategy.name", settings.strategy_name, ", ".join(STRATEGIES.names())
            yield from describe(settings.strategy_settings, "strategy")
        elif isinstance(value, BaseModel):
            yield from describe(value, key)
        elif isinstance(value, dict) and any(isinstance(v, BaseModel) for v in value.values()):
            for inner, section in value.items():
                yield from describe(section, f"{key}.{inner}")
        else:
            yield key, value, field.description or ""
