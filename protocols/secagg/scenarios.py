"""The scripts behind the vectors: honest runs, and runs with one lie each.

A scenario takes its name and the recorder, plays a cohort, and returns the record. `ok` says what
a run shows; `bad` says what the lie is and what it would win if it were believed.
"""

import msgspec

from fedprivacy.crypto import Checksum, KeyPair, seal
from fedprivacy.randomness import Keystream
from fedprivacy.secagg import SERVER, Adversary, Cohort
from fedprivacy.secagg.masking.keys import (
    KEYS_LABEL,
    SURVIVORS_LABEL,
    Secret,
    box_key,
    session_id,
    share_commitment,
    signed_keys,
    signed_survivors,
)
from fedprivacy.secagg.masking.messages import (
    SALT_BYTES,
    SHARE_BYTES,
    ConsistencySignature,
    KeyAdvertisement,
    MaskedInput,
    OpenedShare,
    Roster,
    RosterEntry,
    SealedBox,
    SealedShares,
    ShareDelivery,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
    server_limit,
)
from fedprivacy.secagg.masking.shares import deal, open_box
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import decode, digest, encode

CURIOUS = Adversary.HONEST_BUT_CURIOUS
VICTIM, LIAR, OTHER, LAST = "c000", "c001", "c002", "c003"
ME, HER, HIM, THEM, NOBODY = 0, 1, 2, 3, 9  # their indices


class Scenarios(dict):
    """By name: what takes the name and the recorder, and returns the run and its note."""

    def _register(self, note, options):
        def register(play):
            def scenario(name, make):
                run = make(name, **options)
                play(run)
                return run, note

            self[play.__name__] = scenario
            return play

        return register

    def ok(self, shows, **options):
        return self._register({"shows": shows}, options)

    def bad(self, lie, effect, **options):
        """A lie to the victim; only what the victim sees and says is recorded."""
        return self._register({"lie": lie, "effect": effect}, {"records": {VICTIM}, **options})

    def bad_for_server(self, lie, effect, **options):
        return self._register({"lie": lie, "effect": effect}, {"records": {SERVER}, **options})


SCENARIOS = Scenarios()
ok, bad, bad_for_server = SCENARIOS.ok, SCENARIOS.bad, SCENARIOS.bad_for_server


def read(kind, message):
    return decode(kind, message, limit=1 << 24)


def replaced(items, index, item):
    return (*items[:index], item, *items[index + 1 :])


def flipped(data, at=0):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def linear(length, *, multiply=7, add=3, modulo=1001, minus=500):
    return {"multiply": multiply, "add": add, "modulo": modulo, "minus": minus, "length": length}


def wide(bits):
    """Inputs of four clients that come close to the modulus."""
    most = (1 << bits - 3) - 1
    return {
        f"c{k:03}": [(-1) ** (i + k // 2) * (most - 1000 * i - k) for i in range(5)]
        for k in range(4)
    }


# ------------------------------------------------------------------ honest runs


@ok("Four clients, nobody drops out: the sum of all four.")
def ok_malicious(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok("A client that never advertises keys is in no roster; the others' sum.", bits=9)
def ok_drop_keys(run):
    run.finish(run.vectors(run.hear(run.keys(drop={OTHER}))))


@ok("A client that deals no shares has no masks in anyone's input.", bits=8)
def ok_drop_shares(run):
    run.finish(run.vectors(run.hear(run.keys(), drop={LAST})))


@ok(
    "A client lost after dealing: its mask key is recovered, its masks come off the sum.",
    bits=33,
    inputs=wide(33),
)
def ok_drop_input(run):
    run.finish(run.vectors(run.hear(run.keys()), drop={LIAR}))


@ok(
    "A survivor that does not sign is still in the sum: three others open its seed.",
    bits=62,
    inputs=wide(62),
)
def ok_drop_consistency(run):
    told = run.vectors(run.hear(run.keys()))
    run.hear(run.hear(told, drop={VICTIM}))


@ok("A survivor that signs and does not unmask is still in the sum.", bits=7)
def ok_drop_unmasking(run):
    run.finish(run.vectors(run.hear(run.keys())), drop={OTHER})


@ok(
    "Five clients, one lost before dealing, another before its input; t = 3 unmask.",
    n=5,
    corrupt=0,
    bits=16,
)
def ok_two_drops(run):
    dealt = run.hear(run.keys(), drop={VICTIM})
    run.finish(run.vectors(dealt, drop={LAST}))


@ok("Honest but curious: no signatures, no consistency phase; one client lost.", adversary=CURIOUS)
def ok_curious_drop_input(run):
    run.finish(run.vectors(run.hear(run.keys()), drop={LAST}))


@ok("Honest but curious, nobody drops out.", adversary=CURIOUS, bits=12, length=11)
def ok_curious(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok(
    "One chunk and 101 values: every upload has two chunks, and the second ends in padding. "
    "One client dies between its chunks and leaves nothing behind.",
    adversary=CURIOUS,
    bits=11,
    length=(1 << 16) + 101,
    inputs={
        f"c{k:03}": linear((1 << 16) + 101, multiply=7 + k, modulo=499, minus=249) for k in range(4)
    },
)
def ok_chunk_boundary(run):
    told = run.hear(run.keys())
    run.finish(run.vectors(told, lies={OTHER: lambda sent: sent[:1]}))


@ok(
    "A vector that is ready before the keys, and one before the shares: sent when these come.",
    bits=32,
    inputs=wide(32),
)
def ok_early_vector(run):
    run.contribute(VICTIM)
    told = run.keys()
    run.contribute(LIAR)
    run.finish(run.vectors(run.hear(told), early={VICTIM, LIAR}))


@ok("A box that does not open is named in the masked input; three others hold the share.")
def ok_unopened_box(run):
    told = run.hear(run.keys())
    delivery = read(ShareDelivery, told[OTHER])
    box = delivery.boxes[HER]
    spoiled = msgspec.structs.replace(box, box=flipped(box.box))
    told[OTHER] = encode(ShareDelivery(replaced(delivery.boxes, HER, spoiled)))
    run.finish(run.vectors(told))


@ok(
    "Seventeen members with long names, as one of them sees it: lists and names whose encodings "
    "take a length of their own, and a proof of one node.",
    ids=[f"clinic-of-the-northern-district-{i:03}" for i in range(17)],
    threshold=10,
    corrupt=2,
    records={"clinic-of-the-northern-district-016"},
)
def ok_long_lists(run):
    run.finish(run.vectors(run.hear(run.keys())))


@ok(
    "A share with a word that is no field element, as its dealer committed to it: its holder names "
    "it unopened, for it could not open it later without being taken for the liar.",
    records={VICTIM},
)
def ok_share_outside_field(run):
    told = run.keys()
    roster = read(Roster, told[LAST])

    def lie(sent):
        return [deal_share(run, roster, sent[0], ME, OUTSIDE_FIELD, OUTSIDE_FIELD)]

    run.finish(run.vectors(run.hear(told, lies={LAST: lie})))


@ok(
    "A box that opens, to shares that are not as committed: named unopened as well.",
    records={VICTIM},
)
def ok_share_not_committed(run):
    told = run.keys()
    roster = read(Roster, told[LAST])

    def lie(sent):
        return [deal_share(run, roster, sent[0], ME, bytes(SHARE_BYTES), b"\x01" * SHARE_BYTES)]

    run.finish(run.vectors(run.hear(told, lies={LAST: lie})))


OUTSIDE_FIELD = b"\xff" * SHARE_BYTES


def deal_share(run, roster, message, recipient, share, committed):
    """What the last member dealt, with another share, and commitment, for one recipient."""
    session, salt = session_id(run.plan, roster.entries), bytes(SALT_BYTES)
    commitments = b"".join(
        share_commitment(session, secret, THEM, recipient, committed, salt) for secret in Secret
    )
    parties = THEM.to_bytes(4, "big") + recipient.to_bytes(4, "big")
    shared = KeyPair(run.rand[LAST][:32]).agree(roster.entries[recipient].seal_key)
    box = seal(
        box_key(session, shared, THEM, recipient),
        (share + salt) * 2,
        associated=digest("secagg/box", session, parties, commitments),
    )
    dealt = read(SealedShares, message)
    lie = SealedBox(recipient, box, commitments)
    return encode(msgspec.structs.replace(dealt, boxes=replaced(dealt.boxes, recipient, lie)))


@ok("Two of four are left for the unmasking, three are needed: the round ends without a sum.")
def ok_too_few(run):
    told = run.vectors(run.hear(run.keys()))
    run.finish(told, drop={LIAR, OTHER})


@ok(
    "Three inputs, enough to unmask, where the plan promises a sum of four: no sum.",
    min_clients=4,
    records={SERVER},
)
def ok_too_few_inputs(run):
    run.vectors(run.hear(run.keys()), drop={VICTIM})


# ------------------------------------------------------------------ lies about the roster


def tell_roster(run, change):
    """Honest keys; then the victim alone is told another roster."""
    roster = read(Roster, run.keys()[VICTIM])
    run.receive(VICTIM, encode(Roster(tuple(change(roster.entries)))))


def entry_of(run, client_id, seal_key, mask_key, *, index=None, signer=None, membership=None):
    """An entry with keys of the liar's choice, signed by an identity that it holds."""
    who = membership or run.memberships[client_id]
    if index is not None:
        who = msgspec.structs.replace(who, index=index)
    key = run.identities[signer or client_id].key
    signature = key.sign(KEYS_LABEL, *signed_keys(run.plan, who.index, seal_key, mask_key))
    return RosterEntry(who, seal_key, mask_key, signature)


@bad(
    "The roster shows a member's two keys in each other's place; KEY_SIGNATURE.",
    "Keys without their owner's word could be anyone's: here, shares sealed under the wrong key.",
)
def bad_swapped_keys(run):
    def change(entries):
        entry = entries[HER]
        lie = msgspec.structs.replace(entry, seal_key=entry.mask_key, mask_key=entry.seal_key)
        return replaced(entries, HER, lie)

    tell_roster(run, change)


@bad(
    "The server puts keys of its own in place of a member's, under the member's old signature.",
    "The server opens every share sealed for that member, and knows its masks: with enough such "
    "members it unmasks one client alone.",
)
def bad_substituted_keys(run):
    seal, mask = KeyPair(run.rng.bytes(32)).public, KeyPair(run.rng.bytes(32)).public
    tell_roster(
        run,
        lambda entries: replaced(
            entries, HER, msgspec.structs.replace(entries[HER], seal_key=seal, mask_key=mask)
        ),
    )


@bad(
    "A member's keys carry the signature that it gave in another round.",
    "Keys whose secrets came out in an earlier round are used again.",
)
def bad_other_round_keys(run):
    seal, mask = KeyPair(run.rng.bytes(32)).public, KeyPair(run.rng.bytes(32)).public
    signed = (bytes(32), HER.to_bytes(4, "big"), seal, mask)
    signature = run.identities[LIAR].key.sign(KEYS_LABEL, *signed)
    lie = RosterEntry(run.memberships[LIAR], seal, mask, signature)
    tell_roster(run, lambda entries: replaced(entries, HER, lie))


@bad(
    "The roster shows the client with keys that it did not send.",
    "Others deal their shares for this client to the server.",
)
def bad_own_entry(run):
    seal = KeyPair(run.rng.bytes(32)).public
    tell_roster(
        run,
        lambda entries: replaced(entries, ME, msgspec.structs.replace(entries[ME], seal_key=seal)),
    )


@bad(
    "The roster leaves the client out.",
    "The client deals shares for a round in which it has no part.",
)
def bad_own_entry_missing(run):
    tell_roster(run, lambda entries: entries[1:])


@bad(
    "One colluding member stands in the roster twice, at two places, with two pairs of keys.",
    "It holds two shares of everything and counts twice towards the threshold.",
)
def bad_duplicate_member(run):
    seal, mask = KeyPair(run.rng.bytes(32)).public, KeyPair(run.rng.bytes(32)).public
    lie = entry_of(run, LIAR, seal, mask, index=HIM)
    tell_roster(run, lambda entries: replaced(entries, HIM, lie))


@bad(
    "A colluding member advertises another member's mask key as its own.",
    "Recovering the mask key of one member opens the masks of another as well.",
)
def bad_duplicate_key(run):
    def change(entries):
        lie = entry_of(run, LIAR, entries[HER].seal_key, entries[HIM].mask_key)
        return replaced(entries, HER, lie)

    tell_roster(run, change)


@bad(
    "An enrolled client with good keys is proven to be in another cohort, not in the one that "
    "the plan commits to.",
    "The server picks the members after it has seen the keys, and packs the cohort.",
)
def bad_foreign_cohort_proof(run):
    def change(entries):
        foreign = Cohort.of(run.ids, rng=run.rng).memberships()[HER]
        return replaced(entries, HER, msgspec.structs.replace(entries[HER], membership=foreign))

    tell_roster(run, change)


@bad(
    "A member of the committed cohort, with keys that it signed, is not in the directory.",
    "The server makes up as many members as it needs to reach the threshold.",
    unenrolled={LAST},
)
def bad_not_enrolled(run):
    def change(entries):
        seal, mask = KeyPair(run.rng.bytes(32)).public, KeyPair(run.rng.bytes(32)).public
        return (*entries, entry_of(run, LAST, seal, mask))

    tell_roster(run, change)


@bad(
    "A roster of two where the threshold is three.",
    "Too few members share the secrets.",
)
def bad_small_roster(run):
    tell_roster(run, lambda entries: entries[:2])


@bad(
    "A roster that satisfies the plan and not the client's own floor.",
    "The client's input would be hidden among fewer others than it asks for.",
    floor=4,
)
def bad_roster_below_floor(run):
    tell_roster(run, lambda entries: entries[:3])


@bad("A roster of more members than the committed cohort has.", "Strangers join the cohort.")
def bad_large_roster(run):
    def change(entries):
        extra = msgspec.structs.replace(run.memberships[LAST], index=4, client_id="c004")
        seal, mask = KeyPair(run.rng.bytes(32)).public, KeyPair(run.rng.bytes(32)).public
        return (*entries, entry_of(run, LAST, seal, mask, membership=extra))

    tell_roster(run, change)


@bad(
    "A roster out of order.",
    "One set of members with two hashes: clients could be in different sessions unawares.",
)
def bad_unsorted_roster(run):
    tell_roster(run, lambda entries: (*entries[:2], entries[3], entries[2]))


@bad(
    "A colluding member advertises, and signs, a seal key of small order.",
    "Whatever is sealed for it is sealed under a key that everybody knows.",
)
def bad_weak_key(run):
    lie = entry_of(run, LAST, bytes(32), KeyPair(run.rng.bytes(32)).public)
    tell_roster(run, lambda entries: replaced(entries, THEM, lie))


@bad(
    "A colluding member advertises, and signs, a mask key of small order.",
    "The masks that others share with it have a seed that everybody knows; noticed only with the "
    "vector ready, it costs the client the round.",
)
def bad_weak_key_of_masks(run):
    lie = entry_of(run, LAST, KeyPair(run.rng.bytes(32)).public, bytes(32))
    tell_roster(run, lambda entries: replaced(entries, THEM, lie))


@bad(
    "Honest but curious, a roster entry carries a signature, which this setting does not have.",
    "Bytes that nobody checks enter the session's hash.",
    adversary=CURIOUS,
)
def bad_signed_roster(run):
    tell_roster(
        run,
        lambda entries: replaced(
            entries, HER, msgspec.structs.replace(entries[HER], signature=bytes(64))
        ),
    )


# ------------------------------------------------------------------ lies about the encoding


def tell_bytes(run, change):
    run.receive(VICTIM, change(run.keys()[VICTIM]))


@bad(
    "The first member's index, 0, takes two bytes where one is enough.",
    "Two encodings of one message: what is hashed and what is read may differ.",
)
def bad_noncanonical(run):
    entry = encode(run.memberships[VICTIM])  # 0x94, then the index
    tell_bytes(run, lambda data: data.replace(entry, entry[:1] + b"\xcc\x00" + entry[2:]))


@bad("One byte after the message.", "Bytes that one reader sees and another does not.")
def bad_trailing_byte(run):
    tell_bytes(run, lambda data: data + b"\x00")


@bad("The message without its last byte.", "A reader that fills in what is missing.")
def bad_truncated(run):
    tell_bytes(run, lambda data: data[:-1])


@bad("An array with one field more than the message has.", "Fields that one reader ignores.")
def bad_extra_field(run):
    tell_bytes(run, lambda data: b"\x93" + data[1:] + b"\x00")


@bad("A kind that this protocol does not know.", "A reader that guesses.")
def bad_unknown_kind(run):
    tell_bytes(run, lambda data: data.replace(b"roster", b"rosary"))


@bad("Nil where the first member's index is due.", "A reader that takes nil for zero.")
def bad_wrong_type(run):
    entry = encode(run.memberships[VICTIM])
    tell_bytes(run, lambda data: data.replace(entry, entry[:1] + b"\xc0" + entry[2:]))


def tell_entry(run, **change):
    """The second entry with fields that no entry can have."""
    tell_roster(
        run,
        lambda entries: replaced(entries, HER, msgspec.structs.replace(entries[HER], **change)),
    )


@bad("A seal key of 31 bytes.", "A reader that fills in what is missing.")
def bad_key_length(run):
    tell_entry(run, seal_key=bytes(31))


@bad("An index of 2^20, one more than the largest.", "Indices that two readers cut differently.")
def bad_index_range(run):
    tell_entry(run, membership=msgspec.structs.replace(run.memberships[LIAR], index=1 << 20))


@bad("A client id with a capital letter.", "Two names that some systems take for one.")
def bad_client_id(run):
    tell_entry(run, membership=msgspec.structs.replace(run.memberships[LIAR], client_id="C001"))


@bad("A client id with a line end after it.", "Two names that print alike.")
def bad_client_id_line_end(run):
    tell_entry(run, membership=msgspec.structs.replace(run.memberships[LIAR], client_id="c001\n"))


@bad(
    "One byte more than the longest roster for this cohort.",
    "Memory allocated on a stranger's word.",
)
def bad_oversized(run):
    tell_bytes(run, lambda _: bytes(server_limit(run.plan) + 1))


@bad("An honest roster that does not come from the server.", "A member plays the server.")
def bad_sender(run):
    run.receive(VICTIM, run.keys()[VICTIM], sender=LIAR)


@bad(
    "A survivor set before the client has sent anything.",
    "Shares given out while the session can still change.",
)
def bad_early_survivors(run):
    told = run.hear(run.keys())
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, encode(SurvivorSet((0, 1, 2, 3))))


@bad(
    "A refused roster, and then the honest one.",
    "A client that answers after a refusal can be asked until it errs.",
)
def bad_second_roster(run):
    honest = run.keys()[VICTIM]
    run.receive(VICTIM, honest[:-1])
    run.receive(VICTIM, honest)


# ------------------------------------------------------------------ lies about the shares


def tell_boxes(run, change, **how):
    told = run.hear(run.keys(), **how)
    boxes = read(ShareDelivery, told[VICTIM]).boxes
    run.receive(VICTIM, encode(ShareDelivery(tuple(change(boxes)))))


@bad(
    "A box from a member who is not in the roster.",
    "A mask shared with someone whose keys nobody has seen.",
    n=5,
    corrupt=0,
)
def bad_stranger_share(run):
    told = run.hear(run.keys(drop={"c004"}))
    boxes = read(ShareDelivery, told[VICTIM]).boxes
    stranger = msgspec.structs.replace(boxes[-1], peer=4)
    run.receive(VICTIM, encode(ShareDelivery((*boxes, stranger))))


@bad(
    "Boxes of two dealers where the threshold is three.",
    "The client's input would carry the masks of too few others.",
)
def bad_few_dealers(run):
    tell_boxes(run, lambda boxes: boxes[:2])


@bad(
    "All boxes but the one that the client dealt to itself.",
    "The client would mask for a set of dealers without it.",
)
def bad_own_share_missing(run):
    tell_boxes(run, lambda boxes: boxes[1:])


@bad(
    "One dealer's box twice.",
    "A pairwise mask taken twice: what is left of it hides nothing.",
)
def bad_repeated_share(run):
    tell_boxes(run, lambda boxes: (*boxes[:2], boxes[1], boxes[3]))


# ------------------------------------------------------------------ lies about the survivors


def until_input(run, **how):
    """Everything up to the survivor sets; the victim has sent its input."""
    told = run.keys()
    run.session = session_id(run.plan, read(Roster, told[VICTIM]).entries)
    return run.vectors(run.hear(told, **how.pop("shares", {})), **how)


def tell_survivors(run, survivors, **how):
    until_input(run, **how)
    run.receive(VICTIM, encode(SurvivorSet(survivors)))


@bad(
    "Two survivors where the threshold is three.",
    "The sum of two inputs, one of them perhaps a colluder's.",
)
def bad_small_survivors(run):
    tell_survivors(run, (0, 1))


@bad(
    "Survivors enough for the plan, fewer than the client's own floor.",
    "A smaller crowd than the client asks for.",
    floor=4,
)
def bad_survivors_below_floor(run):
    tell_survivors(run, (0, 1, 2))


@bad(
    "Survivors enough for the threshold and for the client, fewer than the plan promises.",
    "A sum of fewer inputs than everyone agreed to.",
    min_clients=4,
)
def bad_survivors_below_plan(run):
    tell_survivors(run, (0, 1, 2))


@bad(
    "A survivor set without the client that is asked.",
    "The client opens its own mask key as a dropout's, while its input is at the server.",
)
def bad_not_survivor(run):
    tell_survivors(run, (1, 2, 3))


@bad(
    "A survivor who is in the roster and dealt no shares.",
    "A set that this client's masks do not fit: the sum is not what it seems.",
)
def bad_unknown_survivor(run):
    tell_survivors(run, (0, 1, 2, 3), shares={"drop": {LAST}})


@bad("The survivors out of order.", "One set, two statements to sign.")
def bad_unsorted_survivors(run):
    tell_survivors(run, (0, 2, 1, 3))


def signatures_for(run, sets):
    """Each signer's word on the survivors that it was shown."""
    signed = []
    for index, survivors in sets.items():
        statement = signed_survivors(run.session, run.plan.broadcast, survivors)
        key = run.identities[run.ids[index]].key
        signed.append(SurvivorSignature(index, key.sign(SURVIVORS_LABEL, *statement)))
    return tuple(signed)


def tell_signatures(run, make):
    """The victim signs for all four; then it is told other signatures than those over all four."""
    told = until_input(run)
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, encode(UnmaskRequest(tuple(make(run)))))


ALL, WITHOUT_LAST = (0, 1, 2, 3), (0, 1, 2)


@bad(
    "One member was shown another survivor set: its signature is over that one.",
    "Half of the clients open the seeds of one set, half those of another, and together they "
    "open both secrets of one client.",
)
def bad_split_survivors(run):
    tell_signatures(run, lambda run: signatures_for(run, {0: ALL, 1: WITHOUT_LAST, 2: ALL}))


@bad(
    "Two signatures where the threshold is three.",
    "The server shows one set to too few to be sure that no other set was signed by as many.",
)
def bad_few_signatures(run):
    tell_signatures(run, lambda run: signatures_for(run, {0: ALL, 1: ALL}))


@bad("One member's signature twice, to reach the threshold.", "As with too few signatures.")
def bad_repeated_signature(run):
    def make(run):
        mine, hers = signatures_for(run, {0: ALL, 1: ALL})
        return mine, hers, hers

    tell_signatures(run, make)


@bad(
    "A signature by a member who dealt shares and did not survive.",
    "Someone outside the set vouches for it.",
)
def bad_outside_signature(run):
    told = until_input(run, drop={LAST})
    run.receive(VICTIM, told[VICTIM])
    signed = signatures_for(run, {0: WITHOUT_LAST, 1: WITHOUT_LAST, 3: WITHOUT_LAST})
    run.receive(VICTIM, encode(UnmaskRequest(signed)))


@bad(
    "A signature over the right survivors under another broadcast.",
    "The server gives one client a model of its own and reads its update out of the sum.",
)
def bad_other_broadcast(run):
    def make(run):
        mine, his = signatures_for(run, {0: ALL, 2: ALL})
        statement = signed_survivors(run.session, bytes(32), ALL)
        other = run.identities[LIAR].key.sign(SURVIVORS_LABEL, *statement)
        return mine, SurvivorSignature(HER, other), his

    tell_signatures(run, make)


@bad(
    "A second survivor set after the client has signed a first.",
    "The client signs both, and both reach the threshold.",
)
def bad_second_survivor_set(run):
    told = until_input(run)
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, encode(SurvivorSet(WITHOUT_LAST)))


@bad(
    "A second survivor set after the client has unmasked for a first.",
    "The seed of the last member from one answer, its mask key from the other: its input.",
)
def bad_second_unmasking(run):
    told = run.hear(until_input(run))
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, encode(SurvivorSet(WITHOUT_LAST)))


@bad(
    "Honest but curious, a second survivor set after the client has answered a first.",
    "The seed of the last member from one answer, its mask key from the other: its input.",
    adversary=CURIOUS,
)
def bad_second_survivor_set_curious(run):
    told = until_input(run)
    run.receive(VICTIM, told[VICTIM])
    run.receive(VICTIM, encode(SurvivorSet(WITHOUT_LAST)))


# ------------------------------------------------------------------ lies to the server


def signed_advertisement(run, client_id, seal_key, mask_key):
    entry = entry_of(run, client_id, seal_key, mask_key)
    return encode(KeyAdvertisement(seal_key, mask_key, entry.signature))


def lie_about_keys(run, make):
    told = run.keys(lies={LAST: lambda sent: [make(read(KeyAdvertisement, sent[0]))]})
    run.finish(run.vectors(run.hear(told)))


@bad_for_server(
    "Keys under a signature that is not by the sender's identity.",
    "Whoever holds the channel speaks for the member.",
)
def bad_key_signature(run):
    lie_about_keys(
        run,
        lambda m: encode(msgspec.structs.replace(m, signature=flipped(m.signature))),
    )


@bad_for_server(
    "Honest but curious, keys with a signature.",
    "Every client refuses the roster: one message ends the round for all.",
    adversary=CURIOUS,
)
def bad_signed_keys(run):
    lie_about_keys(run, lambda m: encode(msgspec.structs.replace(m, signature=bytes(64))))


@bad_for_server(
    "Keys of a cohort member who is not in the directory.",
    "Every client refuses the roster: one message ends the round for all.",
    unenrolled={LAST},
)
def bad_keys_not_enrolled(run):
    run.finish(run.vectors(run.hear(run.keys())))


@bad_for_server(
    "A mask key of small order, signed.",
    "Every client refuses the roster: one message ends the round for all.",
)
def bad_weak_mask_key(run):
    lie_about_keys(run, lambda m: signed_advertisement(run, LAST, m.seal_key, bytes(32)))


@bad_for_server(
    "One key for both purposes.",
    "Every client refuses the roster: one message ends the round for all.",
)
def bad_one_key_twice(run):
    lie_about_keys(run, lambda m: signed_advertisement(run, LAST, m.seal_key, m.seal_key))


@bad_for_server(
    "A second advertisement.",
    "Which keys hold depends on who read what first.",
)
def bad_second_keys(run):
    run.finish(run.vectors(run.hear(run.keys(lies={LAST: lambda sent: sent * 2}))))


@bad_for_server("Keys from someone who is not in the cohort.", "Strangers join the round.")
def bad_stranger(run):
    run.receive(SERVER, encode(KeyAdvertisement(bytes(32), bytes(32), bytes(64))), "c999")
    run.finish(run.vectors(run.hear(run.keys())))


@bad_for_server(
    "Shares from a member who was not in time with its keys.",
    "Members whom no roster shows.",
)
def bad_late(run):
    told = run.keys(drop={LAST})
    run.receive(SERVER, encode(SealedShares(bytes(32), ())), LAST)
    run.finish(run.vectors(run.hear(told)))


@bad_for_server(
    "Boxes for all members but one.",
    "That member can't help to recover the dealer, and is blamed for it.",
)
def bad_box_missing(run):
    def lie(sent):
        dealt = read(SealedShares, sent[0])
        return [encode(msgspec.structs.replace(dealt, boxes=dealt.boxes[1:]))]

    run.finish(run.vectors(run.hear(run.keys(), lies={LAST: lie})))


def lie_about_input(run, lie):
    told = run.vectors(run.hear(run.keys()), lies={LAST: lie})
    run.finish(told)


@bad_for_server(
    "An upload that starts with its second chunk.",
    "Values added in the wrong place.",
)
def bad_chunk_order(run):
    def lie(sent):
        chunk = read(MaskedChunk, sent[0])
        return [encode(msgspec.structs.replace(chunk, sequence=1))]

    lie_about_input(run, lie)


@bad_for_server(
    "A chunk of one byte more than the plan's length and modulus make it.",
    "Values added past the vector's end.",
)
def bad_chunk_size(run):
    def lie(sent):
        chunk = read(MaskedChunk, sent[0])
        return [encode(msgspec.structs.replace(chunk, data=bytes(chunk.data) + b"\x00"))]

    lie_about_input(run, lie)


@bad_for_server("One chunk too many.", "Values added past the vector's end.")
def bad_chunk_extra(run):
    def lie(sent):
        chunk = read(MaskedChunk, sent[0])
        return [sent[0], encode(msgspec.structs.replace(chunk, sequence=1))]

    lie_about_input(run, lie)


@bad_for_server(
    "An upload closed before its only chunk.",
    "A client counted among the survivors whose input is not in the sum: the sum is noise.",
)
def bad_chunk_missing(run):
    lie_about_input(run, lambda sent: sent[1:])


@bad_for_server(
    "The closing message has another checksum than the chunks.",
    "A vector that was spoiled on its way is added: the sum is noise.",
)
def bad_digest(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        spoiled = msgspec.structs.replace(closing, checksum=flipped(closing.checksum))
        return [sent[0], encode(spoiled)]

    lie_about_input(run, lie)


@bad_for_server(
    "A bit after the last value is set, and covered by the checksum.",
    "Two encodings of one vector.",
    bits=9,
)
def bad_padding(run):
    def lie(sent):
        data = bytearray(read(MaskedChunk, sent[0]).data)
        data[-1] |= 0x80
        checksum = Checksum(digest("upload", run.plan.round_id), THEM)
        checksum.update(data)
        return [encode(MaskedChunk(0, bytes(data))), encode(MaskedInput(checksum.value(), ()))]

    lie_about_input(run, lie)


@bad_for_server(
    "A complaint about a member who dealt nothing.",
    "Room for claims that nothing can be held against.",
)
def bad_complaint(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=(NOBODY,)))]

    lie_about_input(run, lie)


@bad_for_server(
    "A member names the dealers whose boxes did not open in another order.",
    "Two encodings of one complaint: what two parties note of it differs.",
)
def bad_complaint_order(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=(HIM, ME)))]

    lie_about_input(run, lie)


@bad_for_server(
    "A member sends its closing message twice. It is put out; its input is in the sum and stays.",
    "A sum that holds an input, and a survivor set that does not: what is left of its masks is "
    "noise over the result of all others.",
)
def bad_second_input(run):
    lie_about_input(run, lambda sent: [*sent, sent[-1]])


@bad_for_server(
    "One member complains falsely about a dealer, and another is lost: too few holders are left. "
    "One complaint, where one member may be corrupt, convicts nobody.",
    "An honest dealer is excluded on a liar's word.",
)
def bad_false_complaint(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=(HIM,)))]

    run.vectors(run.hear(run.keys()), drop={VICTIM}, lies={LAST: lie})


@bad_for_server(
    "One member complains falsely about a dealer; a holder is lost before it signs. Three shares "
    "are needed, two would come: nobody is asked to unmask, and nobody is convicted.",
    "Asked all the same, the others would open shares for a sum that cannot be had.",
)
def bad_false_complaint_signing(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=(HIM,)))]

    told = run.vectors(run.hear(run.keys()), lies={LAST: lie})
    run.hear(told, drop={VICTIM})


@bad_for_server(
    "One member complains falsely about a dealer; a holder is lost when all have been asked to "
    "unmask. Three shares are needed, two came: nobody is convicted.",
    "An honest dealer is excluded on a liar's word.",
)
def bad_false_complaint_late(run):
    def lie(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=(HIM,)))]

    def keep(sent):
        shares = read(UnmaskShares, sent[0]).shares
        return [encode(UnmaskShares((*shares[:HIM], *shares[HIM + 1 :])))]

    told = run.vectors(run.hear(run.keys()), lies={LAST: lie})
    run.finish(told, drop={VICTIM}, lies={LAST: keep})


@bad_for_server(
    "A dealer spoils its boxes for two members of four: the other two can't recover it.",
    "Learned only after others had unmasked, it would cost them the round's secrecy for nothing.",
)
def bad_unopened_boxes(run):
    def lie(sent):
        dealt = read(SealedShares, sent[0])
        spoiled = tuple(
            msgspec.structs.replace(box, box=flipped(box.box)) if box.peer < 2 else box
            for box in dealt.boxes
        )
        return [encode(msgspec.structs.replace(dealt, boxes=spoiled))]

    run.vectors(run.hear(run.keys(), lies={LAST: lie}))


@bad_for_server(
    "A member signs another survivor set than it was shown.",
    "Relayed, its signature would make every client refuse to unmask.",
)
def bad_survivor_signature(run):
    def lie(_):
        (signed,) = signatures_for(run, {THEM: WITHOUT_LAST})
        return [encode(ConsistencySignature(signed.signature))]

    run.hear(run.hear(until_input(run), lies={LAST: lie}))


def lie_about_shares(run, change):
    """The last member opens other shares than it should."""

    def lie(sent):
        shares = read(UnmaskShares, sent[0]).shares
        return [encode(UnmaskShares(tuple(change(shares))))]

    run.finish(run.vectors(run.hear(run.keys())), lies={LAST: lie})


@bad_for_server(
    "A member opens a share that is not the one it was dealt.",
    "A wrong secret is recovered, and the dealer is blamed for it.",
)
def bad_share_commitment(run):
    lie_about_shares(
        run,
        lambda shares: replaced(
            shares, ME, msgspec.structs.replace(shares[ME], share=flipped(shares[ME].share, 35))
        ),
    )


@bad_for_server(
    "A member withholds one share that it has.",
    "It decides after the fact whose input can be recovered.",
)
def bad_missing_share(run):
    lie_about_shares(run, lambda shares: shares[1:])


@bad_for_server(
    "A member opens its shares in another order.",
    "Two encodings of one answer: what two parties note of it differs.",
)
def bad_share_order(run):
    lie_about_shares(run, lambda shares: (shares[1], shares[0], *shares[2:]))


@bad_for_server(
    "A member opens one share twice.",
    "It counts twice towards the threshold.",
)
def bad_share_twice(run):
    lie_about_shares(run, lambda shares: (shares[0], *shares))


@bad_for_server(
    "A member opens its share of a survivor's mask key instead of the seed.",
    "A server that took it would hold shares of both secrets of one client.",
)
def bad_other_secret(run):
    kept = {}

    def lie(sent):
        shares = read(UnmaskShares, sent[0]).shares
        held = open_box(
            session_id(run.plan, kept["roster"].entries),
            THEM,
            KeyPair(run.rand[LAST][:32]).agree(kept["roster"].entries[ME].seal_key),
            kept["delivery"].boxes[ME],
        )
        wrong = OpenedShare(ME, held.shares[Secret.MASK_KEY], held.salts[Secret.MASK_KEY])
        return [encode(UnmaskShares(replaced(shares, ME, wrong)))]

    told = run.keys()
    kept["roster"] = read(Roster, told[LAST])
    told = run.hear(told)
    kept["delivery"] = read(ShareDelivery, told[LAST])
    run.finish(run.vectors(told), lies={LAST: lie})


@bad_for_server(
    "A dealer commits to a share with a word that is no field element; its holder, who works with "
    "it, does not complain and opens it.",
    "Two readings of one share, or a server that fails on it.",
)
def bad_share_outside_field(run):
    told = run.keys()
    roster = read(Roster, told[LAST])

    def dealer(sent):
        return [deal_share(run, roster, sent[0], HER, OUTSIDE_FIELD, OUTSIDE_FIELD)]

    def silence(sent):
        closing = read(MaskedInput, sent[-1])
        return [sent[0], encode(msgspec.structs.replace(closing, unopened=()))]

    def holder(sent):
        shares = read(UnmaskShares, sent[0]).shares
        return [
            encode(UnmaskShares((*shares, OpenedShare(THEM, OUTSIDE_FIELD, bytes(SALT_BYTES)))))
        ]

    told = run.vectors(run.hear(told, lies={LAST: dealer}), lies={LIAR: silence})
    run.finish(told, lies={LIAR: holder})


def deal_twice(run, roster):
    """Shares of the last member on two polynomials: some boxes of one dealing, some of another.

    Each box opens, and to what it commits to.
    """
    rand = run.rand[LAST]
    dealings = [
        deal(
            session_id(run.plan, roster.entries),
            THEM,
            {Secret.MASK_KEY: rand[32:64], Secret.SEED: rand[64:96]},
            {e.membership.index: KeyPair(rand[:32]).agree(e.seal_key) for e in roster.entries},
            {},
            threshold=run.plan.threshold,
            coefficients=Keystream(coefficients),
            salts=Keystream(rand[128:]),
        )
        for coefficients in (rand[96:128], bytes(32))
    ]
    boxes = (*dealings[0].boxes[:1], *dealings[1].boxes[1:])
    return encode(SealedShares(dealings[0].seed_commitment, boxes))


@bad_for_server(
    "A dealer's shares are as committed and lie on no polynomial of degree t - 1; it survives.",
    "The seed that is recovered is wrong: the sum is noise, and nobody knows through whom.",
)
def bad_polynomial(run):
    told = run.keys()
    roster = read(Roster, told[LAST])
    told = run.hear(told, lies={LAST: lambda _: [deal_twice(run, roster)]})
    run.finish(run.vectors(told))


@bad_for_server(
    "A dealer's shares are as committed and lie on no polynomial of degree t - 1; it drops out.",
    "The mask key that is recovered is wrong: the sum is noise, and nobody knows through whom.",
)
def bad_polynomial_dropped(run):
    told = run.keys()
    roster = read(Roster, told[LAST])
    told = run.hear(told, lies={LAST: lambda _: [deal_twice(run, roster)]})
    run.finish(run.vectors(told, drop={LAST}))
