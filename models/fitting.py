"""What would fit: the models of the catalogue against the memory of this machine."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch

from ..settings import Settings
from .catalogue import CATALOGUE, STAMP_TOKENS
from .fit import Fit, bytes_text, fit
from .machine import Room, device_room

CODECS: tuple[Literal["raw16", "int8", "int4", "auto"], ...] = ("raw16", "int8", "int4", "auto")
Verdict = Literal["yes", "as bf16", "if memory is freed", "no"]

WORKING_BYTES = 1 << 30
"""What a model needs besides its weights while it runs: activations, the context of an answer, CUDA itself; about."""


@dataclass(frozen=True, slots=True)
class Device:
    """Name the device that models would go to by default, and its memory."""

    name: str
    room: Room

    @property
    def label(self) -> str:
        """Write it for a table's head."""
        return f"{self.name}, {bytes_text(self.room.free_bytes)} free"

    def to_dict(self) -> dict[str, object]:
        """Give what --json writes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Say how a published model would fit.

    verdict: whether its weights and its work do.  found, by_codec: its memory by default, and under other codecs.
    """

    name: str
    licence: str
    bf16_bytes: int
    fp32_bytes: int
    found: Fit
    verdict: Verdict
    by_codec: Mapping[str, Fit]

    def to_dict(self) -> dict[str, object]:
        """Give what --json writes."""
        return {**asdict(self), "still_h": self.found.still_h, "busy_h": self.found.busy_h}


def candidates() -> tuple[list[Candidate], Device]:
    """Hold the known models against the default device, smallest first."""
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = Device(where.type, device_room(where))
    models = sorted(CATALOGUE, key=lambda model: model.parameters)
    return [
        Candidate(
            name=model.name,
            licence=model.licence,
            bf16_bytes=model.weights_bytes(2),
            fp32_bytes=model.weights_bytes(4),
            found=fit(model.shape, stamp_tokens=STAMP_TOKENS[model.family]),
            verdict=judge(model.weights_bytes(2), model.weights_bytes(4), device.room),
            by_codec={
                codec: fit(model.shape, Settings(codec=codec), stamp_tokens=STAMP_TOKENS[model.family])
                for codec in CODECS
            },
        )
        for model in models
    ], device


def judge(bf16_bytes: int, fp32_bytes: int, room: Room) -> Verdict:
    """Say whether weights fit into a device with room for the work: in either number type, in one, or not."""
    if fp32_bytes + WORKING_BYTES <= room.free_bytes:
        return "yes"
    if bf16_bytes + WORKING_BYTES <= room.free_bytes:
        return "as bf16"
    return "if memory is freed" if bf16_bytes + WORKING_BYTES <= room.total_bytes else "no"
