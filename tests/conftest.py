"""Test set-up: shared stand-ins are imported by bare name from this folder."""

from __future__ import annotations

import gc
import os
import sys
from functools import lru_cache
from pathlib import Path

import docstring_parser
import pytest
from hypothesis import settings

settings.register_profile("steper", deadline=None)  # what else the machine does takes time, too
settings.load_profile("steper")
sys.path.insert(0, str(Path(__file__).parent))
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: threads would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # a quarter of the time that importing torch takes; until all tests are collected
modules = 0  # as many were imported when what there was was last frozen


def freeze():
    """Every training collects garbage, which takes half its time while torch's modules count."""
    global modules
    gc.collect()
    gc.freeze()
    modules = len(sys.modules)


def pytest_collection_finish():
    freeze()
    gc.set_threshold(20_000)  # 700 objects more are soon made, and seldom garbage
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Many modules are first imported by a test: transformers' Trainer, peft, datasets."""
    if len(sys.modules) > modules + 100:
        freeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """The user's cache folder, for the tests and all processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_certificates(tmp_path_factory):
    """No test speaks TLS, and each client of a server would read all of the system's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", "")
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        yield


def looked_at(file):
    """As os.fsync, which takes what is open, and gives back nothing."""
    os.fstat(file if isinstance(file, int) else file.fileno())


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk():
    """Only a power failure tells what was synced; what is killed leaves its writes to the system.

    Thousands of small files are written, and to wait for each takes longer than the tests do. What
    is no open file is still an error.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", looked_at)
        yield


@pytest.fixture(scope="session", autouse=True)
def sources_read_once():
    """Each `--help` has pydantic's own source parsed, once a settings class, for docstrings."""
    with pytest.MonkeyPatch.context() as patch:
        parse_once = lru_cache(None)(docstring_parser.parse_from_object)
        patch.setattr(docstring_parser, "parse_from_object", parse_once)
        yield
