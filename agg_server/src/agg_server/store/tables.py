"""The tables, as Alembic's revisions make them."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

devices = Table(
    "devices",
    metadata,
    Column("identity", LargeBinary(32), primary_key=True),
    Column("status", String(10), nullable=False),  # active, left, blocked
    Column("joined", Float, nullable=False),
    Column("invitation", LargeBinary(32), nullable=False),
    Column("last_seen", Float),
    Column("client_version", String(400)),
    Column("accelerator", String(10)),
    Column("memory_gib", Integer),
    Column("before_block", String(10)),  # the status that a blocked device had; None: active
)

invitations = Table(
    "invitations",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("revoked", Float),
)

adapters = Table(
    "adapters",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("adapter", LargeBinary(32), nullable=False),
    Column("parent", Integer),
    Column("round", Integer),
    Column("created", Float, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("clip", LargeBinary, nullable=False),  # msgpack: a range for each tensor, for the round that begins here
)

rounds = Table(
    "rounds",
    metadata,
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("final", Integer, nullable=False),  # 1: nothing more can happen, its events need no replay
    Column("report", LargeBinary, nullable=False),  # msgpack: RoundReport
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("round", Integer, ForeignKey("rounds.round"), nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("body", LargeBinary, nullable=False),  # msgpack: an Event
    Column("digest", LargeBinary(32), nullable=False, server_default=text("''")),  # see digests.py
    Index("ix_events_round_seq", "round", "seq"),
)

results = Table(
    "results",
    metadata,
    Column("cohort", LargeBinary(16), primary_key=True),
    Column("round", Integer, ForeignKey("rounds.round"), nullable=False, index=True),
    Column("members", LargeBinary, nullable=False),  # identities, joined
    Column("result", LargeBinary, nullable=False),  # msgpack: Result, signed
)

orders = Table(
    "orders",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Integer, nullable=False),
)

login_links = Table(
    "login_links",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("expires", Float, nullable=False),
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("secret_hash", LargeBinary(32), primary_key=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

passing = MetaData(naming_convention=metadata.naming_convention)
"""What only PostgreSQL has, for replicas, and no backup needs."""

nonces = Table(
    "nonces",
    passing,
    Column("nonce", LargeBinary(48), primary_key=True),
    Column("used", Float, nullable=False, index=True),  # Unix seconds
    prefixes=["UNLOGGED"],
)
