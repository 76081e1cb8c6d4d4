"""What a run of private rounds is held to: plan, directory, ledger, and how long nodes have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES, Rng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import COMMITTEES, SHARED_KEYS, Admission, Adversary
from fedprivacy.secagg.homomorphic.native import require

__all__ = ["Terms"]

_IN_MEMORY = (":memory:", "sqlite://", "")


@dataclass(frozen=True, slots=True)
class Terms:
    """What does not change from run to run."""

    plan: Plan
    directory: Directory | None
    ledger: str | Path | None
    operator: SigningKey | None
    """Signs the ledger's heads; None where no ledger is kept."""
    folder: Path | None
    phase_timeout: float
    runs_any_app: bool
    """Nodes do, as far as is known: the guarantee then speaks of no server that lies."""
    weighted_by: str
    rng: Rng
    admission: Admission | None = None
    """The server's part of a key ceremony, for a protocol whose clients share a key."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        directory: Directory | str | Path | None,
        ledger: str | Path | None,
        operator_key: str | Path | None,
        folder: str | Path | None,
        phase_timeout: float,
        weighted_by: str,
        runs_any_app: bool,
        rng: Rng,
        ceremony: Admission | str | Path | None = None,
    ) -> Terms:
        """Terms that fit the plan; raises `ConfigurationError` with the remedy for others."""
        plan.check()
        signed, admission = _read_directory(directory), _read_ceremony(ceremony, plan)
        _check_directory(signed, plan)
        if ledger is None and plan.noise.trust is not Trust.NONE:
            raise ConfigurationError(
                f"plan.noise.trust = {plan.noise.trust.value} charges a budget: pass "
                'ledger="/absolute/path/of/budget.db", which remembers it from run to run'
            )
        operator = None if ledger is None else _operator(ledger, operator_key, rng=rng)
        _check_apart(operator, signed, plan)
        return cls(
            plan=plan,
            directory=signed,
            ledger=ledger,
            operator=operator,
            folder=None if folder is None else Path(folder),
            phase_timeout=phase_timeout,
            runs_any_app=runs_any_app,
            weighted_by=weighted_by,
            rng=rng,
            admission=admission,
        )

    @property
    def forgets(self) -> bool:
        """Whether the ledger ends with the run that opened it."""
        return self.ledger is not None and _place(self.ledger) in _IN_MEMORY

    @property
    def kept_at(self) -> str:
        """Where the ledger is, for a log: a file's whole path, a database without its secrets."""
        place = "" if self.ledger is None else _place(self.ledger)
        if place in _IN_MEMORY:
            return "in memory"
        scheme, is_database, rest = place.partition("://")
        if is_database:
            return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
        path = Path(place)
        return str(path) if path.is_absolute() else f"{path.resolve()} (given as {place})"


def _place(ledger: str | Path) -> str:
    return str(ledger).removeprefix("sqlite:///")


def _check_directory(directory: Directory | None, plan: Plan) -> None:
    adversary = plan.aggregation.adversary
    if directory is None and adversary is not Adversary.HONEST_BUT_CURIOUS:
        raise ConfigurationError(
            f"plan.aggregation.adversary = {adversary.value} needs enrolled identities: pass "
            'directory="directory.json" (`fedprivacy flower keys` makes one for a simulation)'
        )


def _check_apart(operator: SigningKey | None, directory: Directory | None, plan: Plan) -> None:
    """A committee is to hold the server in check: it is none of those who could be of it."""
    if operator is None or directory is None or plan.aggregation.protocol not in COMMITTEES:
        return
    for name, key in directory.entries:
        if key == operator.public:
            raise ConfigurationError(
                f"operator_key is the key of {name}, who is enrolled and could be a member of the "
                "committee: sign the ledger's heads with a key that the directory has not"
            )


def _read_ceremony(ceremony: Admission | str | Path | None, plan: Plan) -> Admission | None:
    name = plan.aggregation.protocol
    if name not in SHARED_KEYS:
        if ceremony is not None:
            raise ConfigurationError(f"ceremony has no use with {name}: leave it out")
        return None
    require()
    if ceremony is None:
        raise ConfigurationError(
            f"plan.aggregation.protocol = {name} needs the server's part of a key ceremony: pass "
            'ceremony="study-7.server.key" (`fedprivacy keys ceremony` makes it; for a simulation, '
            "`fedprivacy flower keys`)"
        )
    found = ceremony if isinstance(ceremony, Admission) else Admission.load(ceremony)
    if found.protocol != name:
        raise ConfigurationError(
            f"ceremony is for {found.protocol} where plan.aggregation.protocol = {name}: take the "
            "server's part of its own"
        )
    return found


def _read_directory(directory: Directory | str | Path | None) -> Directory | None:
    if directory is None or isinstance(directory, Directory):
        return directory
    path = Path(directory)
    try:
        return Directory.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _operator(ledger: str | Path, key: str | Path | None, *, rng: Rng) -> SigningKey:
    """The key in a file, which is made where there is none: clients hold a ledger to its signer."""
    if key is None:
        place = _place(ledger)
        if place in _IN_MEMORY:
            return SigningKey.from_seed(rng.child("operator").bytes(SEED_BYTES))
        if "://" in place:
            raise ConfigurationError(
                "operator_key is missing: name the file of the key that signs this ledger's heads"
            )
        key = f"{place}.operator.key"
    path = Path(key)
    if not path.exists():
        Identity.new("operator", rng=rng.child("operator")).save(path)
    return Identity.load(path, "operator").key
