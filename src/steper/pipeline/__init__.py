"""The whole main job as stages that skip what is done and resume what is not (see `run`)."""

from steper.pipeline.load import load_settings, locate_model
from steper.pipeline.run import Outcome, Pipeline, Watcher
from steper.pipeline.settings import PipelineSettings
from steper.pipeline.students import (
    StudentOptions,
    evaluate_student,
    open_student,
    read_student_card,
    student_folder,
)

__all__ = [
    "Outcome",
    "Pipeline",
    "PipelineSettings",
    "StudentOptions",
    "Watcher",
    "evaluate_student",
    "load_settings",
    "locate_model",
    "open_student",
    "read_student_card",
    "student_folder",
]
