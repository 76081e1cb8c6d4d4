"""A server with two ledgers, which gives each half of the hospitals a receipt of another one."""

import shutil

import msgspec
import pytest

from fedprivacy.ledger import BudgetLedger, Contradiction, LedgerAccountant
from fedprivacy.rounds import RoundServer, Settled
from fedprivacy.rounds.books import Books
from fedprivacy.secagg import Send
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.job import FaultSpec, Job, Stores
from fedprivacy.simulation.run import Simulation
from fedprivacy.wire import encode


class Nobody:
    def round_started(self, number, of):
        pass

    def phase_ended(self, number, attempt, meter):
        pass

    def round_ended(self, record):
        pass


def job(rounds):
    read = Job.from_toml(shipped_path("examples/hospitals/job.toml"))
    changes = {"rounds": rounds, "faults": FaultSpec(), "stores": Stores.MEMORY}
    return Job(msgspec.structs.replace(read.file, **changes), read.plan, read.policy)


def louder(spend):
    """The release, as if its noise had had four times the variance."""
    numbers = tuple(
        (name, 4 * value if name == "variance" else value) for name, value in spend.event.numbers
    )
    event = msgspec.structs.replace(spend.event, numbers=numbers)
    return msgspec.structs.replace(spend, event=event)


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Two rounds; in the second one half of the clients are shown a ledger that was charged for
    another release.

    Both histories, the operator's key, and the heads that each half of the clients keeps.
    """
    close, settled = Books.close_attempt, RoundServer.settled
    forks = []

    def close_attempt(books, reservation, *, may_be_known):
        if reservation.request.round == 2:
            shutil.copy(tmp_path / "run" / "ledger.db", tmp_path / "fork.db")
            costs = LedgerAccountant()
            with BudgetLedger(tmp_path / "fork.db", clock=lambda: 1, accountant=costs) as other:
                other.settle(reservation, map(louder, reservation.spends))
                forks.append(other.signed_head(books.operator))
        close(books, reservation, may_be_known=may_be_known)

    def two_stories(server, ledger):
        for place, send in enumerate(settled(server, ledger)):
            other = encode(Settled(server._round_id, encode(forks[0]))) if forks else send.message
            yield Send(send.recipient, other if place % 2 else send.message)

    monkeypatch.setattr(Books, "close_attempt", close_attempt)
    monkeypatch.setattr(RoundServer, "settled", two_stories)
    simulation = Simulation(job(2), folder=tmp_path / "run")
    simulation.run(Nobody())
    stores = [simulation._members.store(name) for name in simulation._members.names]
    kept = [store.heads() for store in stores]
    operator = simulation._books.operator.public
    histories = []
    for place in (tmp_path / "run" / "ledger.db", tmp_path / "fork.db"):
        with BudgetLedger(place, clock=lambda: 1) as ledger:
            histories.append(ledger.history())
    simulation.close()
    seen = [[heads for heads in kept if (forks[0] in heads) is forked] for forked in (False, True)]
    return histories, operator, [[head for heads in half for head in heads] for half in seen]


def test_a_fork_is_found_in_whichever_ledger_one_looks_once_the_halves_are_pooled(told):
    histories, operator, halves = told
    assert histories[0].budgets[0].spends != histories[1].budgets[0].spends
    assert len(halves[0]) == len(halves[1]) == 10 * 4
    for own, other in ((0, 1), (1, 0)):
        # By those alone who saw this history nothing is found, and nothing is claimed.
        alone = histories[own].verify(halves[own], operator=operator)
        assert (alone.findings, alone.receipts) == ((), 40)
        pooled = histories[own].verify(halves[own] + halves[other], operator=operator)
        accused = {finding.receipt for finding in pooled.contradicted}
        # Each of the other half keeps one head that is not of this history: its last.
        assert accused == {40 + place for place in range(3, 40, 4)}
        assert {finding.contradiction for finding in pooled.findings} == {
            Contradiction.FORKED,
            Contradiction.REWRITTEN,
        }
