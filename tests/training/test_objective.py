"""Equations (1) to (4), the course of σ, and its state."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch

from steper.errors import InputError
from steper.training.objective import Objective, kind_sums
from steper.training.train_settings import TrainSettings

KINDS = ("init", "exp", "agg")


def objective(weighting="learned", kinds=KINDS, steps=1000, **settings):
    return Objective(weighting, TrainSettings(**settings), kinds, steps)


def test_learned_weights_are_equation_2():
    goal = objective(sigma_start=2.0)
    means = [1.0, 2.0, 0.5]
    expected = sum(mean / (2 * 2.0**2) + math.log(2.0) for mean in means)
    assert goal.total(means) == pytest.approx(expected)
    assert goal.coefficients() == pytest.approx([1 / 8] * 3)


def test_uniform_weights_are_the_mean_over_the_kinds_of_the_training_set():
    assert objective("uniform").total([1.0, 2.0, 6.0]) == pytest.approx(3.0)
    assert objective("uniform", ["agg"]).total([None, None, 6.0]) == pytest.approx(6.0)
    assert objective("uniform").total([3.0, None, 6.0]) == pytest.approx(3.0)


def test_fixed_weights_are_the_numbers_given():
    goal = objective("fixed", init_weight=0.5, exp_weight=0.0, agg_weight=2.0)
    assert goal.total([1.0, 100.0, 3.0]) == pytest.approx(6.5)


@pytest.mark.parametrize("optimizer", ["natural", "adam"])
def test_an_absent_kind_adds_nothing_and_keeps_its_sigma(optimizer):
    goal = objective(sigma_start=2.0, sigma_optimizer=optimizer)
    assert goal.total([1.0, None, None]) == pytest.approx(1 / 8 + math.log(2))
    goal.update([1.0, 3.0, 1.0])
    before = goal.state()
    goal.update([2.0, None, 1.0])
    after = goal.state()
    for name in ("log_variance", "steps", "moments"):
        assert after[name][1] == before[name][1]
    assert after["log_variance"][0] != before["log_variance"][0]


def test_adam_is_torchs_on_the_same_objective():
    goal = objective(sigma_start=1.5, sigma_optimizer="adam", sigma_lr=0.03)
    s = torch.tensor(goal.log_variance, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([s], lr=0.03)
    rng = random.Random(0)
    for _ in range(50):
        means = [rng.uniform(0.1, 4) for _ in KINDS]
        adam.zero_grad()
        loss = (torch.tensor(means, dtype=torch.float64) * torch.exp(-s) / 2 + s / 2).sum()
        assert goal.total(means) == pytest.approx(loss.item())
        loss.backward()
        adam.step()
        goal.update(means)
        assert goal.log_variance == pytest.approx(s.tolist(), rel=1e-9)


@pytest.mark.parametrize("start", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("steps", [20, 60, 500])
def test_sigma_arrives_from_any_start(start, steps):
    """σ² within 10 % of the mean L_j at the end, of losses that fall to a tenth and scatter."""
    goal = objective(sigma_start=start, steps=steps)
    rng = random.Random(f"{start}{steps}")
    seen: list[list[float]] = []
    last = min(10, max(3, steps // 12))
    for step in range(steps):
        fall = math.exp(-2.3 * math.sin(math.pi / 2 * step / steps))  # as under a cosine schedule
        means = [scale * fall * rng.uniform(0.95, 1.05) for scale in (6.0, 2.0, 0.3)]
        seen.append(means)
        goal.update(means)
    for kind, sigma in enumerate(goal.sigma):
        running = sum(means[kind] for means in seen[-last:]) / last
        assert sigma**2 == pytest.approx(running, rel=0.1)


@pytest.mark.parametrize("optimizer", ["natural", "adam"])
@pytest.mark.parametrize("floor", [0.01, 0.1])
def test_a_vanishing_or_broken_loss_does_no_harm(floor, optimizer):
    goal = objective(sigma_floor=floor, sigma_optimizer=optimizer)
    for _ in range(200):
        goal.update([0.0, math.nan, math.inf])
    assert goal.sigma[0] == pytest.approx(floor)
    assert goal.coefficients()[0] == pytest.approx(1 / (2 * floor**2))
    assert goal.sigma[1:] == [1.0, 1.0]


def test_state_survives_json_exactly():
    rng = random.Random(1)
    for optimizer in ("natural", "adam"):
        one, other = (objective(sigma_optimizer=optimizer) for _ in range(2))
        for _ in range(7):
            one.update([rng.random(), None, rng.random()])
        other.load(json.loads(json.dumps(one.state())), "sigma.json")
        for _ in range(7):
            means = [rng.random() for _ in KINDS]
            one.update(means)
            other.update(means)
        assert one.state() == other.state()


def test_the_state_of_another_objective_is_refused():
    with pytest.raises(InputError, match=r"sigma\.json"):
        objective().load(objective("uniform").state(), "sigma.json")


def test_kind_sums_respect_token_weights():
    losses = torch.tensor([1.0, 2.0, 4.0])
    weights = torch.tensor([[1.0, 0, 0], [0.5, 0, 2.0], [0, 0, 1.0]])
    assert kind_sums(losses, weights).tolist() == [2.0, 0.0, 8.0]
