from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.models.tokens import VisualTokens
from onlooker.pruning import RECIPES, Recipe, RecipeSettings, State, build_recipe
from onlooker.pruning.budget import Everything, Price
from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.gate import Open
from onlooker.pruning.reduce import Drop
from onlooker.pruning.score import Flat, Novelty, neighbour_distance
from onlooker.pruning.select import Top
from onlooker.pruning.stages import PLAIN, Cells, Choice, Need, Traits

MakeTokens = Callable[[Tensor, tuple[int, int]], VisualTokens]
NAMES = st.sampled_from(sorted(RECIPES))
GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 9))


def stream(seed: int, frames: int, cells: int, dim: int = 6) -> Tensor:
    """Make a scene [T, N, D] with stretches of stillness, noise, drift and cuts."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 5, (frames,), generator=generator).tolist()
    now = torch.randn(cells, dim, generator=generator)
    result = []
    for kind in kinds:
        fresh = torch.randn(cells, dim, generator=generator)
        if kind == 1:
            now = now + 0.01 * fresh
        elif kind == 2:
            now = now + 0.3 * fresh
        elif kind == 3:
            now = torch.where(torch.rand(cells, 1, generator=generator) < 0.3, fresh, now)
        elif kind == 4:
            now = fresh
        result.append(now)
    return torch.stack(result)


@given(NAMES, GRIDS, st.floats(0.1, 1), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_what_survives_is_a_sorted_part_of_what_came(
    make_tokens: MakeTokens, name: str, grid: tuple[int, int], rate: float, frames: int, seed: int
) -> None:
    cells = grid[0] * grid[1]
    tokens = make_tokens(stream(seed, frames, cells), grid)
    recipe = build_recipe(name, grid=grid, rate=rate)
    pruned = recipe.prune(tokens, State())
    index = pruned.index.tolist()
    assert index == sorted(set(index))
    assert all(0 <= row < len(tokens) for row in index)
    assert pruned.tokens.extras["row"].tolist() == index
    if not recipe.reducer.traits.changes_features:
        assert torch.equal(pruned.tokens.features, tokens.features[pruned.index])
    assert torch.equal(pruned.tokens.coords, tokens.coords[pruned.index])
    assert pruned.tokens.times_us == tokens.times_us
    assert pruned.tokens.grid == grid
    assert pruned.counts.tolist() == [int((tokens.coords[index, 0] == t).sum()) for t in range(frames)]
    assert pruned.scores.shape == (frames, cells)
    assert pruned.scores.min() >= 0
    floor = RecipeSettings(grid, rate).smallest
    if isinstance(recipe.gate, Open) and name != "novelty":  # a gate may refuse a frame; the default has no floor
        assert min(pruned.counts.tolist()) >= floor
    if name != "none":
        assert len(index) <= cells + frames * rate * cells + 1e-3


@given(NAMES, st.sampled_from([(4, 4), (2, 3), (8, 8), (1, 2)]), st.data())
@settings(max_examples=60, deadline=None)
def test_grouping_of_calls_changes_nothing(
    make_tokens: MakeTokens, name: str, grid: tuple[int, int], data: st.DataObject
) -> None:
    frames = data.draw(st.integers(1, 12))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    borders = [*sorted(data.draw(st.sets(st.integers(1, 12))) & set(range(1, frames))), frames]
    features = stream(data.draw(st.integers(0, 10**6)), frames, grid[0] * grid[1]).to(dtype)
    recipe = build_recipe(name, grid=grid, rate=0.3, seed=3)
    whole = recipe.prune(make_tokens(features, grid), State())
    state, parts, start = State(), [], 0
    for end in borders:
        part, state = recipe.step(make_tokens(features[start:end], grid), state)
        parts.append(part)
        start = end
    joined = VisualTokens.join(parts)
    assert torch.equal(joined.features, whole.tokens.features)
    assert torch.equal(joined.coords, whole.tokens.coords)
    assert same(state, whole.state)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_past_does_not_depend_on_what_follows(make_tokens: MakeTokens, name: str) -> None:
    recipe = build_recipe(name, grid=(4, 4))
    past = stream(0, 10, 16)
    kept = []
    for seed in (1, 2):
        pruned = recipe.prune(make_tokens(torch.cat([past, stream(seed, 5, 16)]), (4, 4)), State())
        kept.append(pruned.index[pruned.index < 160].tolist())
    alone = recipe.prune(make_tokens(past, (4, 4)), State())
    assert kept[0] == kept[1] == alone.index.tolist()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_rate_one_is_the_identity(make_tokens: MakeTokens, name: str) -> None:
    """Also of a recipe that merges, gates or thinks too little of some cells: nothing is left to the recipe."""
    tokens = make_tokens(stream(5, 20, 12), (3, 4))
    recipe = build_recipe(name, grid=(3, 4), rate=1.0)
    kept, state = recipe.step(tokens, State())
    assert torch.equal(kept.features, tokens.features)
    assert torch.equal(kept.coords, tokens.coords)
    assert state.frames == 20
    less = build_recipe(name, grid=(3, 4), rate=0.5).step(tokens, State())[0]
    assert name == "none" or not torch.equal(kept.features, less.features)


@pytest.mark.parametrize(
    ("bad", "dtype"),
    [(1e20, torch.float32), (3e38, torch.bfloat16), (float("nan"), torch.float16), (-float("inf"), torch.float32)],
)
@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"none"}))
def test_one_broken_token_spoils_nothing_for_long(
    make_tokens: MakeTokens, name: str, bad: float, dtype: torch.dtype
) -> None:
    features = torch.randn(40, 16, 8, generator=torch.Generator().manual_seed(8)).cumsum(0).to(dtype)
    features[5, 3] = bad
    recipe = build_recipe(name, grid=(4, 4), rate=0.4)
    pruned = recipe.prune(make_tokens(features, (4, 4)), State())
    assert pruned.scores.isfinite().all()
    for key, value in pruned.state.memory.items():
        assert value.isfinite().all(), key
    assert pruned.counts[20:].sum() > 0


def test_a_broken_token_does_not_blind_the_default(make_tokens: MakeTokens) -> None:
    """Every channel is as telling after it as before."""
    generator = torch.Generator().manual_seed(9)
    before, after = torch.randn(2, 16, 8, generator=generator)
    features = torch.stack([before] * 3 + [before] * 2 + [after])
    features[2, 3] = 3e38
    pruned = build_recipe("novelty", grid=(4, 4), rate=0.5).prune(make_tokens(features, (4, 4)), State())
    assert pruned.scores[5].median() > 0.2


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (1, 3)])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_repeated_frame_costs_no_more_than_the_budget_says(
    make_tokens: MakeTokens, name: str, grid: tuple[int, int]
) -> None:
    """Savings from before may be spent first; then nothing but the share that the recipe gives to stillness."""
    cells = grid[0] * grid[1]
    still = torch.randn(1, cells, 6, generator=torch.Generator().manual_seed(3)).repeat(200, 1, 1)
    recipe = build_recipe(name, grid=grid, rate=0.4)
    counts = recipe.prune(make_tokens(still, grid), State()).counts
    assert counts[100:].float().mean() <= recipe.budget.still(cells) + 0.02
    assert recipe.budget.still(cells) <= (cells if name == "none" else 0.4 * cells + 1e-6)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"none"}))
def test_permuting_the_cells_permutes_what_is_kept(make_tokens: MakeTokens, name: str) -> None:
    """Unless a stage declares that a cell's place matters, or breaks ties by it (the floor of a still picture)."""
    settings = RecipeSettings((6, 6), rate=0.4, floor=0)
    recipe = RECIPES[name](settings)
    if any(stage.traits.placed for stage in recipe.stages.values()):
        pytest.skip("declares that a cell's place matters")
    features = torch.randn(12, 36, 6, generator=torch.Generator().manual_seed(5)).cumsum(0)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(6))
    masks = []
    for picture in (features, features[:, order]):
        kept = torch.zeros(12 * 36, dtype=torch.bool)
        kept[recipe.prune(make_tokens(picture, (6, 6)), State()).index] = True
        masks.append(kept.view(12, 36))
    assert masks[0].any()
    assert torch.equal(masks[0][:, order], masks[1])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_words_are_never_read_at_ingest(make_tokens: MakeTokens, name: str) -> None:
    recipe = build_recipe(name, grid=(2, 2), rate=0.5)
    assert not recipe.planes & {"text", "attention"}
    assert all(stage.traits.lag == 0 for stage in recipe.stages.values())
    tokens = make_tokens(stream(1, 6, 4), (2, 2))
    asked = replace(tokens, extras={**tokens.extras, "text": torch.randn(24, 3)})
    assert torch.equal(recipe.prune(tokens, State()).index, recipe.prune(asked, State()).index)


def test_a_still_picture_is_kept_place_by_place(make_tokens: MakeTokens) -> None:
    """The floor's tokens go round: eight frames of two tokens show all sixteen cells again."""
    still = torch.randn(1, 16, 6).repeat(9, 1, 1)
    pruned = build_recipe("novelty", grid=(4, 4), floor=2).prune(make_tokens(still, (4, 4)), State())
    later = pruned.tokens.coords[pruned.tokens.coords[:, 0] > 0]
    assert len({(y, x) for _, y, x in later.tolist()}) == 16


def test_refresh_is_kept_whole_by_count_or_by_order(make_tokens: MakeTokens) -> None:
    still = torch.randn(1, 16, 6).repeat(25, 1, 1)
    recipe = build_recipe("novelty", grid=(4, 4), refresh_frames=12)
    assert [t for t, n in enumerate(recipe.prune(make_tokens(still, (4, 4)), State()).counts) if n == 16] == [0, 12, 24]
    recipe = build_recipe("novelty", grid=(4, 4), floor=2)
    _, state = recipe.step(make_tokens(still[:5], (4, 4)), State())
    assert recipe.prune(make_tokens(still[:3], (4, 4)), state.refreshed()).counts.tolist() == [16, 2, 2]


def test_slow_drift_is_recorded_again_and_again(make_tokens: MakeTokens) -> None:
    """One cell turns slowly; against the frame before it every step is below the noise floor."""
    frames, noise = 400, 0.02
    angle = torch.arange(frames) * 0.05
    features = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0)).repeat(frames, 1, 1)
    features[:, 2] = 0
    features[:, 2, 0], features[:, 2, 1] = angle.cos(), angle.sin()
    weights = torch.ones(8)
    against_previous = [
        int((neighbour_distance(now, before, weights, (2, 2), 0) >= noise).sum()) for before, now in pairwise(features)
    ]
    assert sum(against_previous) == 0
    recipe = Recipe("trial", (2, 2), Novelty(0, noise), Price(Account(SCALE), noise), Top(), Drop())
    pruned = recipe.prune(make_tokens(features, (2, 2)), State())
    cells = [int(row) % 4 for row in pruned.index[4:]]
    assert set(cells) == {2}
    seen = angle[pruned.index[pruned.index % 4 == 2] // 4]
    assert seen.diff().max() < 0.6, "no two records in a row are further apart than the noise floor allows for long"


def test_a_small_thing_before_a_still_background_is_kept(make_tokens: MakeTokens) -> None:
    features = torch.randn(1, 64, 16, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1)
    features[5, 20] = torch.randn(16, generator=torch.Generator().manual_seed(1))
    pruned = RECIPES["novelty"](RecipeSettings((8, 8), floor=0)).prune(make_tokens(features, (8, 8)), State())
    assert pruned.index[64:].tolist() == [5 * 64 + 20]


def test_saved_credit_makes_small_changes_worth_keeping(make_tokens: MakeTokens) -> None:
    """One cell changes a little: too little for an empty bucket, and news after a quiet while."""
    scene = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    little = scene.clone()
    little[20] += 0.6 * torch.randn(16, generator=torch.Generator().manual_seed(1))
    recipe = RECIPES["novelty"](RecipeSettings((8, 8)))
    for quiet, wanted in ((1, []), (30, [20])):
        frames = torch.stack([scene] * quiet + [little])
        counts = recipe.prune(make_tokens(frames, (8, 8)), State())
        assert [int(row) % 64 for row in counts.index if int(row) >= quiet * 64] == wanted


def test_what_cannot_be_saved_refreshes_a_still_picture(make_tokens: MakeTokens) -> None:
    still = torch.randn(1, 16, 6, generator=torch.Generator().manual_seed(2)).repeat(100, 1, 1)
    counts = build_recipe("novelty", grid=(4, 4)).prune(make_tokens(still, (4, 4)), State()).counts.tolist()
    assert counts[:33] == [16] + [0] * 32, "saved up, eight frames' worth"
    assert counts[33:] == [4] * 67


def test_after_a_cut_things_come_before_the_cloth_behind_them(make_tokens: MakeTokens) -> None:
    generator = torch.Generator().manual_seed(4)
    cloth, thing, before = torch.randn(3, 16, generator=generator)
    frame = cloth + 0.2 * torch.randn(64, 16, generator=generator)
    frame[[27, 28, 35]] = thing + 0.2 * torch.randn(3, 16, generator=generator)
    features = torch.stack([before + 0.2 * torch.randn(64, 16, generator=generator)] * 2 + [frame])
    pruned = RECIPES["novelty"](RecipeSettings((8, 8), rate=0.05)).prune(make_tokens(features, (8, 8)), State())
    kept = {int(row) % 64 for row in pruned.index if int(row) >= 128}
    assert 3 <= len(kept) <= 8
    assert {27, 28, 35} <= kept


def test_what_credit_could_not_pay_for_is_kept_later(make_tokens: MakeTokens) -> None:
    before, after = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    features = torch.stack([before] + [after] * 24)
    pruned = build_recipe("novelty", grid=(4, 4), rate=0.25).prune(make_tokens(features, (4, 4)), State())
    assert pruned.counts.tolist()[:3] == [16, 4, 4]
    assert sorted(int(row) % 16 for row in pruned.index[16:]) == list(range(16)), "each place once"


@pytest.mark.parametrize("turn", ["rotate", "mirror"])
def test_turning_the_picture_turns_what_is_kept(make_tokens: MakeTokens, turn: str) -> None:
    features = stream(3, 30, 64).view(30, 8, 8, 6)
    turned = features.rot90(1, (1, 2)) if turn == "rotate" else features.flip(2)
    recipe = RECIPES["novelty"](RecipeSettings((8, 8), floor=0, rate=0.5))  # the floor's ties go by place
    masks = []
    for picture in (features, turned):
        tokens = make_tokens(picture.reshape(30, 64, 6), (8, 8))
        kept = torch.zeros(30 * 64, dtype=torch.bool)
        kept[recipe.prune(tokens, State()).index] = True
        masks.append(kept.view(30, 8, 8))
    assert not masks[0].all()
    assert masks[0][1:].any()
    assert torch.equal(masks[0].rot90(1, (1, 2)) if turn == "rotate" else masks[0].flip(2), masks[1])


@pytest.mark.parametrize(
    ("name", "chunks"),
    [*((name, 8) for name in sorted(RECIPES)), pytest.param("novelty", 1000, marks=pytest.mark.slow)],
)
def test_state_does_not_grow(make_tokens: MakeTokens, name: str, chunks: int) -> None:
    """A hundred thousand frames (or some hundreds), then on from a stream of years: same tensors, same rate."""
    recipe = build_recipe(name, grid=(1, 2), rate=0.6)
    chunk = make_tokens(stream(1, 100, 2, 2), (1, 2))
    state, sizes, kept = State(), set(), []
    for number in range(chunks):
        if number == chunks - 4:
            state = replace(state, frames=10**12)
        left, state = recipe.step(chunk, state)
        kept.append(len(left))
        sizes.add((state.nbytes, tuple(sorted(state.memory))))
    assert len(sizes) == 1
    assert min(kept) > 0
    assert name == "none" or sum(kept) <= 2 + chunks * 100 * 1.2


def test_state_survives_a_round_trip(make_tokens: MakeTokens) -> None:
    recipe = build_recipe("novelty", grid=(4, 4))
    features = stream(7, 30, 16).to(torch.bfloat16)
    _, state = recipe.step(make_tokens(features[:15], (4, 4)), State())
    written = state.refreshed().to_dict()
    assert all(isinstance(value, int | Tensor) for value in written.values())
    read = State.from_dict(written)
    assert read.refresh
    assert same(replace(read, refresh=False), state)
    first = recipe.prune(make_tokens(features[15:], (4, 4)), state.refreshed())
    second = recipe.prune(make_tokens(features[15:], (4, 4)), read)
    assert torch.equal(first.index, second.index)
    assert same(first.state, second.state)


@pytest.mark.parametrize("damage", [{"frames": None}, {"frames": -1}, {"refresh": "no"}, {"score/age": 3}, {"x": 1}])
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    values: dict[str, object] = {"frames": 3, "refresh": 0, **damage}
    with pytest.raises(SettingsError, match="pruning state"):
        State.from_dict(values)  # type: ignore[arg-type]


def test_a_step_does_not_touch_what_it_was_given(make_tokens: MakeTokens) -> None:
    recipe = build_recipe("novelty", grid=(4, 4))
    tokens = make_tokens(stream(2, 8, 16), (4, 4))
    features = tokens.features.clone()
    _, state = recipe.step(tokens, State())
    before = {name: value.clone() for name, value in state.memory.items()}
    recipe.step(tokens, state)
    assert torch.equal(tokens.features, features)
    assert all(torch.equal(state.memory[name], value) for name, value in before.items())


def test_no_frames_are_fine(make_tokens: MakeTokens) -> None:
    kept, state = build_recipe("novelty", grid=(2, 2)).step(make_tokens(torch.zeros(0, 4, 3), (2, 2)), State())
    assert len(kept) == 0
    assert state.frames == 0


@dataclass(frozen=True)
class Asking:
    """A scorer with needs of its own."""

    traits: Traits

    def score(self, cells: Cells, memory: object) -> Tensor:
        return cells.extras["saliency"]

    def learn(self, cells: Cells, kept: Tensor, memory: dict[str, Tensor]) -> dict[str, Tensor]:
        return memory


@dataclass(frozen=True)
class Halving:
    """A reducer that writes features."""

    traits: Traits = field(default=Traits(changes_features=True))

    def reduce(self, plane: Tensor, choice: Choice) -> Tensor:
        return plane / 2


def compose(traits: Traits = PLAIN) -> Recipe:
    return Recipe("trial", (2, 2), Asking(traits), Everything(), Top(), Drop())


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        (Traits(frozenset[Need]({"text"})), "must not know a question"),
        (Traits(frozenset[Need]({"text", "saliency"})), "must not know a question"),
        (Traits(frozenset[Need]({"attention"})), "does not exist before the tokens are prefilled"),
        (Traits(lag=2), r"looks 2 frame\(s\) ahead"),
    ],
)
def test_ingest_refuses_what_it_must_not_use(traits: Traits, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        compose(traits)


def test_a_needed_plane_is_asked_for_by_name(make_tokens: MakeTokens) -> None:
    recipe = compose(Traits(frozenset[Need]({"saliency"})))
    tokens = replace(make_tokens(torch.zeros(1, 4, 3), (2, 2)), extras={})
    with pytest.raises(SettingsError, match="saliency"):
        recipe.step(tokens, State())
    recipe.step(replace(tokens, extras={"saliency": torch.arange(4.0)}), State())


def test_changed_features_are_handed_on(make_tokens: MakeTokens) -> None:
    tokens = make_tokens(stream(0, 3, 4), (2, 2))
    kept, _ = Recipe("trial", (2, 2), Flat(), Everything(), Top(), Halving()).step(tokens, State())
    assert torch.equal(kept.features, tokens.features / 2)


def test_part_of_a_frame_or_another_grid_is_refused(make_tokens: MakeTokens) -> None:
    recipe = build_recipe("novelty", grid=(2, 2))
    tokens = make_tokens(torch.zeros(2, 4, 3), (2, 2))
    with pytest.raises(SettingsError, match="do not prune twice"):
        recipe.step(tokens.select(torch.tensor([0, 5])), State())
    with pytest.raises(SettingsError, match="each grid"):
        recipe.step(make_tokens(torch.zeros(2, 4, 3), (1, 4)), State())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": 0.0}, "0 < rate <= 1"),
        ({"rate": 1.5}, "0 < rate <= 1"),
        ({"rate": float("nan")}, "0 < rate <= 1"),
        ({"rate": 0.25, "floor": 5}, "lower the floor or raise the rate"),
        ({"floor": -1}, "floor must be within"),
        ({"grid": (0, 4)}, "grid needs"),
        ({"burst_frames": 0}, "burst_frames"),
        ({"refresh_frames": 2}, "refresh less often"),
        ({"refresh_frames": -1}, "refresh_frames"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_outside_their_limits_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_recipe("novelty", **{"grid": (4, 4), **wrong})  # type: ignore[arg-type]


def test_a_recipe_of_ones_own_is_taken_and_nonsense_is_not() -> None:
    own = build_recipe(lambda settings: replace(RECIPES["random"](settings), name="own"), grid=(2, 2), rate=0.5)
    assert own.name == "own"
    for wrong, message in ((lambda _: None, "not a Recipe"), (own, "give a name, or a function"), (42, "give a name")):
        with pytest.raises(SettingsError, match=message):
            build_recipe(wrong, grid=(2, 2), rate=0.5)  # type: ignore[arg-type]


def test_an_unknown_recipe_is_refused_with_the_names() -> None:
    with pytest.raises(SettingsError, match=r"dtd, .*none, novelty, pool, random.*uniform"):
        build_recipe("magic", grid=(4, 4))


@pytest.mark.parametrize(
    ("grid", "rate", "floor"),
    [((4, 4), 0.25, 2), ((4, 4), 0.1, 1), ((4, 4), 0.05, 0), ((14, 14), 0.25, 24), ((14, 14), 0.05, 4), ((1, 2), 1, 1)],
)
def test_the_floor_that_is_chosen(grid: tuple[int, int], rate: float, floor: int) -> None:
    assert RecipeSettings(grid, rate).smallest == floor


def same(a: State, b: State) -> bool:
    """Compare two states bit for bit."""
    tensors = all(torch.equal(value, b.memory[name]) for name, value in a.memory.items())
    return (a.frames, a.refresh, a.memory.keys()) == (b.frames, b.refresh, b.memory.keys()) and tensors
