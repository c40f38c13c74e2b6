"""The start of stage two: attention heads that already look things up, set by hand and then trained like the rest.

From a random start the model learns what stands in a picture in minutes, and which thing a question names within one
picture; looking a thing up among many frames, reading its time, and comparing two things were not learned in half an
hour.  So every block starts as the identity (what attention and MLP write is zero), and these heads are set:

| layer | key head | attends from -> to | carries |
| --- | --- | --- | --- |
| 0 | 0 | noun -> visual tokens of that name | what stage one's linear heads read: place, colour, neighbour, ... |
| 0 | 0 | visual token -> visual tokens of the same name, seen by then | the same, and where they were |
| 0 | 1 | visual token -> the clock before its frame | the time |
| 0 | 1 | second noun of an order question -> the word before it (or, before, after) | that it is the second |
| 1 | 0 | noun -> visual tokens of that name | the time |
| 1 | 1 | noun -> visual tokens of that name | where they are less where they were: motion |
| 2 | 0 | any token of a question -> its nouns | what heads 0, 0 and 1, 1 found |
| 2 | 1 | noun -> the earlier one of it and the nouns before it, by their times | its name; "before" or "after" |
| 3 | 0 | any token of a question -> its nouns | the time |
| 3 | 1 | any token of a question -> the last visual tokens | names |
| 4 | 0 | any token of a question -> its second noun | what head 2, 1 found |

Names are matched in slow rotary channels alone: turned by the distance between question and frame, fast ones would
match nothing.  Middling channels serve "the nearest".  One channel gates what is attended to at all, by marks:
directions that nothing else uses, added to the embeddings of nouns, of the clock and of joining words, and by the
projector's bias to every visual token.  Times compare in attention itself: minutes, and seconds, are points on a circle
of sixty, and which of two comes first within half a turn is an odd function of their difference, a sum of sines.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.bench.cast import PLACES, SPRITES

from .design import vocabulary
from .vision import NAMES, PLACE_NAMES

MATCH = 1.5
NEAR, RECENT = 6.0, 5.0
MARK, MARK_SEEN = 0.7, 9.0  # as it is added, and about as a layer's norm shows it
HARMONICS = (1, 3, 5, 7)
MINUTES_COUNT = 4.0  # times as much as seconds
GATES = (31, 63, 30)  # the slowest of 32, its other half, the one before
SLOW, MIDDLING, BROAD = slice(15, 31), slice(4, 9), slice(7, 11)
NUMBERS = 60
HOURS_AND_MINUTES = tuple(str(number) for number in range(NUMBERS))
COLONS = tuple(f":{number:02d}" for number in range(NUMBERS))
CLOCK = (*HOURS_AND_MINUTES, *COLONS)


class Head:
    """One key head of a layer with its query heads, set row by row."""

    def __init__(self, model: LlavaOnevisionForConditionalGeneration, layer: int, key_head: int) -> None:
        self.attention = model.model.language_model.layers[layer].self_attn
        self.dim = self.attention.head_dim
        self.key = slice(key_head * self.dim, (key_head + 1) * self.dim)
        group = self.attention.num_key_value_groups
        self.queries = [
            slice(h * self.dim, (h + 1) * self.dim) for h in range(key_head * group, (key_head + 1) * group)
        ]
        width = self.attention.o_proj.weight.shape[0]
        self.gates = iter(GATES)
        self.q = torch.randn(group, self.dim, width) * 0.01
        self.q_bias = torch.zeros(group, self.dim)
        self.k, self.k_bias = torch.randn(self.dim, width) * 0.01, torch.zeros(self.dim)
        self.q[:, list(GATES)] = 0

    def gate(self, nats: float, mark: Tensor, asking: Tensor | None = None, query: slice | int = slice(None)) -> "Head":
        """Score what bears a mark [D] higher by so many nats than the rest.

        asking: the mark of the tokens that attend so; without, all do.  query: which query heads.
        """
        channel = next(self.gates)
        even = (nats * self.dim**0.5) ** 0.5
        if asking is None:
            self.q_bias[query, channel] = even
        else:
            self.q[query, channel] = even * asking / MARK_SEEN
        self.k[channel] = even * mark / MARK_SEEN
        return self

    def match(self, names: Tensor, gain: float = MATCH) -> "Head":
        """Attend where the names [m, D] agree: one projection, half whitened, for query and key."""
        channels = torch.arange(64).reshape(2, 32)[:, SLOW].reshape(-1)
        _, size, axes = torch.linalg.svd(names - names.mean(0))
        size, axes = size[: len(channels)], axes[: len(channels)]
        rows = axes / (size / size[-1]).sqrt()[:, None]
        self.q[:, channels], self.k[channels] = rows * gain, rows * MATCH
        return self

    def nearest(self) -> "Head":
        """Prefer what is near, before all else."""
        self.q_bias[:, MIDDLING] = self.k_bias[MIDDLING] = NEAR
        return self

    def recent(self) -> "Head":
        """Prefer the last frame or two, evenly."""
        self.q_bias[:, BROAD] = self.k_bias[BROAD] = RECENT
        return self

    def earlier(self, times: Tensor, gain: float) -> "Head":
        """Prefer what has the earlier time, by the basis of times [60, D]: the score of oneself is 0."""
        turn = torch.arange(NUMBERS // 2) * (2 * torch.pi / NUMBERS)
        channel = SLOW.start
        for basis, weight in zip(times.split(NUMBERS // 2), (MINUTES_COUNT, 1.0), strict=True):
            for harmonic in HARMONICS:
                cosine, sine = (harmonic * turn).cos() @ basis, (harmonic * turn).sin() @ basis
                most = gain * weight / harmonic
                self.q[:, channel], self.k[channel] = most * sine, cosine
                self.q[:, channel + 1], self.k[channel + 1] = -most * cosine, sine
                channel += 2
        return self

    def carry(self, read: Tensor, write: Tensor) -> None:
        """Read `read` [m, D] where it attends, write it along `write` [m, D]; set everything."""
        with torch.no_grad():
            a = self.attention
            a.k_proj.weight[self.key], a.k_proj.bias[self.key] = self.k, self.k_bias
            a.v_proj.weight[self.key], a.v_proj.bias[self.key] = 0, 0
            a.v_proj.weight[self.key][: len(read)] = read
            for query, asked, bias in zip(self.queries, self.q, self.q_bias, strict=True):
                a.q_proj.weight[query], a.q_proj.bias[query] = asked, bias
                a.o_proj.weight[:, query] = 0
                a.o_proj.weight[:, query][:, : len(read)] = write.T / len(self.queries)


def start_circuits(
    model: LlavaOnevisionForConditionalGeneration, features: Tensor, readers: Sequence[tuple[Tensor, int]]
) -> None:
    """Set the heads.

    features: visual tokens [n, D].  readers: stage one's linear heads [m, D], the first that of place, each with how
    many of its directions are carried.
    """
    words = vocabulary()
    inner = model.model
    for layer in inner.language_model.layers:
        for write in (layer.self_attn.o_proj, layer.mlp.down_proj):
            nn.init.zeros_(write.weight)
    table = inner.get_input_embeddings().weight.data
    names = table[[words.index(name) for name in NAMES]]
    attributes = shared(readers)
    free = spare(torch.cat((names, attributes)), features, NUMBERS + 10)
    times, been, motion, marks = free.split((NUMBERS, 2, 2, 6))
    second, noun, seen, number, colon, joint = marks
    for rows in (table, inner.image_newline.data[None]):
        rows -= rows @ free.T @ free
    set_clock(table, times)
    inner.multi_modal_projector.linear_2.bias.data += MARK * seen
    for mark, tokens in (
        (noun, SPRITES),
        (number, HOURS_AND_MINUTES),
        (colon, COLONS),
        (joint, ("or", "before", "after")),
    ):
        table[[words.index(token) for token in tokens]] += MARK * mark
    called = leading(names - names.mean(0), 63)

    where = axes(readers[0][0])
    moved = where - 1.9 * been  # so that what stands still gives nothing: measured
    beside = attributes * 0.1 + attributes @ where.T @ been * 0.1
    found = torch.cat((attributes[:-2], motion))
    side = table[words.index("after")] - table[words.index("before")]
    whether = second / 2.6 - noun / 12  # half or minus half
    not_noun = seen + number + colon  # they have times, too
    Head(model, 0, 0).gate(14, seen).match(names, 1.5 * MATCH).carry(attributes, beside)
    clock = Head(model, 0, 1).gate(60, number, seen, 0).gate(60, colon, seen, 1).gate(60, joint, noun)
    clock.nearest().carry(torch.cat((times, joint[None] / MARK_SEEN)), torch.cat((times * 0.1, second[None] * 0.3)))
    Head(model, 1, 0).gate(20, seen, noun).match(names, 1.5 * MATCH).carry(times, times * 0.1)
    Head(model, 1, 1).gate(20, seen, noun).match(names, 1.5 * MATCH).carry(moved, motion * 0.8)
    Head(model, 2, 0).gate(30, noun).carry(found, found * 0.1)
    Head(model, 2, 1).gate(160, noun - 4 * not_noun, noun).earlier(times, 6).carry(
        torch.cat((called, whether[None])), torch.cat((called * 0.2, side[None] * 0.6))
    )
    Head(model, 3, 0).gate(40, noun).carry(times, times * 0.1)
    Head(model, 3, 1).gate(30, seen).recent().carry(called, called * 0.1)
    Head(model, 4, 0).gate(60, noun).gate(60, second).carry(
        torch.cat((called, side[None])), torch.cat((called * 0.1, side[None] * 0.3))
    )


def axes(reader: Tensor) -> Tensor:
    """Give two orthonormal directions [2, D], across and down, that the reader of places [9, D] tells apart."""
    centres = torch.tensor([PLACES[name] for name in PLACE_NAMES]) - 0.5
    return torch.linalg.qr((centres.T @ reader).T)[0].T


def set_clock(table: Tensor, basis: Tensor) -> None:
    """Give the numbers of the clock rows of their own, along `basis` [60, D]; n + 30 is the opposite of n."""
    words, half = vocabulary(), NUMBERS // 2
    for number in range(NUMBERS):
        sign = 1.0 if number < half else -1.0
        table[words.index(str(number))] = sign * basis[number % half]
        table[words.index(f":{number:02d}")] = sign * basis[half + number % half]


def spare(used: Tensor, features: Tensor, count: int) -> Tensor:
    """Find orthonormal directions [count, D] apart from the rows `used` [m, D], where features [n, D] are least."""
    _, size, axes = torch.linalg.svd(used, full_matrices=True)
    rank = int((size > 1e-3 * size[0]).sum())
    left = axes[rank:]  # [D - rank, D]
    _, _, within = torch.linalg.svd(features @ left.T, full_matrices=True)
    found: Tensor = (within @ left)[-count:]
    return found


def leading(rows: Tensor, count: int) -> Tensor:
    """Give the leading directions of rows [m, D], orthonormal [count, D]."""
    return torch.linalg.svd(rows.float(), full_matrices=False)[2][:count]


def shared(readers: Sequence[tuple[Tensor, int]]) -> Tensor:
    """Give an orthonormal basis [count, D] with room for every reader: pairs of rows [m, D] and its directions."""
    chosen = torch.cat([leading(rows - rows.mean(0), most) for rows, most in readers])
    basis: Tensor = torch.linalg.qr(chosen.T)[0].T
    return basis
