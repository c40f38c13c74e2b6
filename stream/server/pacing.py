"""How many frames a second a client is advised to send: fewer when the model does not keep up."""

LEAST_FPS = 0.2


class Pacer:
    """Watch what becomes of frames and advise a rate, once a second.

    It falls to a little over what was taken in as soon as frames are dropped because the model is busy, and rises by a
    tenth with every second without.  most_fps: what the client wished for, or the server's limit.
    """

    def __init__(self, most_fps: float) -> None:
        self._most_fps = most_fps
        self.target_fps = most_fps
        self._taken = self._busy = 0
        self._at_s: float | None = None

    def limit(self, most_fps: float) -> None:
        """Set another limit."""
        self._most_fps = most_fps
        self.target_fps = min(self.target_fps, most_fps)

    def update(self, now_s: float, taken: int, busy: int) -> float:
        """Take the session's totals of frames taken in and dropped as busy; give the rate to advise."""
        before_s, self._at_s = self._at_s, now_s
        new_taken, new_busy = taken - self._taken, busy - self._busy
        self._taken, self._busy = taken, busy
        if before_s is None or now_s <= before_s:
            return self.target_fps
        if new_busy > 0:
            pace = new_taken / (now_s - before_s)
            self.target_fps = max(LEAST_FPS, min(pace * 1.1 + 0.1, self._most_fps))
        else:
            self.target_fps = min(self._most_fps, self.target_fps * 1.1)
        return self.target_fps
