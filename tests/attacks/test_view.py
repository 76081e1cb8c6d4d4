"""What an adversary is shown: what was said to it, and nothing that a protocol hides."""

import dataclasses

import msgspec
import numpy as np
import pytest

from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.federation import Federation, Losing
from fedprivacy.attacks.view import RoundView, View, participation
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan
from fedprivacy.secagg import Adversary
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.faults import Drop, Phase
from fedprivacy.simulation.job import FaultSpec, Job
from fedprivacy.simulation.logistic import unit_gradients
from fedprivacy.simulation.run import Simulation
from fedprivacy.wire import Transcript

LENGTH, CLIENTS = 40, 12


def plan_of(project, name):
    return Plan.from_toml(project / "attacks" / "plans" / f"{name}.toml")


def seen(plan, lost=()):
    """One round of unit vectors, and what each client had."""
    draw = Draw(InsecureTestRng(1))
    with Federation.of(plan, CLIENTS, rng=InsecureTestRng(2)) as federation:
        drawn = draw.normals(CLIENTS, LENGTH)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True) * 1.01
        updates = dict(zip(federation.names, drawn, strict=True))
        attempt = federation.round(
            1,
            lambda name, _: updates[name],
            broadcast=b"weights",
            length=LENGTH,
            channel=Losing(frozenset(lost)),
        )
    return attempt, updates


def test_in_the_open_each_update_is_seen(project):
    attempt, updates = seen(plan_of(project, "plain"), lost=("client-002",))
    assert set(attempt.view.sent) == set(updates) - {"client-002"}
    for name in attempt.view.survivors:
        assert np.abs(attempt.view.update_of(name) - updates[name]).max() < 1e-6
    with pytest.raises(ConfigurationError, match="client-002 sent no input"):
        attempt.view.update_of("client-002")


def test_under_masks_an_upload_has_nothing_of_its_update(project):
    attempt, updates = seen(plan_of(project, "secagg"))
    assert set(attempt.view.sent) == set(updates)
    masked = np.array([attempt.view.update_of(name) for name in updates])
    alike = [
        abs(found @ updates[name] / np.linalg.norm(found) / np.linalg.norm(updates[name]))
        for name, found in zip(updates, masked, strict=True)
    ]
    # Cosines of 12 uniform vectors in 40 dimensions: above 0.75 with a chance below 1e-6.
    assert max(alike) < 0.75
    assert np.abs(masked).max() > 8
    assert np.abs(attempt.view.total - sum(updates.values())).max() < 1e-5
    assert attempt.view.broadcast == b"weights"
    assert attempt.view.plan.round == 1


def test_a_view_holds_no_party(project):
    attempt, _ = seen(plan_of(project, "secagg"))
    names = {field.name for field in dataclasses.fields(RoundView)}
    assert names == {"plan", "broadcast", "survivors", "sum", "sent"}
    assert {field.name for field in dataclasses.fields(View)} == {"rounds"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        attempt.view.sum = None


def test_a_round_without_a_sum_says_why_and_has_none(project):
    lost = [f"client-{i:03d}" for i in range(1, 8)]
    attempt, _ = seen(plan_of(project, "secagg"), lost)
    assert attempt.stopped == "too-few"
    assert len(View((attempt.view,)).sums) == 0
    with pytest.raises(ConfigurationError, match="round 1 has no sum"):
        _ = attempt.view.total


def test_a_transcript_of_no_attempt_is_refused():
    with pytest.raises(ConfigurationError, match="invitations to 0 attempts"):
        RoundView.of_server(Transcript(), (), None)
    with pytest.raises(ConfigurationError, match="a view of 0 rounds"):
        View(()).only()


class Watcher:
    def round_started(self, number, of): ...

    def phase_ended(self, number, attempt, meter): ...

    def round_ended(self, record): ...


def test_a_run_has_the_views_that_its_transcript_holds_and_a_record_who_was_there():
    job = Job.from_toml(shipped_path("examples/hospitals/job.toml")).with_protocol("plain")
    drop = Drop(round=2, client="hospital-04", before=Phase.INPUT)
    replace = msgspec.structs.replace
    job = Job(replace(job.file, rounds=2, faults=FaultSpec(drop=(drop,))), job.plan, job.policy)
    transcript = Transcript()
    simulation = Simulation(job, rng=InsecureTestRng(3), transcript=transcript)
    try:
        record = simulation.run(Watcher())
    finally:
        simulation.close()
    with pytest.raises(ConfigurationError, match="invitations to 2 attempts"):
        RoundView.of_server(transcript, (), None)
    view = View.of_run(transcript, record)
    assert view.sums.shape == (2, 31)
    assert view.rounds[1].plan.round == 2
    assert "hospital-04" not in view.rounds[1].sent
    assert view.rounds[0].broadcast != view.rounds[1].broadcast
    # What the server sees in the open is what a hospital sent: its own patients' gradients, added.
    population = job.file.data.deal(20, rng=InsecureTestRng(job.file.seed))
    mine = population.clients["hospital-04"]
    gradients = unit_gradients(np.zeros(31), mine.features, mine.labels)
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    clipped = (gradients * np.minimum(1.0, 1.0 / norms)).sum(axis=0)
    assert np.abs(view.rounds[0].update_of("hospital-04") - clipped).max() < 0.01
    names, present = participation(record)
    assert present.shape == (2, 20)
    assert present[0].all()
    assert names[int(np.flatnonzero(present[1] == 0)[0])] == "hospital-04"
    assert present[1].sum() == 19


def test_silent_clients_follow_the_protocol_without_noise(project):
    plan = plan_of(project, "secagg-dp")
    assert plan.aggregation.adversary is Adversary.MALICIOUS
    totals = []
    for silent in (0, 10):
        with Federation.of(plan, CLIENTS, rng=InsecureTestRng(4), silent=silent) as federation:
            attempt = federation.round(
                1, lambda name, _: np.zeros(LENGTH), broadcast=b"w", length=LENGTH
            )
        totals.append(np.mean(attempt.view.total**2))
    # Shares are of variance 1/10: 12 of them, and 2. A ratio of two means of 40 squares.
    assert totals[0] / totals[1] > 2.2
