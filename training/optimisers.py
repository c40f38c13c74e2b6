"""Optimisers of both stages: Muon on the blocks' matrices, AdamW on everything else."""

import math
from collections.abc import Collection, Iterable

import torch
from torch import nn
from torch.optim import Optimizer


def build(modules: Iterable[nn.Module], rate: float, muon_rate: float, gentle: Collection[str] = ()) -> list[Optimizer]:
    """Split the parameters: 2-D weights of transformer layers to Muon (Jordan et al. 2024), the rest to AdamW.

    gentle: modules whose weights mean something from the start; AdamW at a quarter of its rate moves them.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    careful: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in modules:
        for name, parameter in module.named_parameters():
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            if any(part in name for part in gentle):
                careful.append(parameter)
            else:
                (matrices if parameter.ndim == 2 and "layers." in name else others).append(parameter)
    groups = [{"params": others, "lr": rate}, {"params": careful, "lr": rate / 4}]
    made: list[Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=muon_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return made


def set_rate(optimisers: Iterable[Optimizer], done: float, peak: float = 1.0, warm: float = 0.02) -> None:
    """Set the rates for the share of training that is done: short warm-up, then cosine to a twentieth of the peak."""
    factor = min(1.0, done / warm) if done < warm else 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    factor *= peak
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
