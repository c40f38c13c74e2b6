"""What pruning remembers of a stream between frames."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import SettingsError


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Hold a recipe's memory of one stream; its size does not grow with the stream.

    frames: frames seen.  refresh: the next frame is to be kept whole.  memory: tensors by "stage/name".
    """

    frames: int = 0
    refresh: bool = False
    memory: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """True bytes of the tensors held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.memory.values())

    def refreshed(self) -> "State":
        """Ask for the next frame whole (a new segment starts with it)."""
        return replace(self, refresh=True)

    def to(self, device: torch.device) -> "State":
        """Move the tensors to a device."""
        return replace(self, memory={name: tensor.to(device) for name, tensor in self.memory.items()})

    def to_dict(self) -> dict[str, int | Tensor]:
        """Write the state as ints and tensors under flat names."""
        return {"frames": self.frames, "refresh": int(self.refresh), **self.memory}

    @classmethod
    def from_dict(cls, values: Mapping[str, int | Tensor]) -> "State":
        """Read what to_dict wrote.  Raises SettingsError when an entry is missing or of the wrong kind."""
        frames, refresh = values.get("frames"), values.get("refresh")
        if not isinstance(frames, int) or not isinstance(refresh, int) or frames < 0:
            raise SettingsError(
                f"a pruning state needs the ints 'frames' (>= 0) and 'refresh', not {frames!r} and {refresh!r}; "
                "start a new state with State()"
            )
        memory: dict[str, Tensor] = {}
        for name, value in values.items():
            if name in ("frames", "refresh"):
                continue
            if not isinstance(value, Tensor) or "/" not in name:
                raise SettingsError(
                    f"a pruning state holds tensors under 'stage/name', not {type(value).__name__} under {name!r}; "
                    "start a new state with State()"
                )
            memory[name] = value
        return cls(frames, bool(refresh), memory)

    def part(self, stage: str) -> dict[str, Tensor]:
        """Cut out one stage's memory."""
        prefix = stage + "/"
        return {name[len(prefix) :]: value for name, value in self.memory.items() if name.startswith(prefix)}
