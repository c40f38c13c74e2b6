"""What the adapters share: text in and out, the prompt's format, passes through the language model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import ModelError
from ..memory.block import Context, KVLayout
from ..memory.codecs.tables import CodecTables
from ..memory.positions import cell_positions, text_positions
from ..settings import FRAME_TOKENS
from .backbone import ContextSelector, HeadId, Prefill, Sampling
from .calibrations import StoredCalibration
from .card import ModelCard
from .cell_pixels import cell_pixels
from .decoding import Decoding
from .fingerprint import fingerprint, weights_fingerprint
from .language import LanguageModel, rotary_spec
from .preprocess import PixelScale
from .rows import Rows, no_cells
from .template import PublishedFormat, prompt_format
from .tokens import VisualTokens
from .vision_attention import ATTENTION_PLANES, VISION_ATTENTION_NAME, TowerRecord


class Adapter(ABC):
    """Adapt a vision language model of transformers to the backbone contract; the families fill in the rest.

    Keeps the weights and nothing of any stream.  model: loaded with the text model's attention set to
    register_attention(), and the vision tower's to register_vision_attention() (without that, it gives no planes).
    folder: where its config, tokenizer and preprocessing files are.  frame_tokens: budget of visual tokens for a
    frame, where the family's frames may have more or fewer.  Raises ModelError for a model that cannot be adapted.
    """

    model_type: ClassVar[str]
    model_class: ClassVar[Any]
    published: ClassVar[PublishedFormat]
    interleaved: ClassVar[bool] = False  # whether M-RoPE's axes alternate
    tower_layers: int  # layers of the vision tower that shape the features; _prepare() says how many

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        revision: str | None = None,
        frame_tokens: int = FRAME_TOKENS,
    ) -> None:
        config: Any = model.config  # typed by transformers as anything that could be passed in
        if config.model_type != self.model_type:
            raise ModelError(f"{name} is a {config.model_type} model, not {self.model_type}")
        text = config.text_config
        whole: Any = model.eval()
        self.name, self.device, self.hidden_size = name, model.device, int(text.hidden_size)
        self.card = ModelCard.read(folder, text.num_hidden_layers, text.num_attention_heads)
        self.revision, self.frame_tokens = revision, frame_tokens
        self.codec_tables: CodecTables | None = None
        self._model, self._config, self._tokenizer = whole, config, tokenizer
        self._format = prompt_format(folder, tokenizer, self._placeholder(), self.card.system_prompt, self._published())
        self.preprocessing: PixelScale = self._prepare(folder, frame_tokens)
        rotary = rotary_spec(whole.model.language_model, text, self.interleaved)
        self.weights = weights_fingerprint(folder)
        made_by = fingerprint(self.weights, revision, model.dtype, rotary, self.preprocessing, self._format, self.card)
        self.layout = KVLayout(
            layers=text.num_hidden_layers,
            query_heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=2 * len(rotary.inv_freq),
            dtype=model.dtype,
            rotary=rotary,
            fingerprint=made_by,
            ids_per_second=self._ids_per_second(),
        )
        self._language = LanguageModel(whole.model.language_model, whole.lm_head, self.layout, self.device)
        self._stop_ids = _stop_ids(whole, tokenizer)
        added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
        self._special_tokens = tuple(sorted({*tokenizer.all_special_tokens, *added}))

    @property
    def weights_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(weight.numel() * weight.element_size() for weight in self._model.parameters())

    def use(self, kept: StoredCalibration) -> None:
        """Take a calibration's heads, and its threshold of relevance if it has one, in place of the card's own.

        Raises ModelError when it names heads that the model lacks.
        """
        for head in kept.heads:
            if not (0 <= head.layer < self.layout.layers and 0 <= head.head < self.layout.query_heads):
                raise ModelError(f"the calibration of {self.name} names {head}, which it lacks; calibrate it again")
        relevance = self.card.relevance if kept.relevance is None else kept.relevance
        self.card = replace(self.card, retrieval_heads=kept.heads, relevance=relevance)

    @abstractmethod
    def _prepare(self, folder: Path, frame_tokens: int) -> PixelScale:
        """Read the preprocessing of a model folder, and keep what encode() needs of it."""

    @abstractmethod
    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Say how many (h, w) cells a frame of this height and width in pixels has."""

    @abstractmethod
    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3] into visual tokens, as Backbone.encode says."""

    @abstractmethod
    def stamp(self, time_us: int) -> str:
        """Write the text time stamp before a frame; empty when the model is given none."""

    def _record(self, planes: frozenset[str], patches: int) -> TowerRecord | None:
        """Make what the tower's attention is kept in, None where no plane wants it.  Raises ModelError."""
        if not planes & ATTENTION_PLANES:
            return None
        attention = self._config.vision_config._attn_implementation
        if attention != VISION_ATTENTION_NAME:
            raise ModelError(
                f"the vision tower of {self.name} was loaded with attention {attention!r}, which shows nothing of "
                f"itself; load it with {VISION_ATTENTION_NAME!r}, as load_backbone does"
            )
        return TowerRecord(planes, patches, self.tower_layers)

    def _extras(
        self,
        parts: Sequence[Mapping[str, Tensor]],
        images: Sequence[NDArray[np.uint8]],
        grid: tuple[int, int],
        planes: frozenset[str],
    ) -> dict[str, Tensor]:
        """Join the extras of batches of frames, and add the planes that need no tower; grid: of all frames."""
        extras = {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        if not parts:
            extras = {name: torch.empty(0, self.tower_layers, device=self.device) for name in planes & ATTENTION_PLANES}
        if "pixels" in planes:
            extras["pixels"] = cell_pixels(images, grid).to(self.device)
        return extras

    def _placeholder(self) -> str:
        """Give what stands for all frames in a rendered chat template."""
        return self._token(self._config.video_token_id)

    def _published(self) -> PublishedFormat:
        """Give the format that is used where the model's folder has no template that can take a video."""
        return self.published

    def _ids_per_second(self) -> int:
        """Give KVLayout.ids_per_second."""
        return 0

    def _before_question(self) -> Tensor:
        """Give embeddings [n, D] that come between the last frame and the question's text."""
        return self._text_rows("")

    def _around_frame(self, time_us: int) -> tuple[str, str]:
        """Give the text before and after the visual tokens of a frame."""
        return self.stamp(time_us), ""

    def _token(self, token_id: int) -> str:
        """Write a special token."""
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        if not isinstance(token, str):
            raise ModelError(f"{self.name}: the tokenizer has no token {token_id}, which its config.json names")
        return token

    def frame(self, tokens: VisualTokens) -> Rows:
        """Make the rows of one frame's surviving tokens, its time stamp and markers around them.

        Raises ModelError for tokens of more frames than one.
        """
        if len(tokens.times_us) != 1:
            raise ModelError(
                f"rows are made of one frame, not of {len(tokens.times_us)}; cut them with tokens.frame(t)"
            )
        axes, cell_coords = self.layout.rotary.axes, tokens.coords.cpu()
        before, after = map(self._text_rows, self._around_frame(tokens.times_us[0]))
        cells, head, tail = len(tokens), len(before), len(after)
        # M-RoPE: what follows a frame stands one past its larger side, whatever pruning left of it.
        side = cells if axes == 1 else max(tokens.grid)
        positions = torch.cat(
            (
                text_positions(head, 0, axes),
                cell_positions(cell_coords, axes) + head,
                text_positions(tail, head + side, axes),
            )
        )
        coords = torch.cat((no_cells(head), cell_coords, no_cells(tail)))
        planes = tokens.extras.get("deepstack")
        if planes is not None:
            none = planes.new_zeros
            planes = torch.cat((none(head, *planes.shape[1:]), planes, none(tail, *planes.shape[1:])))
        features = torch.cat((before, tokens.features.to(before.dtype), after))
        return Rows(features, positions, head + side + tail, coords, planes)

    def tokenize(self, text: str) -> Tensor:
        """Turn text into token ids, int64 [n], special tokens in the text recognised."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64, device=self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings [n, D]."""
        with torch.no_grad():
            rows: Tensor = self._model.get_input_embeddings()(ids.to(self.device))
            return rows

    def _text_rows(self, text: str) -> Tensor:
        if text:
            return self.embed(self.tokenize(text))
        return torch.empty((0, self.hidden_size), dtype=self.layout.dtype, device=self.device)

    def opening(self) -> Tensor:
        """Give the embeddings [n, D] of the prompt's part before the first frame."""
        return self.embed(self.tokenize(self._format.opening))

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Give the embeddings [n, D] of everything after the last frame, and which rows are the question's own words.

        Special tokens that the text itself holds are blanked out: a question cannot end its own turn.
        """
        for token in self._special_tokens:
            text = text.replace(token, " ")
        start = len(self._format.before)
        whole = self._format.before + text + self._format.after
        encoded = self._tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        own = [begin < start + len(text) and end > start for begin, end in encoded["offset_mapping"]]
        ids = torch.tensor(encoded["input_ids"], dtype=torch.int64, device=self.device)
        before = self._before_question()
        return torch.cat((before, self.embed(ids))), torch.tensor([*([False] * len(before)), *own], device=self.device)

    def prefill(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None = None,
        *,
        heads: Sequence[HeadId] = (),
        logits: bool = False,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Prefill:
        """Run features [n, D] at positions int64 [n, axes] over a context, as Backbone.prefill says."""
        return self._language.prefill(
            features, positions, context, heads=heads, logits=logits, select=select, planes=planes
        )

    def generate(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        *,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Decoding:
        """Prefill features over the context, then decode text until the model ends it or max_tokens is reached."""
        tokens = self._language.tokens(features, positions, context, sampling, select, planes)
        return Decoding(tokens, self._tokenizer, self._stop_ids)


def _stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Collect the ids that end an answer: the generation config's, else the tokenizer's."""
    ids = model.generation_config.eos_token_id
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return frozenset()
    return frozenset([ids] if isinstance(ids, int) else ids)
