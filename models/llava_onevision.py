"""LLaVA-OneVision: SigLIP tower, pooled projection, Qwen2 text model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerBase

from ..errors import ModelError
from ..memory.block import Context, KVLayout
from .backbone import ContextSelector, HeadId, Prefill, Sampling
from .card import ModelCard, clock_text
from .decoding import Decoding
from .fingerprint import fingerprint
from .language import LanguageModel, rotary_spec
from .preprocess import Preprocessing
from .template import prompt_format
from .tokens import VisualTokens

# Frames that go through the vision tower at once.
_ENCODE_FRAMES = 32


class LlavaOnevisionBackbone:
    """Adapt transformers' LlavaOnevisionForConditionalGeneration to the backbone contract.

    Visual tokens are the pooled projections of get_video_features; the newline embedding that transformers puts
    after a video opens the question.  model: loaded with the text model's attention set to register_attention().
    folder: where its config, tokenizer and preprocessing files are.
    """

    model_type = "llava_onevision"
    model_class = LlavaOnevisionForConditionalGeneration

    def __init__(
        self,
        name: str,
        model: LlavaOnevisionForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        revision: str | None = None,
    ) -> None:
        config = model.config
        if not isinstance(config, LlavaOnevisionConfig):
            raise ModelError(f"{name} is a {config.model_type} model, not {self.model_type}")
        text: Any = config.text_config  # typed by transformers as anything that could be passed in
        vision: Any = config.vision_config
        side = math.ceil(vision.image_size // vision.patch_size / 2)
        self.name, self.device = name, model.device
        self.hidden_size, self.grid = int(text.hidden_size), (side, side)
        self.card = ModelCard.read(folder, text.num_hidden_layers, text.num_attention_heads)
        self._preprocessing = Preprocessing.read(folder)
        if self._preprocessing.size != (vision.image_size, vision.image_size):
            raise ModelError(
                f"{folder} prepares frames of {self._preprocessing.size}, but its vision tower takes "
                f"{vision.image_size} x {vision.image_size}; mend the size in its preprocessor_config.json"
            )
        self._model, self._tokenizer = model.eval(), tokenizer
        video_token = tokenizer.convert_ids_to_tokens(config.video_token_id)
        self._format = prompt_format(
            folder, tokenizer, video_token if isinstance(video_token, str) else "<video>", self.card.system_prompt
        )
        rotary = rotary_spec(model.model.language_model, text)
        made_by = fingerprint(folder, revision, model.dtype, rotary, self._preprocessing, self._format, self.card)
        self.layout = KVLayout(
            layers=text.num_hidden_layers,
            query_heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=2 * len(rotary.inv_freq),
            dtype=model.dtype,
            rotary=rotary,
            fingerprint=made_by,
        )
        self._language = LanguageModel(model.model.language_model, model.lm_head, self.layout, self.device)
        self._stop_ids = _stop_ids(model, tokenizer)
        added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        self._special_tokens = tuple(sorted({*tokenizer.all_special_tokens, *added}))

    def encode(self, images: Sequence[NDArray[np.uint8]], times_us: Sequence[int]) -> VisualTokens:
        """Turn RGB frames [H, W, 3], of any sizes, into grid h × w visual tokens each.

        Raises ModelError when there are not as many times as images.
        """
        if len(images) != len(times_us):
            raise ModelError(f"{len(images)} images came with {len(times_us)} times; give one time for each image")
        height, width = self.grid
        parts = [torch.empty((0, self.hidden_size), dtype=self.layout.dtype, device=self.device)]
        starts = range(0, len(images), _ENCODE_FRAMES)
        parts.extend(self._features(images[start : start + _ENCODE_FRAMES]) for start in starts)
        coords = torch.cartesian_prod(torch.arange(len(images)), torch.arange(height), torch.arange(width))
        return VisualTokens(
            features=torch.cat(parts),
            coords=coords.to(self.device, torch.int32),
            grid=self.grid,
            times_us=tuple(int(time) for time in times_us),
        )

    def _features(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Encode T frames as one video: features [T * h * w, D]."""
        with torch.no_grad():
            pixels = self._preprocessing.pixel_values(images, self.device).to(self.layout.dtype)
            out = self._model.model.get_video_features(pixel_values_videos=pixels[None])
            pooled: Tensor = out.pooler_output[0]  # [T * h * w + 1, D]: the last row is the newline embedding
            return pooled[:-1]

    def tokenize(self, text: str) -> Tensor:
        """Turn text into token ids, int64 [n], special tokens in the text recognised."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64, device=self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings [n, D]."""
        with torch.no_grad():
            rows: Tensor = self._model.get_input_embeddings()(ids.to(self.device))
            return rows

    def stamp(self, time_us: int) -> str:
        """Write the clock before a frame, such as " 3:25"; empty when the model's card asks for none."""
        return clock_text(time_us) if self.card.time_stamps == "clock" else ""

    def opening(self) -> Tensor:
        """Give the embeddings [n, D] of the prompt's part before the first frame."""
        return self.embed(self.tokenize(self._format.opening))

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Give the embeddings [n, D] of the newline, the question and the template's rest, and the question's rows.

        Special tokens that the text itself holds are blanked out: a question cannot end its own turn.
        """
        for token in self._special_tokens:
            text = text.replace(token, " ")
        start = len(self._format.before)
        whole = self._format.before + text + self._format.after
        encoded = self._tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        own = [begin < start + len(text) and end > start for begin, end in encoded["offset_mapping"]]
        newline = self._model.model.image_newline.detach()[None].to(self.device, self.layout.dtype)
        ids = torch.tensor(encoded["input_ids"], dtype=torch.int64, device=self.device)
        return torch.cat((newline, self.embed(ids))), torch.tensor([False, *own], device=self.device)

    def prefill(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None = None,
        *,
        heads: Sequence[HeadId] = (),
        logits: bool = False,
        select: ContextSelector | None = None,
    ) -> Prefill:
        """Run features [n, D] at positions int64 [n, 1] over a context, as Backbone.prefill says."""
        return self._language.prefill(features, positions, context, heads=heads, logits=logits, select=select)

    def generate(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        *,
        select: ContextSelector | None = None,
    ) -> Decoding:
        """Prefill features over the context, then decode text until the model ends it or max_tokens is reached."""
        tokens = self._language.tokens(features, positions, context, sampling, select)
        return Decoding(tokens, self._tokenizer, self._stop_ids)


def _stop_ids(model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Collect the ids that end an answer: the generation config's, else the tokenizer's."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
