"""Clients that leave memory between two messages, as where each message has a process of its own.

A vector is contributed once the shares have come: nobody sleeps while one waits. A moment is the
phase in which a client may sleep; that of a client of the plain protocol is called as the first.
"""

from fedprivacy.rounds import RoundClient
from fedprivacy.secagg import Done
from fedprivacy.secagg.masking import ClientPhase

HOLDING = ClientPhase.HOLDING.value


def moments(setting):
    """When a client of this setting may sleep, in order."""
    if not setting.masks:
        return ("keys",)
    signs = ("consistency",) if "consistency" in setting.phases else ()
    return ("keys", "shares", HOLDING, "sent", *signs)


class Napper:
    """A client of a sum that is suspended at these moments, as `states`, and resumed at once."""

    def __init__(self, case, name, naps):
        self.case, self.name, self.naps = case, name, naps
        self.party = case.client(name)
        self.states = {}
        self._vector = None

    def start(self):
        yield from self.party.start()
        self._nap()

    def contribute(self, vector):
        if self.case.setting.masks:
            self._vector = vector
        else:
            yield from self.party.contribute(vector)

    def receive(self, sender, message):
        yield from self.party.receive(sender, message)
        self._nap()
        if self.party.phase is ClientPhase.HOLDING:
            yield from self.party.contribute(self._vector)
            self._nap()

    def _nap(self):
        moment = self.party.phase.value if self.case.setting.masks else "keys"
        if moment in self.naps:
            self.states[moment] = self.party.suspend()
            self.party = self.case.resumed(self.name, self.states[moment])


class Sleeper:
    """A client of a round that sleeps from these moments to the next message.

    It is suspended as soon as it has done what was to be done, and resumed by another object, with
    the store that `house` has for it, when there is something to do again. `blobs` has what it was
    suspended as, by moment; `on_wake(moment)` may keep it from going on, by an exception.
    """

    def __init__(self, house, name, number=1, attempt=1, naps=(), on_wake=lambda moment: None):
        self.house, self.name, self.key = house, name, (number, attempt)
        self.naps, self.on_wake = naps, on_wake
        self.client = house.client(name, number, attempt)
        self.blobs = {}
        self.round_plan = None
        self._update = None
        self._asleep = None
        self._over = False

    @property
    def has_left(self):
        return not self._asleep and self.client.has_left

    @property
    def moment(self):
        """Where the client is that is awake."""
        masks = self.round_plan.plan.aggregation.protocol != "plain"
        return self.client._party.phase.value if masks else "keys"

    def receive(self, sender, message):
        self.wake()
        yield from self._noting(self.client.receive(sender, message))
        self.round_plan = self.client.round_plan
        self.sleep()
        if self.round_plan and self._asleep in {None, HOLDING} and self._update is not None:
            yield from self._contribute()

    def contribute(self, update):
        self._update = update
        if self.round_plan.plan.aggregation.protocol == "plain":
            yield from self._contribute()

    def _contribute(self):
        self.wake()
        if self.moment in {HOLDING, "keys"}:
            yield from self._noting(self.client.contribute(self._update))
            self.sleep()

    def _noting(self, effects):
        for effect in effects:
            self._over |= isinstance(effect, Done)
            yield effect

    def sleep(self):
        if self._over or self.client.has_left or self.moment not in self.naps:
            return
        self._asleep = self.moment
        self.blobs[self._asleep] = self.client.suspend()
        assert self.client.has_left

    def wake(self):
        if self._asleep is None:
            return
        moment, self._asleep = self._asleep, None
        self.client = resumed(self.house, self.name, self.blobs[moment], *self.key)
        self.on_wake(moment)


def resumed(house, name, sealed, number=1, attempt=1, store=None):
    """The client of this name in another process: the same identity, policy, store and seed."""
    rng = house.rng.child(f"client/{name}/{number}/{attempt}")
    store = store or house.stores[name]
    return RoundClient.resume(sealed, house.policy, house.identities[name], store, rng=rng)
