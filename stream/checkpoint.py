"""A checkpoint: all that ingest has at hand besides the archive, so that it can go on in another process.

Exact window blocks, the newest keyframes' features, frames that wait for their chunk, what the keyframe gate and
pruning remember, and the moments that scores are measured against.  Tensors and JSON in safetensors' format.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import RecallError
from ..frame import Frame
from ..memory.block import KVBlock
from ..models.tokens import VisualTokens
from ..pruning import State
from .gate_state import GateState

VERSION = 2
FIRST_VERSION = 1
GATE_TENSORS = ("kept", "last", "view", "affine", "trail")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Hold numbers and tensors under names.  facts: what JSON can hold."""

    facts: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Write it."""
        # Copies: tensors that share memory (both thumbnails of a first frame) would be refused.
        held = {name: tensor.detach().to("cpu").clone().contiguous() for name, tensor in self.tensors.items()}
        words = json.dumps({"version": VERSION, **self.facts})
        # An empty file of tensors is no valid one.
        return safetensors.torch.save({**held, "_": torch.zeros(1)}, {"onlooker": words})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Read what to_bytes wrote.  Raises RecallError for anything else."""
        try:
            size = int.from_bytes(data[:8], "little")
            facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["onlooker"])
            tensors = safetensors.torch.load(data)
            if facts["version"] == FIRST_VERSION:
                # Its gate remembered less, and its recipe something else: both begin anew, no frame is lost.
                facts |= {"version": VERSION, "gate": None, "recipe": None}
            if facts["version"] != VERSION:
                raise ValueError(f"version {facts['version']}, and this Onlooker reads up to {VERSION}")
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RecallError(f"a checkpoint of {len(data)} bytes cannot be read ({error!r})") from error
        return cls(facts, tensors)

    def put_block(self, name: str, block: KVBlock) -> None:
        """Add a block."""
        for part in ("keys", "values", "positions", "coords"):
            self.tensors[f"{name}/{part}"] = getattr(block, part)
        self.facts[name] = [block.block_id, block.extent, *block.span_us, block.place]

    def block(self, name: str, device: torch.device) -> KVBlock:
        """Read a block."""
        block_id, extent, start_us, end_us, place = self.facts[name]
        keys, values, positions, coords = (
            self.tensors[f"{name}/{part}"] for part in ("keys", "values", "positions", "coords")
        )
        return KVBlock(
            block_id, keys.to(device), values.to(device), positions, extent, coords, (start_us, end_us), place
        )

    def put_tokens(self, name: str, tokens: VisualTokens) -> None:
        """Add visual tokens."""
        self.tensors[f"{name}/features"], self.tensors[f"{name}/coords"] = tokens.features, tokens.coords
        for extra, plane in tokens.extras.items():
            self.tensors[f"{name}/extras/{extra}"] = plane
        self.facts[f"{name}/tokens"] = [list(tokens.grid), list(tokens.times_us), sorted(tokens.extras)]

    def tokens(self, name: str, device: torch.device) -> VisualTokens:
        """Read visual tokens."""
        (height, width), times_us, extras = self.facts[f"{name}/tokens"]
        return VisualTokens(
            self.tensors[f"{name}/features"].to(device),
            self.tensors[f"{name}/coords"].to(device),
            (height, width),
            tuple(times_us),
            {extra: self.tensors[f"{name}/extras/{extra}"].to(device) for extra in extras},
        )

    def put_frame(self, name: str, frame: Frame) -> None:
        """Add a frame, its picture without loss."""
        done, png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        if not done:
            raise RecallError(f"a frame of {list(frame.image.shape)} cannot be kept")
        self.tensors[name] = torch.from_numpy(png.reshape(-1).copy())
        self.facts[name] = [frame.time_us, frame.seq, frame.source]

    def frame(self, name: str) -> Frame:
        """Read a frame."""
        time_us, seq, source = self.facts[name]
        picture = cv2.imdecode(self.tensors[name].numpy(), cv2.IMREAD_COLOR)
        if picture is None:
            raise RecallError("a frame of the checkpoint cannot be read")
        return Frame(
            np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8), time_us, seq, source
        )

    def put_bytes(self, name: str, data: bytes) -> None:
        """Add bytes."""
        self.tensors[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0).byte()

    def bytes(self, name: str) -> bytes:
        """Read bytes."""
        return self.tensors[name].numpy().tobytes()

    def put_gate(self, state: GateState | None) -> None:
        """Add what the keyframe gate remembers."""
        self.facts["gate"] = None
        if state is not None:
            for name in GATE_TENSORS:
                self.tensors[f"gate/{name}"] = torch.from_numpy(getattr(state, name))
            times_us = [state.kept_us, state.last_us, state.moved_us, state.fade_us, state.flat_us]
            self.facts["gate"] = [times_us, list(state.shape), state.noise, state.seen]

    def gate(self) -> GateState | None:
        """Read what the keyframe gate remembers."""
        if self.facts["gate"] is None:
            return None
        (kept_us, last_us, moved_us, fade_us, flat_us), (height, width), noise, seen = self.facts["gate"]
        held = {name: self.tensors[f"gate/{name}"].numpy() for name in GATE_TENSORS}
        return GateState(
            **held,
            kept_us=kept_us,
            last_us=last_us,
            shape=(height, width),
            noise=noise,
            seen=seen,
            moved_us=moved_us,
            fade_us=fade_us,
            flat_us=flat_us,
        )

    def put_pruning(self, state: State) -> None:
        """Add what pruning remembers."""
        self.facts["pruning"] = [state.frames, state.refresh]
        for name, tensor in state.memory.items():
            self.tensors[f"pruning/{name}"] = tensor

    def pruning(self, device: torch.device) -> State:
        """Read what pruning remembers."""
        frames, refresh = self.facts["pruning"]
        prefix = "pruning/"
        memory = {n.removeprefix(prefix): t.to(device) for n, t in self.tensors.items() if n.startswith(prefix)}
        return State(frames, refresh, memory)
