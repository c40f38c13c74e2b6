"""Motion, set into a model that already looks things up: three heads and two neurons, by least squares.

Training alone found the axis of a motion and not its sense (half of the answers right after 54 minutes).  Which way a
thing went needs where it was.  So, after that:

| layer | part | attends, from -> to | writes |
| --- | --- | --- | --- |
| 0 | key head 0 | as before; visual token -> visual tokens of the same name, seen by then | besides: where they were |
| 0 | two idle neurons | | where a visual token is, less where they were |
| 1 | key head 1 | noun -> visual tokens of its name | that, turned so that it is the direction |
| 2 | key head 0 | as before; any token of a question -> its nouns | besides: the direction |

They write along directions of the residual stream that vary least, so that little else is disturbed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import DIRECTIONS, PLACES, SPRITES

from .circuits import SLOW, Head
from .contexts import IGNORED, Sample
from .design import vocabulary
from .probes import Embed, joined, probes, sizes
from .vision import PLACE_NAMES

GAIN = 4.0  # about how large the direction is in a layer's input, whose elements are about 1
RIDGE = 1e-3
GATE, SHARP = 60.0, 12.0  # nats for what is visual; how sharply names are told apart
OPEN, FAINT = 4.0, 0.17  # of the two neurons: how far their gate is open, how much they write


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold what the heads are fitted on.

    inputs: normed inputs of layers 0 to 3, each [tokens, D].  sizes: the residual stream's root mean square there.
    visual: bool [tokens].  shown: features of visual tokens [visual, D].  before: layer 0's input where they attend to,
    on average [visual, D].  halfway: the input of layer 0's MLP [tokens, D].  things: bool [tokens], questions' nouns.
    named: their embeddings [things, D].  nouns: the places of motion questions' nouns.  attended: what key head 1 of
    layer 1 gives from those to visual tokens [questions, tokens].  directions: [questions, 2].
    """

    inputs: list[Tensor]
    sizes: list[float]
    visual: Tensor
    shown: Tensor
    before: Tensor
    halfway: Tensor
    things: Tensor
    named: Tensor
    nouns: Tensor
    attended: Tensor
    directions: Tensor


def axes(reader: Tensor) -> Tensor:
    """Give two orthonormal directions [2, D], across and down, that the reader of places [9, D] tells apart."""
    centres = torch.tensor([PLACES[name] for name in PLACE_NAMES]) - 0.5
    return torch.linalg.qr((centres.T @ reader).T)[0].T


def set_motion(
    model: LlavaOnevisionForConditionalGeneration,
    reader: Tensor,
    mark: Tensor,
    samples: Sequence[Sample],
    embed: Embed,
) -> float:
    """Change the heads; give the share of the samples' motions that a noun can then tell (by least squares).

    reader: stage one's linear head of place [9, D].  mark: of visual tokens [D], of length 1.  embed: makes a batch's
    input embeddings.
    """
    layers = model.model.language_model.layers
    where = axes(reader)
    with torch.no_grad():
        seen = gather(model, samples, embed)
        been, moved, told = quiet(seen.inputs, 6).split(2)
        set_been(layers[0].self_attn, seen, where, been)

        seen = gather(model, samples, embed)
        wanted = seen.inputs[0][seen.visual] @ where.T - seen.before @ where.T  # [visual, 2]
        set_moved(layers[0].mlp, seen, wanted, mark, moved)

        seen = gather(model, samples, embed)
        head = Head(model, 1, 1).gate(GATE, mark)
        channels = torch.arange(64).reshape(2, 32)[:, SLOW].reshape(-1)
        asks, has = lookup(seen, len(channels))
        head.q[:, channels], head.q_bias[:, channels] = asks
        head.k[channels], head.k_bias[channels] = has
        head.carry(where, 0 * where)  # that it attends so; what it carries comes next
        seen = gather(model, samples, embed)
        read = solve(seen.inputs[1][seen.visual], wanted)
        found = seen.attended @ (seen.inputs[1] @ read)
        fit = solve(found, seen.directions)  # [2, 2]
        head.carry((read @ fit / (found @ fit).pow(2).mean().sqrt()).T, seen.sizes[2] * GAIN * told)

        seen = gather(model, samples, embed)
        third = layers[2].self_attn
        size = (seen.inputs[2][seen.nouns] @ told.T).pow(2).mean().sqrt()
        third.v_proj.weight[62:64], third.v_proj.bias[62:64] = told / size, 0
        for query in (0, 1):
            third.o_proj.weight[:, outputs(query)][:, 62:64] = seen.sizes[3] * GAIN / 2 * told.T
    return share_right(found @ fit, seen.directions)


def set_been(attention: nn.Module, seen: Evidence, where: Tensor, been: Tensor) -> None:
    """Let key head 0 of layer 0 also write where what it attends to stands, along `been` [2, D]."""
    values = seen.inputs[0][seen.visual] @ attention.v_proj.weight[:64].T + attention.v_proj.bias[:64]
    fit = solve(values, seen.inputs[0][seen.visual] @ where.T)  # [64, 2]
    for query in (0, 1):
        attention.o_proj.weight[:, outputs(query)] += seen.sizes[1] / 2 * been.T @ fit.T


def set_moved(mlp: nn.Module, seen: Evidence, wanted: Tensor, mark: Tensor, moved: Tensor) -> None:
    """Let two idle neurons of layer 0 write where a visual token is less where its like were, along `moved` [2, D].

    After the MLP it could be read no more: what others wrote lies over the token's own place (correlation 0.9).
    """
    here = seen.halfway[seen.visual]
    read = solve(here, wanted) / wanted.pow(2).mean().sqrt()
    idle = mlp.down_proj.weight.norm(dim=0).argsort()[:2]
    gate = mark * OPEN / (here @ mark).mean()  # every visual token bears the mark, so the gate is open for all
    mlp.gate_proj.weight[idle], mlp.up_proj.weight[idle] = gate.expand(2, -1), read.T
    mlp.down_proj.weight[:, idle] = moved.T * seen.sizes[1] * FAINT


def lookup(seen: Evidence, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Fit what nouns ask for and what visual tokens have, so that those of one name agree.

    Each is a projection of layer 1's inputs, [count, D], with its bias [count].
    """
    nouns, visual = seen.inputs[1][seen.things], seen.inputs[1][seen.visual]
    spread = torch.linalg.svd(seen.named - seen.named.mean(0), full_matrices=False)[2][:count]
    asks, has = solve(nouns, seen.named @ spread.T), solve(visual, seen.shown @ spread.T)
    size = ((nouns - nouns.mean(0)) @ asks).pow(2).mean(0).sqrt()
    asks, has = (asks / size.sqrt()).T * SHARP, (has / size.sqrt()).T * SHARP
    return (asks, -asks @ nouns.mean(0)), (has, -has @ visual.mean(0))


def outputs(query: int) -> slice:
    """Give the columns of a query head's output."""
    return slice(query * 64, (query + 1) * 64)


def solve(given: Tensor, wanted: Tensor) -> Tensor:
    """Find the map [m, k] from given [n, m] to wanted [n, k], both less their means, by least squares with a ridge."""
    given, wanted = given - given.mean(0), wanted - wanted.mean(0)
    scale = given.pow(2).sum() / given.shape[1]
    return torch.linalg.solve(given.T @ given + RIDGE * scale * torch.eye(given.shape[1]), given.T @ wanted)


def share_right(told: Tensor, wanted: Tensor) -> float:
    """Give the share of rows [n, 2] of which the nearest of the four directions is the wanted one."""
    four = torch.tensor(list(DIRECTIONS.values()), dtype=torch.float32)
    told = told - told.mean(0)
    return float(((told @ four.T).argmax(1) == (wanted @ four.T).argmax(1)).float().mean())


def quiet(inputs: Sequence[Tensor], count: int) -> Tensor:
    """Find orthonormal directions [count, D] that vary least over all of the inputs [n, D]."""
    together = sum((rows.T @ rows / len(rows) for rows in inputs), torch.zeros(()))
    return torch.linalg.eigh(together)[1].T[:count]


def gather(
    model: LlavaOnevisionForConditionalGeneration,
    samples: Sequence[Sample],
    embed: Embed,
) -> Evidence:
    """Run the samples and pick what the heads are fitted on."""
    language = model.model.language_model
    words = vocabulary()
    things = torch.tensor([words.index(name) for name in SPRITES])
    ways = {words.index(name): torch.tensor(way, dtype=torch.float32) for name, way in DIRECTIONS.items()}
    inputs: list[list[Tensor]] = []
    squares: list[list[float]] = []
    visual: list[Tensor] = []
    shown: list[Tensor] = []
    before: list[Tensor] = []
    nounish: list[Tensor] = []
    named: list[Tensor] = []
    nouns: list[int] = []
    attended: list[Tensor] = []
    directions: list[Tensor] = []
    offset = 0
    halfway: list[Tensor] = []
    hook = language.layers[0].post_attention_layernorm.register_forward_hook(lambda *a: halfway.append(a[2][0]))
    try:
        for seen in probes(model, samples, embed):
            ids, labels, part = seen.ids, seen.labels, seen.part
            inputs.append(seen.inputs[:4])
            squares.append(seen.squares[:4])
            visual.append(ids == -1)
            shown.append(seen.features)
            before.append((seen.attentions[0][:2].mean(0) @ seen.inputs[0])[ids == -1])
            thing = torch.isin(ids, things) & (labels == IGNORED)
            nounish.append(thing)
            named.append(model.get_input_embeddings().weight[ids[thing]])
            for question, kind in enumerate(seen.sample.kinds):
                answer = int(torch.nonzero((part == question) & (labels != IGNORED))[0, 0])
                if kind == "motion" and int(labels[answer]) in ways:
                    noun = int(torch.nonzero((part == question) & torch.isin(ids, things))[-1, 0])
                    nouns.append(offset + noun)
                    attended.append(nn.functional.pad(seen.attentions[1][2:, noun].mean(0), (offset, 0)))
                    directions.append(ways[int(labels[answer])])
            offset += len(ids)
    finally:
        hook.remove()
    sees = torch.cat(visual)
    weights = torch.stack([nn.functional.pad(row, (0, offset - len(row))) for row in attended]) * sees
    return Evidence(
        joined(inputs),
        sizes(squares),
        sees,
        torch.cat(shown),
        torch.cat(before),
        torch.cat(halfway),
        torch.cat(nounish),
        torch.cat(named),
        torch.tensor(nouns),
        weights,
        torch.stack(directions),
    )
