"""The first question: asked before anyone else may ask, so that the first client does not wait for what is lazy."""

import numpy as np

from ...errors import ModelError, OnlookerError
from ...frame import Frame
from ...models.backbone import Sampling
from ...settings import Settings
from ..engine.engine import Engine

SIDE = 224
TIMEOUT_S = 600.0


def warm_up(engine: Engine) -> None:
    """See two pictures and ask a question, in a session that is then closed.  Raises ModelError where that fails."""
    pictures = np.random.default_rng(0).integers(0, 255, (2, SIDE, SIDE, 3), dtype=np.uint8)
    try:
        with engine.session(Settings(keyframes="all"), name="warm-up") as session:
            for second, picture in enumerate(pictures):
                session.see(Frame(picture, second * 1_000_000, second))
            session.ask("What is on the screen now?", sampling=Sampling(max_tokens=1), deadline_s=TIMEOUT_S)
    except OnlookerError as error:
        raise ModelError(f"the model does not answer: {error}") from error
