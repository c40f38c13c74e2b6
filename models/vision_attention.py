"""What the vision tower's attention shows of its patches, kept outside of any model object.

The function registered here attends as transformers' own "sdpa" does.  Where a TowerRecord travels along, it also
notes how much attention each patch gets and how long its values are.  The record belongs to one pass, so that two
sessions can share one model.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..errors import ModelError

VISION_ATTENTION_NAME = "onlooker_vision"
ATTENTION_PLANES = frozenset({"saliency", "values"})

# Entries of an attention map that are held at once, float32: 64 MiB, whatever the frames' size and number.
_MAP_ENTRIES = 1 << 24


def received_attention(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Measure how much attention each patch gets: float32 [b, n], where 1 is what it would get if all got the same.

    query, key: [b, heads, n, head_dim], of patches that see each other.  It is the mean over heads and queries of
    softmax(query keyᵀ scaling), times n; so it is 1 on average.
    """
    frames, heads, patches, _ = query.shape
    turned = key.float().transpose(2, 3) * scaling  # [b, heads, head_dim, n]
    received = turned.new_zeros(frames, patches)
    step = max(1, _MAP_ENTRIES // max(1, frames * heads * patches))
    for start in range(0, patches, step):
        weights = (query[:, :, start : start + step].float() @ turned).softmax(dim=3)
        received += weights.sum(dim=(1, 2))
    return received / heads


class TowerRecord:
    """Keep planes of one pass of n patches through the tower's first layers, one row per patch in the tower's order.

    planes: which of ATTENTION_PLANES.  patches, layers: how many there will be, one or more; what later layers show
    is not read.
    """

    def __init__(self, planes: Collection[str], patches: int, layers: int) -> None:
        self._kept: dict[str, list[Tensor]] = {name: [] for name in sorted(ATTENTION_PLANES.intersection(planes))}
        self._patches, self._layers = patches, layers
        self._taken = 0

    def take(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> None:
        """Note a layer, or the next patches of one that comes in parts (frames, windows): [b, heads, n, head_dim].

        Patches of a part see each other and no others.
        """
        if self._taken >= self._layers * self._patches:
            return
        self._taken += query.shape[0] * query.shape[2]
        if "saliency" in self._kept:
            self._kept["saliency"].append(received_attention(query, key, scaling).flatten())
        if "values" in self._kept:
            self._kept["values"].append(value.float().abs().sum(dim=(1, 3)).flatten())

    def planes(self) -> dict[str, Tensor]:
        """Give the planes, float32 [n, layers] each.

        saliency: received_attention.  values: L1 norm of a patch's value vectors, over all heads.
        Raises ModelError when the tower did not hand on each of its layers.
        """
        if self._taken != self._layers * self._patches:
            raise ModelError(
                f"the vision tower handed on {self._taken} patches of attention, where {self._layers} layers of "
                f"{self._patches} were expected; this model gives no planes 'saliency' and 'values', so choose a "
                "pruning recipe that needs none"
            )
        return {
            name: torch.cat(parts).view(self._layers, self._patches).T.contiguous()
            for name, parts in self._kept.items()
        }


def vision_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | TowerRecord | None,
    *,
    scaling: float,
    tower_record: TowerRecord | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend as transformers' "sdpa" does, and show a record what there is: query [b, heads, n, head_dim].

    The record comes as a keyword argument or, as SigLIP's layers hand no others on, in the place of the mask that
    towers have no use for.
    """
    if isinstance(attention_mask, TowerRecord):
        tower_record, attention_mask = attention_mask, None
    if tower_record is not None:
        tower_record.take(query, key, value, scaling)
    attended: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **others
    )
    return attended


def register_vision_attention() -> str:
    """Make the attention function known to transformers under the name that is returned; safe to call again."""
    AttentionInterface.register(VISION_ATTENTION_NAME, vision_attention)
    return VISION_ATTENTION_NAME
