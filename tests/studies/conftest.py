"""A tiny random model for the tests of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from lm.tiny import make_tiny_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """The folder of a tiny random Llama with a chat template."""
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny", window=8192)
