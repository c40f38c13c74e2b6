"""How long to wait before the next try."""

import random


class Backoff:
    """Give waits that double from least_s to most_s, each cut by chance to between half of it and all.

    So many clients of a server that comes back do not all come at once.
    """

    def __init__(self, least_s: float = 0.25, most_s: float = 10.0, chance: random.Random | None = None) -> None:
        self._least_s, self._most_s = least_s, most_s
        self._chance = chance or random.Random()
        self._tries = 0

    def next_s(self) -> float:
        """Give the next wait."""
        whole = min(self._most_s, self._least_s * 2.0 ** min(self._tries, 32))
        self._tries += 1
        return whole * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin anew: it worked."""
        self._tries = 0
