"""Whose turn it is to ask: intended starts on one side, users on the other.

A user takes the next intended start. If all of them are busy, starts wait in line: who takes one later still counts
from when it was meant. What a start was late although somebody was free is the generator's own doing, and kept apart.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import AsyncResult


@dataclass(slots=True, eq=False)
class Turn:
    """One request: meant to start at `intended` (`time.monotonic()`), started `late` seconds after it could have.

    Once done it has `ended`, and what failed (`failure`: a status or an exception's name) or how long its stages were.
    """

    number: int
    intended: float
    token: Any = None
    late: float = 0.0
    ended: float = 0.0
    failure: str = ""
    stages: str = ""


@dataclass
class Turns:
    """Starts handed out to users. `on_done` hears of every request that ended, `on_given` of every start.

    `on_line` hears how many starts wait in line when one more has to.
    """

    on_given: Callable[[Turn], None] = lambda turn: None
    on_done: Callable[[Turn], None] = lambda turn: None
    on_line: Callable[[int], None] = lambda waiting: None
    under_way: int = 0
    _idle: list[AsyncResult] = field(default_factory=list)
    _line: deque[Turn] = field(default_factory=deque)

    def give(self, turn: Turn) -> None:
        self.under_way += 1
        self.on_given(turn)
        if self._idle:  # whoever was busy last: its connection is warm, and few are needed where few suffice
            self._idle.pop().set(turn)
        else:
            self._line.append(turn)
            self.on_line(len(self._line))

    def take(self) -> Turn:
        """The next start, as soon as there is one."""
        free = time.monotonic()
        turn = self._line.popleft() if self._line else self._wait()
        turn.late = time.monotonic() - max(turn.intended, free)
        return turn

    def done(self, turn: Turn) -> None:
        turn.ended = time.monotonic()
        self.under_way -= 1
        self.on_done(turn)

    def forget_those_in_line(self) -> None:
        self.under_way -= len(self._line)
        self._line.clear()

    def drain(self, seconds: float) -> None:
        """Returns when nothing is under way any more, or after `seconds`."""
        until = time.monotonic() + seconds
        while self.under_way and time.monotonic() < until:
            gevent.sleep(0.005)

    def _wait(self) -> Turn:
        mine = AsyncResult()
        self._idle.append(mine)
        try:
            turn: Turn = mine.get()
            return turn
        except BaseException:  # a user who is sent home, while ramping down say
            if mine in self._idle:
                self._idle.remove(mine)
            elif mine.ready():
                self.under_way -= 1
                self.give(mine.get())
            raise
