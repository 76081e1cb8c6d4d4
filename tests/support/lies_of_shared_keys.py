"""Lies to clients that share a key: of whose ciphertexts a sum is, and in what they decrypt.

The server that is told of here follows more than its protocol asks for: what is claimed under a
shared key is claimed of a server that adds and nothing else.
"""

from concurrent.futures import Executor, Future

from ceremonies import Shared, ceremony, sent
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.homomorphic.messages import CiphertextChunk, EncryptedSum, Seals
from fedprivacy.wire import decode, encode
from hostile_ciphertexts import inner, message
from lie_registry import lie
from lying_server import Told

VICTIM = "c000"
ANY = 1 << 24


class Here(Executor):
    """Does the work at once, in this process: all ciphertexts are honest where it is used."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except ValueError as error:
            future.set_exception(error)
        return future


class Keyed(Shared):
    """Three clients whose inputs have left, and a server that has no process of its own."""

    def __init__(self, *, floor=2, **how):
        super().__init__("bfv", 3, **how)
        self.server._pool = Here()
        self.floor = floor
        self.clients = {name: self.make_client(name) for name in self.names}
        self.sent = {name: self.inputs(name) for name in self.names}
        self.seals = Seals(self.plan, self.key.admission)

    def arrive(self, *names):
        for name in names or self.names:
            for body in self.sent[name]:
                list(self.server.receive(name, body))
        return self

    def data(self, name):
        """The ciphertext that a client sent."""
        return bytes(decode(CiphertextChunk, self.sent[name][0], limit=ANY).data)

    def sum_of(self, *names):
        """The ciphertext of these clients' sum."""
        self.arrive(*names)
        _, chunk = self.asked()[names[0]]
        return bytes(decode(CiphertextChunk, chunk, limit=ANY).data)

    def told(self, *bodies):
        """What the victim makes of these messages; won where it says a sum."""
        said = []
        try:
            for body in bodies:
                said += sent(self.clients[VICTIM].receive(SERVER, body))
        except PeerError as error:
            return Told([(VICTIM, error.reason)])
        return Told([], won=bool(said))

    def honestly(self):
        """The round as it should be."""
        end = self.arrive().finish(self.asked())
        exact = end.total[:].tolist() == self.exact(self.names).tolist()
        return Told([], exact=exact)

    def header(self, *names):
        return encode(EncryptedSum(names or self.names))

    def chunk(self, data, sequence=0):
        return encode(self.seals.seal(None, sequence, data))


def taken(house, *bodies):
    """As `told`, but won where the last message was taken."""
    told = house.told(*bodies)
    told.won = not told.refusals
    return told


@lie(Reason.SUM_MEMBERS)
def one_ciphertext_as_the_sum(honest):
    """A client is shown one other client's ciphertext as the sum of all three."""
    house = Keyed()
    if honest:
        return house.honestly()
    return house.told(house.header(), house.chunk(house.data("c001")))


@lie(Reason.SUM_MEMBERS)
def one_survivor_more_than_were_added(honest):
    """The sum of two is shown as that of three, so that floors count one who is not in it."""
    house = Keyed()
    if honest:
        return house.honestly()
    data = house.sum_of("c000", "c001")
    return house.told(house.header(), house.chunk(data))


@lie(Reason.CIPHERTEXT_MAC)
def the_sum_of_an_earlier_round(honest):
    """The sum of an earlier round is shown again, with the seal that it had there."""
    house = Keyed(round_id=b"s" * 32)
    if honest:
        return house.honestly()
    old = Keyed()
    data = old.sum_of(*old.names)
    return house.told(house.header(), old.chunk(data))


@lie(Reason.CIPHERTEXT_MAC)
def a_sum_that_nobody_sealed(honest):
    """Somebody without the ceremony's key puts a sum in the place of the server's."""
    house = Keyed()
    if honest:
        return house.honestly()
    data = house.sum_of(*house.names)
    return house.told(house.header(), encode(CiphertextChunk(0, bytes(32), memoryview(data))))


@lie(Reason.SURVIVORS_FEW)
def a_sum_of_fewer_than_the_client_asks_for(honest):
    """Two survivors, where the client's own floor is three."""
    house = Keyed(floor=3)
    if honest:
        return house.honestly()
    data = house.sum_of("c000", "c001")
    return house.told(house.header("c000", "c001"), house.chunk(data))


@lie(Reason.NOT_SURVIVOR)
def a_sum_that_leaves_the_client_out(honest):
    """A client is to decrypt a sum that it is not in: each could be shown one of its own."""
    house = Keyed()
    if honest:
        return house.honestly()
    data = house.sum_of("c001", "c002")
    return house.told(house.header("c001", "c002"), house.chunk(data))


@lie(Reason.MALFORMED)
def one_survivor_named_twice(honest):
    """A sum of two is named as one of three, by a name twice, and its ciphertext added twice."""
    house = Keyed(floor=3)
    if honest:
        return house.honestly()
    return taken(house, house.header("c000", "c001", "c001"))


@lie(Reason.ANSWERED)
def other_survivors_after_the_mark(honest):
    """Once a client has marked whom it answers for, it is named others."""
    house = Keyed()
    if honest:
        return house.honestly()
    data = house.sum_of("c000", "c001")
    names = house.header(), house.header("c000", "c001")
    return house.told(*names, house.chunk(data))


@lie(Reason.UNEXPECTED)
def a_sum_before_the_clients_input(honest):
    """A client that has sent nothing is to decrypt: whatever it is shown, it is not in it."""
    house = Keyed()
    if honest:
        return house.honestly()
    house.clients[VICTIM] = house.make_client(VICTIM)
    return taken(house, house.header())


@lie(Reason.CHUNK_ORDER)
def a_sum_of_another_place(honest):
    """The second ciphertext of a sum in the place of the first."""
    house = Keyed(length=13_000)
    if honest:
        return house.honestly()
    house.arrive()
    names, _, second = house.asked()[VICTIM]
    return taken(house, names, second)


@lie(Reason.CIPHERTEXT)
def a_sum_that_ends_the_library(honest):
    """A sum whose message says a hundred times the slots that there are."""
    house = Keyed()
    if honest:
        return house.honestly()
    slots = house.clients[VICTIM]._layout.scheme.slots
    body = inner(house.clients[VICTIM]._layout.scheme, house.data("c001"))
    return house.told(house.header(), house.chunk(message([100 * slots], [body])))


@lie(Reason.SUM_RANGE)
def values_beyond_what_clients_may_send(honest):
    """A corrupt client's values are beyond the bound: they run over into those of others."""
    house = Keyed(bound=10)
    if honest:
        return house.honestly()
    wide = Keyed(bound=1000)
    house.sent["c001"] = wide.sent["c001"]
    data = house.sum_of("c000", "c001")
    return house.told(house.header("c000", "c001"), house.chunk(data))


# ---------------------------------------------------------------------- to the server


def from_client(reason):
    return lie(reason, to_server=True)


def refused(house, *bodies, liar=VICTIM):
    """What the server makes of a client's messages; won where all were taken."""
    try:
        for body in bodies:
            list(house.server.receive(liar, body))
    except PeerError as error:
        return Told([(name, error.reason) for name in error.culprits])
    return Told([], won=True)


@from_client(Reason.CIPHERTEXT_MAC)
def another_clients_ciphertext(honest):
    """A client sends another's ciphertext as its own: the vector is in the sum twice."""
    house = Keyed()
    return house.honestly() if honest else refused(house, *house.sent["c001"])


@from_client(Reason.CIPHERTEXT_MAC)
def a_ciphertext_of_another_round(honest):
    """A client sends what it sent in an earlier round."""
    house = Keyed(round_id=b"s" * 32)
    return house.honestly() if honest else refused(house, *Keyed().sent[VICTIM])


@from_client(Reason.CIPHERTEXT_MAC)
def bytes_of_a_stranger(honest):
    """Somebody of another ceremony sends ciphertexts under another key: the sum would be noise."""
    house = Keyed()
    if honest:
        return house.honestly()
    return refused(house, *house.inputs(VICTIM, house.make_client(VICTIM, ceremony("bfv", 1))))


@from_client(Reason.CIPHERTEXT)
def one_slot_more_than_there_are(honest):
    """A client's ciphertext says one slot more: who decrypts it reads beyond the memory."""
    house = Keyed()
    if honest:
        return house.honestly()
    scheme = house.clients[VICTIM]._layout.scheme
    data = message([scheme.slots + 1], [inner(scheme, house.data(VICTIM))])
    return refused(house, encode(house.seals.seal(house.place(VICTIM).index, 0, data)))


@from_client(Reason.CIPHERTEXT)
def a_ciphertext_that_cannot_be_added(honest):
    """A client's ciphertext says that it is in the other form: adding it would end the round."""
    house = Keyed()
    if honest:
        return house.honestly()
    body = inner(house.clients[VICTIM]._layout.scheme, house.data(VICTIM))
    # After SEAL's header and the frame's: 32 bytes of parameters, then `is_ntt_form`.
    data = message([4096], [body[:58] + b"\x01" + body[59:]])
    told = refused(house, encode(house.seals.seal(house.place(VICTIM).index, 0, data)))
    if told.won:
        ends = [e for body in house.sent["c001"] for e in house.server.receive("c001", body)]
        told.won = bool(ends)
    return told


@from_client(Reason.CHUNK_ORDER)
def the_second_ciphertext_first(honest):
    """A client's values are added to those of another place."""
    house = Keyed(length=13_000)
    return house.honestly() if honest else refused(house, *house.sent[VICTIM][::-1])


@from_client(Reason.DUPLICATE)
def an_input_for_the_second_time(honest):
    """A client's vector is in the sum twice."""
    house = Keyed()
    return house.honestly() if honest else refused(house, *2 * house.sent[VICTIM])


@from_client(Reason.SUM_DISAGREES)
def a_sum_that_no_other_client_decrypted(honest):
    """The client that answers first says another sum than the two others."""
    house, other = Keyed(), Keyed(seed=2)
    if honest:
        return house.honestly()
    told, false = house.arrive().asked(), other.arrive().asked()
    for name in house.names:
        liar = name == VICTIM
        answers = other.answers(name, false[name]) if liar else house.answers(name, told[name])
        for body in answers:
            list(house.server.receive(name, body))
    (end,) = house.server.advance()
    if hasattr(end, "error"):
        return Told([(VICTIM, end.error.reason)])
    exact = house.exact(house.names).tolist()
    return Told([], won=end.total[:].tolist() != exact)
