"""Muon against torch's own, which computes in bfloat16 whatever the device."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from lm.tiny import make_tiny_llama
from steper.training import optimizer
from steper.training.job import train
from steper.training.optimizer import Muon, muon_with_adamw, orthogonalized
from training.made import example_folder, examples
from training.test_train_run import rows_of, settings

SHAPES = [(8, 8), (12, 8), (8, 12)]

pytestmark = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")


def matrices():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def torchs(parameters, lr, weight_decay):
    return torch.optim.Muon(
        parameters, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )


def take_steps(parameters, muon, steps, first=0):
    for number in range(first, first + steps):
        generator = torch.Generator().manual_seed(number)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        muon.step()


def torchs_orthogonalized(matrix):
    from torch.optim import _muon

    given = (_muon.DEFAULT_A, _muon.DEFAULT_B, _muon.DEFAULT_C)
    return _muon._zeropower_via_newtonschulz(matrix, given, _muon.DEFAULT_NS_STEPS, _muon.EPS)


def test_momentum_decay_and_rate_are_torchs_to_the_bit(monkeypatch):
    monkeypatch.setattr(optimizer, "orthogonalized", torchs_orthogonalized)
    ours, theirs = matrices(), matrices()
    take_steps(ours, Muon(ours, 1e-2, 0.1), 5)
    take_steps(theirs, torchs(theirs, 1e-2, 0.1), 5)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_steps_are_torchs_within_the_noise_of_bfloat16():
    start, ours, theirs = matrices(), matrices(), matrices()
    take_steps(ours, Muon(ours, 1e-2, 0.1), 5)
    take_steps(theirs, torchs(theirs, 1e-2, 0.1), 5)
    for before, a, b in zip(start, ours, theirs, strict=True):
        assert (a - b).norm() < 0.02 * (a - before).norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalized_keeps_the_singular_vectors(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.mT @ orthogonalized(1000 * matrix) @ v.mT
    values = inside.diagonal()
    assert 0.5 < values.min() <= values.max() < 1.5
    assert (inside - values.diag()).abs().max() < 1e-4
    assert not orthogonalized(torch.zeros(shape)).any()


def test_a_checkpoint_of_torchs_muon_is_gone_on_from():
    ours, theirs = matrices(), matrices()
    before = torchs(theirs, 1e-2, 0.1)
    take_steps(theirs, before, 3)
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            a.copy_(b)
    after = Muon(ours, 1.0, 0.0)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    take_steps(ours, after, 2, first=3)
    take_steps(theirs, before, 2, first=3)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("student")))


def test_all_but_the_layers_matrices_are_adamws(student):
    model = AutoModelForCausalLM.from_pretrained(student)
    muon, adamw = muon_with_adamw(model, 1e-3, 0.1).parts
    in_layers = {id(p) for name, p in model.named_parameters() if "layers" in name and p.ndim == 2}
    assert {id(p) for group in muon.param_groups for p in group["params"]} == in_layers
    decay = {p.ndim: g["weight_decay"] for g in adamw.param_groups for p in g["params"]}
    assert decay == {2: 0.1, 1: 0.0}


def test_a_training_has_the_losses_of_torchs_muon(student, tmp_path, monkeypatch):
    source = example_folder(tmp_path / "examples", examples(10))
    given = settings(optimizer="muon", epochs=3, lr=3e-3)
    ours = rows_of(train(source, student, tmp_path / "ours", given).path)
    monkeypatch.setattr(optimizer, "Muon", torchs)
    theirs = rows_of(train(source, student, tmp_path / "theirs", given).path)
    losses = [[row["loss"] for row in rows] for rows in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert losses[0] != losses[1]
