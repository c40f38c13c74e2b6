"""The prompt's format: the text before the first frame and after the last one, from the model's chat template."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from ..errors import ModelError

_QUESTION = "\u241fquestion\u241f"  # stands for the question while a template is rendered


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """Hold the three fixed texts of a prompt: opening, frames, before, the question, after."""

    opening: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PublishedFormat:
    """Hold the format that a model was published with.  system: the system's turn, {} for its prompt."""

    system: str
    prompt: PromptFormat


def prompt_format(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    video_token: str,
    system_prompt: str,
    published: PublishedFormat,
) -> PromptFormat:
    """Split the model's chat template around the video and the question.

    video_token: what stands for the frames in a rendered template, and is cut out.  The processor's template goes
    before the tokenizer's, as in transformers; where neither can take a video, the published format is used.  Raises
    ModelError when the system prompt holds the video token.
    """
    if video_token in system_prompt:
        raise ModelError(f"the system prompt must not hold {video_token!r}, which stands for the frames")
    messages: list[Any] = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": _QUESTION}]}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    for template in _templates(folder, tokenizer):
        try:
            text = tokenizer.apply_chat_template(
                messages, chat_template=template, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, TypeError, ValueError):
            continue  # a template for plain text, which cannot render a list of contents
        found = _split(str(text), video_token)
        if found is not None and system_prompt in found.opening:
            return found
    system = published.system.replace("{}", system_prompt) if system_prompt else ""
    return PromptFormat(system + published.prompt.opening, published.prompt.before, published.prompt.after)


def _split(text: str, video_token: str) -> PromptFormat | None:
    """Cut a rendered prompt at the video and the question; None unless each stands there once, in this order."""
    if text.count(video_token) != 1 or text.count(_QUESTION) != 1:
        return None
    opening, _, rest = text.partition(video_token)
    before, found, after = rest.partition(_QUESTION)
    return PromptFormat(opening, before, after) if found else None


def _templates(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """List the chat templates of a model folder: the processor's, then the tokenizer's."""
    found: list[object] = []
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        found.append(jinja.read_text(encoding="utf-8"))
    for name in ("chat_template.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ModelError(f"{path} is not valid JSON ({error}); fetch the model again") from error
            found.append(content.get("chat_template") if isinstance(content, dict) else None)
    found.append(tokenizer.chat_template)
    return [template for template in found if isinstance(template, str)]
