"""Small files and models that the pipeline's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lm.tiny import make_tiny_llama
from pipeline.made import write_files


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The folder of a tiny random Llama with a chat template."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny", window=8192)


@pytest.fixture
def config(tmp_path) -> Path:
    """A pipeline's configuration with its question files, its student left to be named."""
    return write_files(tmp_path)
