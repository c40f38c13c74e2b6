"""The shape of `pocket`: its configuration, its vocabulary and its tokenizer."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from onlooker.theatre.cast import COLOURS, DIRECTIONS, PLACES, SPRITES, WORDS

IMAGE_PX = 112
POOLED_SIDE = 4
VISION_LAYERS = 4
SYSTEM_PROMPT = "watch the stream and answer."
SPECIAL = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<video>", "<image>")
# Words of questions and answers beside the cast's own. Anything else a person types becomes <unk>, which training
# also puts in, so that unknown words do no harm.
WORDING = """
system user assistant watch the stream and answer what which where when who how many much is are was were did do does
a an on in at of to from with by near beside next behind around over under during it its there that this you i me we
see saw seen show shown showed appear appeared come came go went move moved moving travel travelled head headed drift
drifted way direction side colour color background backdrop scene screen picture place part corner spot position
located standing stand sit sitting now right currently moment present time minute clock first before after earlier
later last sooner one two three four five same together neighbour along else thing things sprite object board sign
read say said written word text write wrote says number count visible ever any anything something nothing yes no not
or tell please can could have has been happen happened view stage just exactly most also while pass passed walk
walked horizontally find found look looks like made between if up down stay stayed still
""".split()
PUNCTUATION = [".", ",", "?", "!", "'", "##s", "##es", "\n"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'video' %}{{ '<video>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ '\n' + part['text'] }}{% endfor %}"
    "{% endif %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def vocabulary() -> list[str]:
    """List every token, special ones first, without repeats."""
    clock = [f":{n:02d}" for n in range(60)] + [str(n) for n in range(60)]
    words = [*SPECIAL, *SPRITES, *COLOURS, *" ".join(PLACES).split(), *DIRECTIONS, *WORDS, *WORDING, *PUNCTUATION]
    return list(dict.fromkeys([*words, *clock]))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the word-level tokenizer: lower case; plurals as name + ##s; "3:25" as "3" and ":25"."""
    tokens = {token: number for number, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="<unk>", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    pattern = Regex(r"\n|:\d\d|\w+|[^\w\s]")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=True), decoders.Replace(" :", ":")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<video>", "<image>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_config(vision_layers: int = VISION_LAYERS) -> LlavaOnevisionConfig:
    """Describe LLaVA-OneVision at pocket size: SigLIP 4 x 192, Qwen2 6 x 256 with 4 heads and 2 key heads."""
    tokens = vocabulary()
    vision = SiglipVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=vision_layers,
        num_attention_heads=3,
        image_size=IMAGE_PX,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokens),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokens.index("<|im_end|>"),
        pad_token_id=tokens.index("<pad>"),
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokens.index("<image>"),
        video_token_index=tokens.index("<video>"),
        image_grid_pinpoints=[[IMAGE_PX, IMAGE_PX]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_1",
        tie_word_embeddings=True,
    )


def build_model(vision_layers: int = VISION_LAYERS) -> LlavaOnevisionForConditionalGeneration:
    """Make the model with random weights (position embeddings are set by the vision stage)."""
    return LlavaOnevisionForConditionalGeneration(build_config(vision_layers))


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer's files into a model folder."""
    build_tokenizer().save_pretrained(folder)
