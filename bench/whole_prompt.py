"""The whole prompt: what answers a question about frames offline, without a memory."""

from collections.abc import Sequence

import torch

from ..frame import Frame
from ..memory.positions import clock_place, text_positions
from ..models.backbone import Backbone
from ..models.rows import Rows, lay, no_cells


def whole_prompt(backbone: Backbone, frames: Sequence[Frame], question: str) -> Rows:
    """Write the prompt that answers a question about whole frames offline, as the model was published to be asked."""
    layout, axes = backbone.layout, backbone.layout.rotary.axes
    times = [frame.time_us for frame in frames]
    tokens = backbone.encode([frame.image for frame in frames], times)
    places = [clock_place(layout, time_us, times[0]) for time_us in times]
    video = lay(layout, [backbone.frame(tokens.frame(t)) for t in range(len(frames))], places)
    opening, asked = backbone.opening(), backbone.question(question)[0]
    inside = video.positions + len(opening)
    after = text_positions(len(asked), int(inside.max()) + 1, axes)
    planes = video.planes
    if planes is not None:
        none = planes.new_zeros
        planes = torch.cat((none(len(opening), *planes.shape[1:]), planes, none(len(asked), *planes.shape[1:])))
    return Rows(
        features=torch.cat((opening, video.features, asked)),
        positions=torch.cat((text_positions(len(opening), 0, axes), inside, after)),
        extent=int(after.max()) + 1,
        coords=torch.cat([no_cells(len(opening)), video.coords.cpu(), no_cells(len(asked))]),
        planes=planes,
    )
