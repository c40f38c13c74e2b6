"""Train stage two: python -m training.train_language --minutes 130 --out runs/pocket (after training.train_vision).

The tower is frozen; its features of a bank of scenes are made once. Loss on answers only. Contexts lengthen when the
mean accuracy of the kinds passes the bar, or after a while all the same. Rows of the embedding table that name the cast
or tell the time stay as they started, so that a question's words go on finding the visual tokens they name.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from onlooker.theatre.questions import KINDS

from . import optimisers
from .circuits import CLOCK, start_circuits
from .contexts import IGNORED, Writer, collate
from .design import build_model, build_tokenizer, vocabulary
from .motion import set_motion
from .order import set_order
from .rest import set_rest
from .scenes import Filmed, fill_bank, load_bank
from .vision import NAMES, ahead

LENGTHS = (4, 7, 11, 16, 22)
BAR = 0.86
GENTLE = ("self_attn.",)  # where the circuits are
MOTION_SEED, ORDER_SEED = 0x307104, 0x0BDE4
CARRIED = {"place": 8, "colour": 7, "count": 4, "word": 20, "neighbour": 25}  # directions, 64 in all


def load_vision(model: LlavaOnevisionForConditionalGeneration, out: Path) -> None:
    """Load stage one and scale the projector so that features are as long as word embeddings (exact: it is linear)."""
    state = load_file(out / "vision.safetensors")
    model.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")}, strict=False)
    probe = fill_bank(model, 60, 99)
    norm = torch.cat([f.features.float().reshape(-1, f.features.shape[-1]) for f in probe]).norm(dim=-1).mean()
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        factor = table.norm(dim=-1).mean() / norm
        last = model.model.multi_modal_projector.linear_2
        last.weight.mul_(factor)
        last.bias.mul_(factor)
        model.model.image_newline.normal_(0, float(table.std()))


def begin(model: LlavaOnevisionForConditionalGeneration, features: Tensor, out: Path) -> None:
    """Set the circuits that stage two starts from."""
    read = load_file(out / "vision.safetensors")
    readers = [(read[f"labels.heads.{name}.weight"], most) for name, most in CARRIED.items()]
    start_circuits(model, features, readers)


def add_motion(
    model: LlavaOnevisionForConditionalGeneration,
    bank: Sequence[Filmed],
    tokenizer: PreTrainedTokenizerFast,
    mark: Tensor,
    out: Path,
) -> float:
    """Set what tells motions, fitted on samples of their own; mark: what the projector's bias gained [D]."""
    writer = Writer(bank, tokenizer, MOTION_SEED)
    samples = [writer.sample(LENGTHS[-1], 10) for _ in range(400)]
    chosen = [sample for sample in samples if "motion" in sample.kinds][:100]
    reader = load_file(out / "vision.safetensors")["labels.heads.place.weight"]
    return set_motion(model, reader, mark / mark.norm(), chosen, partial(embed, model))


def add_order(
    model: LlavaOnevisionForConditionalGeneration, bank: Sequence[Filmed], tokenizer: PreTrainedTokenizerFast
) -> float:
    """Set where plain words rest, then what tells orders, fitted on samples of their own."""
    writer = Writer(bank, tokenizer, ORDER_SEED)
    samples = [writer.sample(int(writer.rng.integers(LENGTHS[0], LENGTHS[-1] + 1)), 10) for _ in range(250)]
    set_rest(model, samples[:100], partial(embed, model))
    return set_order(model, samples, partial(embed, model))


def hold(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Hold the layers that find motions, so that the others learn to say them."""
    first, second, third = model.model.language_model.layers[:3]
    for part in (first, second, third.self_attn, third.input_layernorm):
        part.requires_grad_(False)


def embed(model: LlavaOnevisionForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """Give the input embeddings [B, n, D] of a batch."""
    ids = batch["ids"]
    embeds: Tensor = model.get_input_embeddings()(ids.clamp(min=0))
    newline = model.model.image_newline
    embeds = torch.where((ids == -2)[..., None], newline.to(embeds.dtype), embeds)
    return embeds.masked_scatter((ids == -1)[..., None], batch["features"].to(embeds.dtype))


def answers(model: LlavaOnevisionForConditionalGeneration, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Give logits [answers, V] and labels [answers] of the answers' tokens."""
    embeds = embed(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model.language_model(
            inputs_embeds=embeds,
            attention_mask={"full_attention": batch["mask"]},
            position_ids=batch["positions"],
            use_cache=False,
        ).last_hidden_state
    wanted = batch["labels"] != IGNORED
    return (hidden[wanted].float() @ model.get_input_embeddings().weight.T), batch["labels"][wanted]


def accuracy(samples: list, batch: dict[str, Tensor], logits: Tensor) -> dict[str, list[float]]:
    """Say per kind which questions were answered right in full (teacher-forced, so equal to greedy decoding)."""
    wanted = batch["labels"] != IGNORED
    rows, part = torch.nonzero(wanted)[:, 0], batch["part"][wanted]
    right = logits.argmax(-1) == batch["labels"][wanted]
    wrong = {(int(r), int(p)) for r, p, ok in zip(rows, part, right, strict=True) if not ok}
    result: dict[str, list[float]] = defaultdict(list)
    for number, sample in enumerate(samples):
        for q, kind in enumerate(sample.kinds):
            result[kind].append(float((number, q) not in wrong))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Train until the minutes are spent; resume from the folder's last checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=130)
    parser.add_argument(
        "--motion-minutes", type=float, default=54, help="set motion then, and train on at half the rate"
    )
    parser.add_argument("--order-minutes", type=float, default=93, help="set order then, and train on")
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--tokens", type=int, default=4_200, help="tokens per step, about")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--muon-rate", type=float, default=2.2e-3)
    parser.add_argument("--level-minutes", type=float, default=4.5, help="lengthen after so long all the same")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"))
    args = parser.parse_args(arguments)
    torch.manual_seed(args.seed)
    model, tokenizer = build_model(), build_tokenizer()
    load_vision(model, args.out)
    file, note = args.out / "language.safetensors", args.out / "language.json"
    clock = time.monotonic()
    bank = load_bank(model, args.scenes, args.seed, args.out)
    print(f"bank of {len(bank)} scenes in {time.monotonic() - clock:.0f} s", flush=True)
    last = model.model.multi_modal_projector.linear_2
    filmed_with = last.bias.detach().clone()
    level, spent, moves, orders = 0, 0.0, False, False
    if file.exists():
        model.load_state_dict(load_file(file), strict=False)
        saved = json.loads(note.read_text())
        level, spent, moves, orders = (saved[name] for name in ("level", "minutes", "moves", "orders"))
    else:
        begin(model, torch.cat([f.features.flatten(0, 1) for f in bank[:400]]).float(), args.out)
    # pooling is an average, so a bias of the projector goes through it as it is
    shift = (last.bias.detach() - filmed_with).to(torch.bfloat16)
    bank = [replace(filmed, features=filmed.features + shift) for filmed in bank]
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(False)
    table = model.get_input_embeddings().weight
    frozen = [vocabulary().index(name) for name in (*NAMES, *CLOCK)]
    kept = table[frozen].detach().clone()
    made = optimisers.build([model], args.rate, args.muon_rate, GENTLE)
    writer = Writer(bank, tokenizer, args.seed + int(spent * 100))
    state = {"level": level, "moves": moves, "orders": orders}
    if moves:
        hold(model)
    average: dict[str, float] = {}

    def batches():  # type: ignore[no-untyped-def]
        while True:
            top = state["level"]
            level = top if writer.rng.random() < 0.7 else int(writer.rng.integers(top + 1))
            frames, questions = LENGTHS[level], 10
            if state["moves"] and writer.rng.random() < 0.5:  # what recall gives of a short stream
                frames = int(writer.rng.integers(2, 9))
            writer.free = 0.5 * top / (len(LENGTHS) - 1)  # its words first, then many more
            count = max(4, args.tokens // (16 + frames * 13 + questions * 18))
            samples = [writer.sample(frames, questions) for _ in range(count)]
            yield level, samples, collate(samples)

    def save(minutes: float) -> None:
        skip = ("vision_tower", "lm_head")
        tensors = {
            k: v.detach().contiguous().clone() for k, v in model.state_dict().items() if not any(s in k for s in skip)
        }
        save_file(tensors, file)
        note.write_text(json.dumps({**state, "minutes": minutes, "length": LENGTHS[state["level"]], **average}))

    began = time.monotonic() - spent * 60
    saved_at, since, risen = time.monotonic(), 0, spent
    for step, (level, samples, batch) in enumerate(ahead(batches())):
        minutes = (time.monotonic() - began) / 60
        if minutes >= args.minutes:
            break
        if minutes >= args.motion_minutes and not state["moves"]:
            told = add_motion(model, writer.bank, tokenizer, last.bias.detach() - filmed_with, args.out)
            print(f"== {minutes:.1f} min: motion is set; nouns tell {told:.2f} of them", flush=True)
            state["moves"] = True
            hold(model)
        if minutes >= args.order_minutes and not state["orders"]:
            told = add_order(model, writer.bank, tokenizer)
            print(f"== {minutes:.1f} min: order is set; the last nouns tell {told:.2f} of them", flush=True)
            state["orders"] = True
        if state["moves"]:
            share = (minutes - args.motion_minutes) / (args.minutes - args.motion_minutes)
            optimisers.set_rate(made, share, 0.5)
        else:
            optimisers.set_rate(made, minutes / args.motion_minutes)
        logits, labels = answers(model, batch)
        loss = F.cross_entropy(logits, labels)
        for optimiser in made:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in made:
            optimiser.step()
        with torch.no_grad():
            table[frozen] = kept
        if level == state["level"]:
            since += 1
            for kind, values in accuracy(samples, batch, logits).items():
                mean = sum(values) / len(values)
                weight = min(0.5, 0.004 * len(values))
                average[kind] = mean if kind not in average else (1 - weight) * average[kind] + weight * mean
            scores = [average.get(kind, 0.0) for kind in KINDS]
            passed = sum(scores) / len(scores) > BAR and min(scores) > 0.6 and since > 40
            waited = minutes - risen > args.level_minutes * (1 + level / 3)
            if (passed or waited) and level < len(LENGTHS) - 1:
                state["level"], since, risen = level + 1, 0, minutes
                print(f"== {minutes:.1f} min: contexts of {LENGTHS[level + 1]} frames", flush=True)
        if step % 25 == 0:
            shown = " ".join(f"{kind} {average.get(kind, 0):.2f}" for kind in KINDS)
            length = LENGTHS[state["level"]]
            print(
                f"{step} {minutes:.1f}m len {length} {list(batch['ids'].shape)} loss {loss.item():.3f} {shown}",
                flush=True,
            )
        if time.monotonic() - saved_at > 120:
            save(minutes)
            saved_at = time.monotonic()
    save(args.minutes)


if __name__ == "__main__":
    main()
