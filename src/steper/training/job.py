"""Train a student on a folder of step examples: the whole of `steper train` as a function.

In: a folder that `steper build` wrote, and a transformers causal LM. Out: a folder with the trained
student, see `train_folder`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steper.artifact import differing, listed, model_checksums, warn_of_changes
from steper.errors import SettingsError, SteperError, missing_extra, needing_room
from steper.examples.example_folder import EXAMPLES, RANKINGS, ExampleFolder
from steper.lm.hf_load import SMALL_PARAMETERS, window
from steper.lm.model_source import local_digest
from steper.lm.shipped import locate_model
from steper.prompt.chat_template import check_arguments
from steper.prompt.encode import Encoder
from steper.prompt.segments import Form
from steper.store import check_out, provenance, read_json, sha256_file, write_json
from steper.text import brief
from steper.training.train_folder import REFERENCE, STEPER, TrainFolder, student_card
from steper.training.train_settings import TrainSettings

try:
    import torch
    import transformers
except ImportError as error:
    raise missing_extra(error.name or "transformers", "train", error) from None
if missing := [name for name in ("accelerate", "datasets") if find_spec(name) is None]:
    raise missing_extra(missing[0], "train")

from steper.training.arguments import make_arguments
from steper.training.data import Data, plan_steps, read_data
from steper.training.divergence import check_tokenizer, find_teacher, load_teacher
from steper.training.encoding import Layout, encode_file
from steper.training.in_force import count_trained
from steper.training.model import (
    Base,
    export,
    load_student,
    load_tokenizer,
    merge_finished,
    name_base,
    pick_attention,
    restore_dtype,
    stop_at,
    stored_dtype,
)
from steper.training.objective import Objective, TokenLoss
from steper.training.preference import (
    PreferenceLoss,
    ask_reference,
    read_reference,
    write_reference,
)
from steper.training.processes import (
    barrier,
    count_processes,
    join_processes,
    leave_processes,
    wait_for_main,
)
from steper.training.reranker import find_start, train_reranker
from steper.training.trainer import StepTrainer, check_taken_up
from steper.training.tree_file import NUMBERS, is_intact

log = logging.getLogger(__name__)

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trained:
    """The folder of a trained student; `up_to_date` if it had been there already."""

    path: Path
    manifest: dict[str, Any]
    up_to_date: bool = False

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return brief("Trained", repr(str(self.path)), f"{self.manifest['trained']['steps']} steps")


def train(
    examples: Path | str,
    student: Path | str,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
    resume_from: int | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train `student` on the folder `examples` and write it to the folder `out`.

    The student is a model's folder or hub name, or one that is shipped.

    A training that is complete is left as it is, but for `merge`, which merges its adapter; one
    that was interrupted goes on from its last checkpoint, or from that of step `resume_from`, and
    what came after it is trained anew.
    `progress` gets each row of the log. Under torchrun every process calls this.
    Raises SettingsError where `out` was trained with other settings, InputError on bad examples or
    where there is no such checkpoint, ModelError where the student cannot be loaded.
    """
    settings = settings or TrainSettings()
    student = locate_model(student).removeprefix("hf:")
    check_out(out, examples, student)
    source, out = ExampleFolder(Path(examples)), Path(out)
    folder = TrainFolder(out, _fingerprint(source, student, settings))
    main = int(os.environ.get("RANK", "0")) == 0
    if main:  # another process could find the folder half made by this one
        folder.check(overwrite)
        if resume_from is not None:
            folder.checkpoint(resume_from)
    if folder.complete and not overwrite and resume_from is None:
        merged = main and settings.merge and _merge(student, folder, settings)
        if main:
            warn_of_changes(out, folder.manifest, gone=True)
        return Trained(out, folder.manifest, up_to_date=not merged)
    processes = count_processes(settings)
    job = TrainingJob(source, student, folder, settings, processes, main, progress)
    try:
        with needing_room(out):
            job.run(overwrite, resume_from)
    finally:
        folder.close()
    return Trained(out, folder.manifest)


def _merge(student: str, folder: TrainFolder, settings: TrainSettings) -> bool:
    folder.lock(overwrite=False)
    try:
        with needing_room(folder.path):
            merged = merge_finished(Base.find(student, settings), folder.path)
            if merged:
                folder.renew_checksums()
            return merged
    finally:
        folder.close()


def _fingerprint(source: ExampleFolder, student: str, settings: TrainSettings) -> dict[str, Any]:
    manifest, rankings = source.manifest, source.path / RANKINGS
    reranker = rankings.exists() and settings.reranker
    return {
        "training": settings.fingerprint(),
        "student": _known_by(student),
        **({"reranker": _known_by(locate_model(reranker))} if reranker else {}),
        **({"teacher": _known_by(locate_model(settings.teacher))} if settings.teacher else {}),
        "examples": {
            "sha256": sha256_file(source.path / EXAMPLES),
            "recipe": manifest["recipe"],
            "weights": manifest["weights"],
            **({"rankings_sha256": sha256_file(rankings)} if rankings.exists() else {}),
        },
    }


def _known_by(model: str) -> dict[str, str | None]:
    """A local model is known by its files, wherever they are; another one by its name."""
    digest = local_digest(model)
    return {"digest": digest, "name": None if digest else model}


@dataclass
class TrainingJob:
    """One training in one process; `main` is the process that writes."""

    source: ExampleFolder
    student: str
    folder: TrainFolder
    settings: TrainSettings
    processes: int = 1
    main: bool = True
    progress: Progress | None = None
    resolved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manifest = self.source.manifest
        self.form: Form = self.manifest["settings"]["form"]
        self.asked = self.settings.asked_sharding()
        self.base = Base.find(self.student, self.settings)
        ranks = (self.source.path / RANKINGS).exists()
        self.reranker_start = find_start(self.settings, self.student) if ranks else None
        self.tokens: list[str] = self.manifest["settings"].get("tokens", [])
        self.settings.check_tokens(self.tokens)
        self.tokenizer = load_tokenizer(self.base, self.form, self.tokens)
        self.config = self.base.load(self.base.source.config)
        arguments = self.settings.chat_template_kwargs
        check_arguments(self.tokenizer, self.form, arguments)
        self.encoder = Encoder(self.tokenizer, arguments)
        self._say_what_changes()
        self.limit = self.settings.max_length or window(self.config, self.tokenizer)
        self.teacher = find_teacher(self.settings)
        if self.teacher is not None:
            check_tokenizer(self.teacher, self.student, self.tokenizer)
            theirs = window(self.teacher.load(self.teacher.source.config), self.tokenizer)
            self.limit = min(filter(None, (self.limit, theirs)), default=None)

    def _check_pairs(self) -> None:
        """Refuse pairs whose reference would not be the student as it is asked."""
        if self.teacher is not None:
            raise SettingsError("preference pairs have a loss of their own; leave divergence out")
        if self.asked.kind != "none":
            raise SettingsError(
                "preference pairs are compared with the student as it was, which is asked before "
                f"the training, and {self.asked.kind} would have it in shards; leave sharding out"
            )
        path = Path(self.student).expanduser() / STEPER
        own, made = read_json(path) if path.is_file() else {}, self.manifest["settings"]
        if "recipe" not in own:  # untrained, it is not asked in any way of its own
            return
        given = {name: made[name] for name in ("form", "prompt", "strategy")}
        if changed := listed([*differing({name: own.get(name) for name in given}, given)]):
            raise SettingsError(
                f"{self.student} was trained to be asked otherwise than in these preference pairs: "
                f"{changed}; build the pairs as its own examples were built"
            )

    def _say_what_changes(self) -> None:
        """Tell of a template that does not let `append_only` prompts grow at their end alone."""
        if self.form == "plain" or not self.main or self.encoder.template.keeps_turns:
            return
        if self.manifest["settings"]["prompt"]["layout"] == "append_only":
            log.warning(
                "%s: its chat template shows a turn otherwise once others follow (Qwen3 without "
                "thinking leaves out an empty block of thoughts), so append_only prompts do not "
                "begin with those before them, and steps share less of a forward pass",
                self.student,
            )

    @cached_property
    def data(self) -> Data:
        """What to train on; the main process encodes it, unless an interrupted training did."""
        training, versions = self.settings.fingerprint(), provenance()["versions"]
        trees = self.folder.trees(
            training=training, limit=self.limit, versions=versions, numbers=NUMBERS
        )
        if self.main and not is_intact(trees):
            self.folder.clear_work()  # of other settings, or of another version
            encode_file(self.source, trees, Layout(self.encoder, self.settings, self.limit))
        self._waited = wait_for_main(self.main, trees.name)
        data = read_data(trees, self.limit)
        if data.pairs:
            self._check_pairs()
        steps, per_epoch = plan_steps(data, self.settings)
        self.resolved |= {"max_length": self.limit, "steps": steps, "steps_per_epoch": per_epoch}
        return data

    def run(self, overwrite: bool, resume_from: int | None = None) -> None:
        """Train from the last checkpoint, or a chosen one, or the start, and export."""
        if self.main:
            self.source.warn_of_changes()
            self.folder.lock(overwrite)
        _ = self.data  # before what is there is replaced: it may be bad
        if self.main:
            self.folder.begin(overwrite)
            if resume_from is not None:
                self.folder.go_back(resume_from)
        try:
            trainer = self.trainer()
        except SteperError:
            if self.main:
                self.folder.withdraw()
            raise
        resume = self.folder.last_checkpoint()
        if self.main:
            self.folder.cut_log(int(resume.name.rpartition("-")[2]) if resume else 0)
        barrier()
        if resume:
            check_taken_up(resume, self.asked, self.processes)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        self._export(trainer)
        leave_processes()  # none waits for what the main one still does
        if self.main:
            self._finish(trainer)

    def _reference(self, trainer: StepTrainer) -> torch.Tensor:
        """What the student thinks of its preference pairs before it is trained; asked once."""
        path, pairs = self.folder.path / REFERENCE, self.data.pairs
        kept = read_reference(path, pairs)
        if kept is not None:
            return kept
        found = ask_reference(trainer, self.data.every, len(pairs))
        if self.main:
            write_reference(path, pairs, found)
        return found

    def trainer(self) -> StepTrainer:
        """The student, loaded, in a trainer of its own."""
        settings, data = self.settings, self.data
        # Before the model, which DeepSpeed's settings in the arguments may shard while it loads.
        args = make_arguments(
            settings,
            self.asked,
            self.config,
            self.resolved["steps"],
            self.processes,
            self.folder.checkpoints,
            len(data.eval) > 0,
            bool(data.pairs),
        )
        join_processes(self.asked, args)
        transformers.set_seed(settings.seed)
        attention = pick_attention(settings, data.branches)
        added = self.tokenizer.convert_tokens_to_ids(self.tokens)
        model = load_student(self.base, attention, data.branches, added)
        parameters = count_trained(model)
        if args.device.type == "cpu" and parameters < SMALL_PARAMETERS:
            torch.set_num_threads(1)
        weights = settings.weights or self.manifest["weights"]
        objective = Objective(weights, settings, data.learnt_kinds(), self.resolved["steps"])
        self.resolved |= {
            "weights": weights,
            "lr": args.learning_rate,
            "attention": attention,
            "device": args.device.type,
            "micro_batch_size": args.per_device_train_batch_size,
            "accumulation": args.gradient_accumulation_steps,
            "parameters": parameters,
            "trained_parameters": count_trained(model, only_trainable=True),
        }
        loss = PreferenceLoss(settings.dpo_beta, settings.dpo_sft) if data.pairs else TokenLoss()
        teacher = self.teacher and load_teacher(self.teacher, attention, data.branches, args)
        given = (settings, self.asked, self.tokenizer, self._log_row, teacher)
        trainer = StepTrainer(model, args, data, objective, loss, *given)
        if isinstance(loss, PreferenceLoss):
            loss.reference = self._reference(trainer)
        return trainer

    def _log_row(self, row: dict[str, Any]) -> None:
        kept = {("lr" if k == "learning_rate" else k): v for k, v in row.items() if k != "steps"}
        self.folder.log(kept)
        if self.progress:
            self.progress(row)

    def _export(self, trainer: StepTrainer) -> None:
        path = self.folder.path
        model = trainer.accelerator.unwrap_model(trainer.model)
        end = self.encoder.turn_end(self.form)
        adapted = hasattr(model, "peft_config")
        if adapted:
            name_base(model, self.base)
        if trainer.sharded:
            whole = model.get_base_model() if adapted else model
            stop_at(whole.generation_config, end)
            trainer.save_model(str(path))  # gathers the shards
            whole.generation_config.save_pretrained(path)
            (path / "training_args.bin").unlink(missing_ok=True)
        elif self.main:
            dtype, merge = stored_dtype(self.config), self.settings.merge
            export(model, self.tokenizer, path, dtype, end, merge)

    def _finish(self, trainer: StepTrainer) -> None:
        if trainer.sharded and not self.settings.lora_rank:
            restore_dtype(self.folder.path, self.config, self.settings.trust_remote_code)
        manifest, weights = self.manifest, self.resolved["weights"]
        arguments, longest = self.settings.chat_template_kwargs, self.data.counts.longest_target
        about = student_card(manifest, weights, arguments, longest)
        write_json(self.folder.path / STEPER, about)
        learned = trainer.objective.weighting == "learned"
        more = {
            **self._reranker(),
            "student": self.student,
            "examples": {"path": str(self.source.path), "settings": manifest["settings_hash"]},
            "resolved": {**self.resolved, **asdict(trainer.in_force)},
            "counts": asdict(self.data.counts),
            "trained": {"steps": trainer.state.global_step, **trainer.counted()},
            "sigma": trainer.objective.sigma if learned else None,
            "sha256": model_checksums(self.folder.path),
        }
        self.folder.clear_work()
        self.folder.write_manifest("complete", more)

    def _reranker(self) -> dict[str, Any]:
        """Train the student's reranker where its examples have rankings; what came of it."""
        rankings = list(self.source.rankings())
        if not rankings or self.reranker_start is None:
            return {}
        settings, name = self.settings, self.manifest["settings"]["inference"]["reranker"]
        out, device = self.folder.path / name, "cpu" if settings.device == "cpu" else None
        how = (settings.reranker_epochs, settings.seed, device, settings.freeze_embeddings)
        return {name: train_reranker(rankings, self.reranker_start, out, *how)}
