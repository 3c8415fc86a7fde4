"""Fair sharing of a fixed number of places (cores) between parties (models): a busy one does not starve the others.

Start-time fair queueing (Goyal, Vin, Cheng 1996): a free place goes to the waiting party that has been served least. A
party that was idle starts level with the others and saves up no claim.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """Owns the places and the line before them."""

    def __init__(self, places: int) -> None:
        self.places = self._free = places
        self._line: list[Party] = []
        self._level = 0.0  # how much the party let in last had been served

    def party(self, wake: Callable[[], object], weight: int = 1) -> "Party":
        """`wake` is called when it is this party's turn after a refusal: it should enter, or give up.

        `weight` is how many places it takes at once, no more than there are.
        """
        return Party(self, wake, min(weight, self.places))

    def _hand_out(self) -> None:
        while self._line and self._free:
            before = self._free, len(self._line)
            min(self._line, key=_served)._wake()
            if (self._free, len(self._line)) == before:
                return


class Party:
    def __init__(self, places: Places, wake: Callable[[], object], weight: int) -> None:
        self._places, self._wake, self._weight = places, wake, weight
        self._served = 0.0

    def enter(self, seconds: float) -> bool:
        """Takes its places for about `seconds`, or (False) stands in line for them."""
        places, here = self._places, self in self._places._line
        if not here:
            self._served = max(self._served, places._level)
        turn = min([*places._line, self], key=_served) is self
        if not turn or places._free < self._weight:
            if not here:
                places._line.append(self)
            return False
        if here:
            places._line.remove(self)
        places._free -= self._weight
        places._level = self._served
        self._served += seconds * self._weight
        return True

    def leave(self) -> None:
        """Gives its places back."""
        self._places._free += self._weight
        self._places._hand_out()

    def give_up(self) -> None:
        """Stands in line no longer."""
        if self in self._places._line:
            self._places._line.remove(self)
            self._places._hand_out()


class Turns:
    """A party whose members wait for its places one after the other, each for one turn."""

    def __init__(self, places: Places) -> None:
        self._party = places.party(self._wake)
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, seconds: float) -> None:
        """Returns with a place, for about `seconds`; to be given back with `leave`."""
        if not self._waiting and self._party.enter(seconds):
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((future, seconds))
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it got a place as it was cancelled
                self._party.leave()
            raise

    def leave(self) -> None:
        self._party.leave()

    def _wake(self) -> None:
        while self._waiting:
            future, seconds = self._waiting[0]
            if not future.cancelled():
                if not self._party.enter(seconds):
                    return
                future.set_result(None)
            self._waiting.popleft()
        self._party.give_up()


def _served(party: Party) -> float:
    return party._served
