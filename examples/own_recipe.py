"""Prune a stream by a recipe of one's own: keep the cells of the picture with the most contrast.

    python examples/own_recipe.py

Give a model, a file and a question of your own as three arguments: python examples/own_recipe.py MODEL FILE "..."
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

import onlooker
from onlooker.pruning import Cells, Drop, Quota, Recipe, RecipeSettings, Stateless, Top, Traits

CLIP = Path(__file__).with_name("theatre.mp4")
QUESTION = "What did the sign near the bee say?"


@dataclass(frozen=True)
class Contrast(Stateless):
    """Rate a cell by how much the colours of its 4 x 4 parts differ."""

    traits: Traits = field(default=Traits(needs=frozenset({"pixels"})))

    def score(self, cells: Cells, memory: Mapping[str, Tensor]) -> Tensor:
        """Give float32 [N], higher for what is worth more."""
        return cells.extras["pixels"].view(len(cells), 16, 3).std(dim=1).mean(dim=1)


def contrast(settings: RecipeSettings) -> Recipe:
    """Compose the recipe: the same share of every frame, the highest scores."""
    return Recipe("contrast", settings.grid, Contrast(), Quota(settings.refill), Top(), Drop())


def main(model: str = "pocket", path: Path = CLIP, question: str = QUESTION) -> None:
    """Watch a file under the recipe, and ask."""
    session = onlooker.load(model).session(onlooker.Settings(recipe=contrast, prune_rate=0.5))
    with onlooker.open_source(str(path), fps=2) as source:
        for frame in source:
            session.see(frame)
    report = session.report
    print(f"{report.tokens} of {report.cells} tokens kept")
    print(session.ask(question).text)


if __name__ == "__main__":
    main(*sys.argv[1:])
