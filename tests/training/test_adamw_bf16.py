"""bfloat16 weights that learn: rounding, against float32 AdamW, and a student's whole training."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter
from transformers import TrainerCallback

from lm.tiny import make_tiny_llama
from steper.examples.example_folder import ExampleFolder
from steper.training import adamw_bf16
from steper.training.adamw_bf16 import AdamWBF16, round_at_random
from steper.training.job import TrainingJob, train
from steper.training.train_folder import TrainFolder
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples

RATE = 5e-6  # the paper's


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rounding_goes_to_a_neighbour_and_is_right_on_average():
    values = torch.tensor([1.001, -1.001, 0.02, 3e-9, -7e20, 0.0]).repeat(40_000, 1)
    rounded = round_at_random(values, generator()).float()
    nearest = values[0].bfloat16().float()
    unit = nearest.abs() * 2**-7
    assert (len({*rounded[:, 0].tolist()}), len({*rounded[:, 5].tolist()})) == (2, 1)
    assert ((rounded - values).abs() <= unit).all()
    assert ((rounded.double().mean(0) - values[0]).abs() <= 0.02 * unit).all()
    same = torch.tensor([1.0, -0.5, float("inf"), -float("inf"), 2.0**-130])
    assert torch.equal(round_at_random(same, generator()).float(), same)
    assert round_at_random(torch.tensor([float("nan")]), generator()).isnan().all()


def after(optimizer, weights, steps, **more):
    """What a run of gradients, the same for all optimizers, makes of the weights, in float64."""
    weights = Parameter(weights.clone())
    stepper = optimizer([weights], lr=RATE, **more)
    noise = generator(7)
    wanted = torch.sign(torch.arange(len(weights)) % 2 - 0.5)
    for _ in range(steps):
        gradient = wanted + torch.randn(len(weights), generator=noise)
        weights.grad = gradient.to(weights.dtype)
        stepper.step()
    return weights.detach().double()


def test_at_the_papers_rate_weights_move_as_in_float32_and_not_when_rounded_to_nearest():
    start = (0.02 * torch.randn(20_000, generator=generator())).bfloat16()
    before = start.double()
    exact = after(torch.optim.AdamW, start.float(), 60, weight_decay=0.0) - before
    stuck = after(torch.optim.AdamW, start, 60, weight_decay=0.0) - before
    moved = after(AdamWBF16, start, 60) - before
    large = before.abs() > 2**-7  # half a unit of theirs is above 1.5e-5, three updates
    assert (stuck[large] == 0).all()
    assert exact[large].abs().mean() > 1e-4
    up = torch.arange(len(start)) % 2 == 0  # their gradient is negative
    for side in (up & large, ~up & large):
        assert moved[side].mean().item() == pytest.approx(exact[side].mean().item(), rel=0.05)


def test_the_second_moment_forgets():
    """Rounded to the nearest it would stay for ever at what the first, large gradients made it."""
    weights = Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    ours = AdamWBF16([weights], lr=RATE)
    for size in (10.0, *[0.0] * 200):
        weights.grad = torch.full_like(weights, size)
        ours.step()
    found = ours.state[weights]["exp_avg_sq"].float().mean()
    assert found.item() == pytest.approx(0.001 * 100 * 0.999**200, rel=0.02)


def test_pieces_of_a_matrix_and_its_decay(monkeypatch):
    monkeypatch.setattr(adamw_bf16, "CHUNK", 7)
    start = torch.full((30,), 0.5, dtype=torch.bfloat16)
    more = {"weight_decay": 0.1}
    exact = after(torch.optim.AdamW, start.float(), 400, **more)
    ours = after(AdamWBF16, start, 400, **more)
    assert ours.mean().item() == pytest.approx(exact.mean().item(), abs=1e-3)
    assert torch.equal(after(AdamWBF16, start, 9, **more), after(AdamWBF16, start, 9, **more))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("student"))


@pytest.mark.slow
def test_a_student_learns_in_bfloat16_as_in_float32(student, tmp_path):
    source = example_folder(tmp_path / "examples", examples(8))
    common = {"batch_size": 4, "device": "cpu", "max_steps": 12, "lr": 3e-3, "weights": "uniform"}
    losses = {}
    for optimizer in ("adamw", "adamw_bf16"):
        rows = []
        given = TrainSettings.model_validate({**common, "optimizer": optimizer})
        train(source, student, tmp_path / optimizer, given, progress=rows.append)
        losses[optimizer] = [row["loss"] for row in rows]
    ours, theirs = losses["adamw_bf16"], losses["adamw"]
    assert ours[-1] < 0.9 * ours[0]
    assert ours == pytest.approx(theirs, rel=0.03)


def test_it_keeps_two_bytes_of_everything(student, tmp_path):
    """Weights, gradients and moments: the eight bytes a parameter that the docs promise."""

    class Weigh(TrainerCallback):
        bytes = 0

        def on_optimizer_step(self, args, state, control, model=None, optimizer=None, **kwargs):
            states = optimizer.state.values()
            kept = [v for s in states for v in s.values() if torch.is_tensor(v)]
            kept += [t for p in model.parameters() for t in (p, p.grad)]
            self.bytes = sum(t.numel() * t.element_size() for t in kept)

    source = example_folder(tmp_path / "examples", examples(2))
    given = TrainSettings(
        batch_size=2, device="cpu", max_steps=1, optimizer="adamw_bf16", gradient_checkpointing=True
    )
    job = TrainingJob(ExampleFolder(source), str(student), TrainFolder(tmp_path, {}), given)
    trainer, weigh = job.trainer(), Weigh()
    trainer.add_callback(weigh)
    trainer.train()
    assert weigh.bytes == 8 * trainer.model.num_parameters()
