"""The exported model: LLaVA-OneVision's own forward pass gives what training saw."""

import torch

from training.design import build_model
from training.export import close
from training.vision import see


def test_the_closed_model_gives_from_outside_what_training_saw_inside() -> None:
    torch.manual_seed(0)
    model = build_model().eval()
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    with torch.no_grad():
        tower.post_layernorm.weight.normal_(1, 0.3)
        tower.post_layernorm.bias.normal_(0, 0.3)
        closed = close(model).eval()
        pixels = torch.rand(2, 3, 112, 112) * 2 - 1
        seen = see(model, pixels)  # [frames, cells, D]
        given = closed.model.get_video_features(pixel_values_videos=pixels[None]).pooler_output[0][:-1]
    assert torch.allclose(given.reshape(seen.shape), seen, atol=5e-3 * float(seen.abs().max()))
    plain = model.model.get_video_features(pixel_values_videos=pixels[None]).pooler_output[0][:-1]
    assert not torch.allclose(plain.reshape(seen.shape), seen, atol=0.2 * float(seen.abs().max()))
