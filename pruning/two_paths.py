"""Two paths: what changed is kept by saliency, what stayed is merged around the peaks of its density."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .density import assign, density_peaks
from .select import top
from .similarity import tame
from .stages import Cells, Choice, Memory, Need, Traits


@dataclass(frozen=True, slots=True)
class TwoPaths:
    """Split the count between static and dynamic cells by how many there are of each.

    After the selection of StreamingTOM (CVPR 2026).  A cell is static when its cosine with the frame before is above
    `static`; scores must be 1 - that cosine, and 2 on a first frame, which so is dynamic as a whole.  Static cells get
    floor(count * static cells / N): the best centres by density peaks among them, and every other static cell goes to
    its nearest centre.  Dynamic cells get the rest, those with the highest saliency in the last layer of the vision
    tower; of equal ones the first.  static: the paper gives no value; 0.9 is chosen here.  k: neighbours that a
    cell's density is taken over; the paper gives none, 7 is that of HoliTom, which brought this clustering to tokens.
    The published code takes the distance to the nearest less dense cell; here it is the nearest denser one.
    """

    static: float = 0.9
    k: int = 7
    traits: Traits = field(default=Traits(needs=frozenset[Need]({"saliency"}), per_pair=2))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose; how many cells are static is read on the host, as their own density needs them alone."""
        static = scores < 1.0 - self.static
        quiet = static.nonzero().squeeze(1)  # [n], static cells
        centres = count * len(quiet) // len(cells)
        saliency = cells.extras["saliency"][:, -1].float().nan_to_num(0.0, 0.0, 0.0)
        kept = top(saliency.masked_fill(static, -torch.inf), count - centres)
        owner = torch.where(kept, torch.arange(len(cells), device=scores.device), -1)
        if len(quiet):
            features = tame(cells.features[quiet])
            chosen = top(density_peaks(features, self.k), centres)
            nearest = assign(features, chosen)
            kept = kept.index_put((quiet,), chosen)
            owner = owner.index_put((quiet,), torch.where(nearest >= 0, quiet[nearest], -1))
        return Choice(kept, owner)
