"""`server.toml` and `client.toml`: what one machine of a networked run is given."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.config import Section, load_toml
from fedprivacy.transport.tls.attempt import Waits
from fedprivacy.transport.tls.credentials import Credentials
from fedprivacy.transport.tls.frames import Role
from fedprivacy.transport.tls.hub import HubLimits
from fedprivacy.transport.tls.link import LinkLimits

__all__ = ["ClientFile", "ServerFile", "TlsFiles", "address_of"]

_Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class TlsFiles(Section, frozen=True, kw_only=True):
    """Paths, relative to the file that names them."""

    authority: str
    revoked: str
    certificate: str
    key: str

    def credentials(self, folder: Path) -> Credentials:
        """The files, from the folder of the file that names them."""
        named = (self.authority, self.revoked, self.certificate, self.key)
        return Credentials(*(folder / name for name in named))


class Times(Section, frozen=True, kw_only=True):
    """Seconds; after each of them the server goes on without those who did not answer."""

    gather: _Seconds = 60.0
    """For the job's clients, and a named committee, to connect, before the first round."""
    phase: _Seconds = 30.0
    training: _Seconds = 300.0
    reconnect: _Seconds = 10.0
    handshake: _Seconds = 10.0
    heartbeat: Annotated[float, Meta(ge=0.1, le=600.0)] = 5.0


class Rates(Section, frozen=True, kw_only=True):
    """Of one identity."""

    connects: Annotated[float, Meta(ge=1.0)] = 20.0
    """A minute; as many may come at once."""
    frames: Annotated[float, Meta(ge=10.0)] = 2_000.0
    """A second."""


class ServerFile(Section, frozen=True, kw_only=True):
    """`server.toml`; paths are relative to it."""

    schema: Literal["fedprivacy/server/1"]
    job: str
    directory: str
    run: str
    """The run's folder: a server that is started again in it goes on."""
    listen: str = "127.0.0.1:8443"
    health: str = ""
    """Address of the read-only `/healthz`; empty: there is none."""
    ledger: str = ""
    """Where budgets are kept; empty: in the run's folder."""
    operator: str = ""
    """The key that signs the ledger's heads; empty: one is made in the run's folder."""
    ceremony: str = ""
    """The server's part of a key ceremony, for a protocol whose clients share a key."""
    tls: TlsFiles
    times: Times = Times()
    rates: Rates = Rates()

    @classmethod
    def from_toml(cls, path: Path) -> ServerFile:
        """The file; raises `ConfigurationError` naming the key that is wrong."""
        file = load_toml(cls, path, "server")
        address_of(file.listen, "server.listen")
        if file.health:
            address_of(file.health, "server.health")
        return file

    @property
    def waits(self) -> Waits:
        return Waits(self.times.phase, self.times.training, self.times.reconnect)

    @property
    def limits(self) -> HubLimits:
        times, rates = self.times, self.rates
        return dataclasses.replace(
            HubLimits(),
            handshake=times.handshake,
            heartbeat=times.heartbeat,
            connects=rates.connects,
            frames=rates.frames,
        )


class ClientFile(Section, frozen=True, kw_only=True):
    """`client.toml`, or `member.toml`, of a networked run; paths are relative to it."""

    schema: Literal["fedprivacy/client/1"]
    role: Role = Role.CLIENT
    job: str = ""
    """What is trained, on which data; a member trains nothing."""
    policy: str
    identity: str
    """The enrolled identity's key; its name is the file's."""
    store: str
    server: str = "127.0.0.1:8443"
    tls: TlsFiles
    patience: _Seconds = 60.0
    """Seconds without a connection, before this client gives up."""

    @classmethod
    def from_toml(cls, path: Path) -> ClientFile:
        """The file; raises `ConfigurationError` naming the key that is wrong."""
        file = load_toml(cls, path, "client")
        address_of(file.server, "client.server")
        if (file.role is Role.CLIENT) != bool(file.job):
            raise ConfigurationError(
                "client.job is missing: name what is trained"
                if file.role is Role.CLIENT
                else f"client.job = {file.job} has no use with role = member: leave it out"
            )
        return file

    @property
    def limits(self) -> LinkLimits:
        return LinkLimits(patience=self.patience)


def address_of(text: str, key: str) -> tuple[str, int]:
    """Host and port of `host:port`; raises `ConfigurationError` naming the key."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise ConfigurationError(f"{key} = {text} is no host:port: give one, 127.0.0.1:8443 say")
    return host.strip("[]"), int(port)
