"""No text of any object of a one-shot sum shows a secret, nor does what the server is sent."""

import numpy as np
import pytest

from fedprivacy.arithmetic import share_to_bytes
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg import Cohort
from fedprivacy.secagg.oneshot import OneShot
from fedprivacy.secagg.oneshot import client as client_module
from fedprivacy.secagg.oneshot import member as member_module
from oneshotdrive import OneShotDrive, OneShotSum
from secretscan import Scanner


def test_neither_texts_nor_messages_show_a_secret(monkeypatch):
    texts, secrets = [], {}

    def hear(*things):
        texts.extend(f"{thing!r} {thing} {[thing]!r}" for thing in things)

    opened, dealt = member_module.open_box, client_module.deal_key

    def open_box(*args, **kwargs):
        held = opened(*args, **kwargs)
        secrets[f"share {len(secrets)}"] = share_to_bytes(held.share.astype(np.uint64))
        hear(held, kwargs["pair"], args[0])
        return held

    def deal_key(elements, *args, **kwargs):
        secrets[f"key {len(secrets)}"] = share_to_bytes(elements)
        hear(kwargs["pair"], kwargs["coefficients"])
        return dealt(elements, *args, **kwargs)

    monkeypatch.setattr(member_module, "open_box", open_box)
    monkeypatch.setattr(client_module, "deal_key", deal_key)
    case = OneShotSum(clients=3, members=3, threshold=2)
    for name in case.names:
        rand = case.rng.child(name).bytes(OneShot.rand_bytes)
        secrets |= {f"{name} {at}": rand[at : at + 32] for at in range(0, len(rand), 32)}
    for name in case.committee_names:
        secrets[name] = case.rng.child(f"{name} as member").bytes(OneShot.member_rand_bytes)
    outcome = OneShotDrive(case).run()
    hear(case.server, *case.parties.values(), case.plan, outcome.done, outcome.source)
    hear(*case.parties["m00"].__dict__.values(), *case.parties["c000"].__dict__.values())
    hear(*(effect for _, effect in outcome.persisted))
    assert len(secrets) == 3 * 4 + 3 + 3 + 9
    assert Scanner(secrets).find("\n".join(texts)) == []
    sent = b"".join(body for bodies in outcome.sent.values() for body in bodies)
    assert not [name for name, secret in secrets.items() if secret in sent]


def test_the_key_that_was_dealt_is_overwritten(monkeypatch):
    dealt, keys, made = client_module.deal_key, [], []
    encryption = client_module.Encryption

    def deal_key(elements, *args, **kwargs):
        keys.append(elements)
        assert elements.any()
        return dealt(elements, *args, **kwargs)

    def kept(*args, **kwargs):
        made.append(encryption(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(client_module, "deal_key", deal_key)
    monkeypatch.setattr(client_module, "Encryption", kept)
    OneShotDrive(OneShotSum(clients=3, members=3, threshold=2)).run()
    assert len(keys) == len(made) == 3
    assert not any(elements.any() for elements in keys)
    assert not any(each.key.any() for each in made)


def test_a_cohort_or_a_committee_that_the_plan_does_not_name_is_refused():
    """One client more than planned could make sums run over."""
    case = OneShotSum()
    more = Cohort.of([*case.names, "c999"], rng=case.rng)
    for cohort, committee in [(more, case.committee), (case.cohort, more)]:
        with pytest.raises(ConfigurationError, match="not the one that the plan commits to"):
            OneShot.server(case.plan, cohort, case.directory, rng=case.rng, committee=committee)
    with pytest.raises(ConfigurationError, match="needs a committee"):
        OneShot.server(case.plan, case.cohort, case.directory, rng=case.rng)
    with pytest.raises(ConfigurationError, match="needs a directory"):
        OneShot.server(case.plan, case.cohort, None, rng=case.rng, committee=case.committee)
