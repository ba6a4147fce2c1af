"""Questions and corpora: official formats in, `Question` and `Passage` records out."""

from steper.data.corpus import build_corpus, load_corpus
from steper.data.question_files import QuestionFile, load_questions, read_question_file
from steper.data.sampling import Sample, sample_questions
from steper.data.wiki2 import load_aliases

__all__ = [
    "QuestionFile",
    "Sample",
    "build_corpus",
    "load_aliases",
    "load_corpus",
    "load_questions",
    "read_question_file",
    "sample_questions",
]
