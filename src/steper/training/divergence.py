"""Generalised JSD between a teacher's next tokens and a student's, at each token that is learnt.

With P the teacher's distribution, Q the student's, and M = β P + (1 − β) Q:

    JSD_β(P ‖ Q) = β KL(P ‖ M) + (1 − β) KL(Q ‖ M)

Equation (1) of Agarwal et al., "On-Policy Distillation of Language Models" (GKD, ICLR 2024); at
β = 0 and 1 it stands for its limits up to a factor, KL(P ‖ Q) and KL(Q ‖ P). It takes the
cross-entropy's place in equation (1) of `objective`, so it is a mean over the tokens of each step
kind. On-policy it is where the learnt text is the student's own: the examples decide.

The teacher is asked on the fly for the student's own token ids, so both share a tokenizer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import kl_div

from steper.errors import SettingsError
from steper.lm.model_source import find_source
from steper.lm.shipped import locate_model
from steper.training.model import Base, check_branching
from steper.training.train_settings import TrainSettings


def generalised_jsd(student: torch.Tensor, teacher: torch.Tensor, beta: float) -> torch.Tensor:
    """(M, V) and (M, V') logits → (M,) JSD_β in nats.

    Where one has more logits than the other (rows of an embedding that are no tokens), the surplus
    is left out.
    """
    width = min(student.shape[-1], teacher.shape[-1])
    q, p = (logits[..., :width].float().log_softmax(-1) for logits in (student, teacher))
    if beta in (0, 1):
        return _kl(p, q) if beta == 0 else _kl(q, p)
    mixed = torch.logaddexp(p + math.log(beta), q + math.log1p(-beta))
    return beta * _kl(p, mixed) + (1 - beta) * _kl(q, mixed)


def _kl(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(one ‖ other) of log-probabilities; torch's own takes them the other way round."""
    return kl_div(other, one, reduction="none", log_target=True).sum(-1)


def find_teacher(settings: TrainSettings) -> Base | None:
    """The teacher that the settings name; ModelError where there is none of that name."""
    if settings.teacher is None:
        return None
    name = locate_model(settings.teacher).removeprefix("hf:")
    return Base(find_source(name), settings.model_copy(update={"revision": None}))


def check_tokenizer(teacher: Base, student: str, tokenizer: Any) -> None:
    """SettingsError where the teacher's tokens, or their numbers, are not the student's."""
    theirs, own = teacher.load(teacher.source.tokenizer).get_vocab(), tokenizer.get_vocab()
    other = sum(theirs.get(token) != number for token, number in own.items())
    if other or len(theirs) != len(own):
        raise SettingsError(
            f"{teacher.source.name} has another tokenizer than {student} ({other:,} of its "
            f"{len(own):,} tokens differ, the teacher has {len(theirs):,}), and a divergence goes "
            "token by token; name a teacher of its family, or learn its texts (steper relabel)"
        )


def load_teacher(base: Base, attention: str, trees: bool, args: Any) -> Any:
    """The teacher's model on the training's device, frozen; raises as `load_student` does."""
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    model = base.load(base.source.model, dtype=dtype, attn_implementation=attention)
    check_branching(model.config, trees)
    return model.to(args.device).eval().requires_grad_(False)
