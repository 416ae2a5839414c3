"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "adapters",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("adapter", sa.LargeBinary(length=32), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("round", sa.Integer(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("clip", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_adapters")),
    )
    op.create_table(
        "devices",
        sa.Column("identity", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("joined", sa.Float(), nullable=False),
        sa.Column("invitation", sa.LargeBinary(length=32), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=True),
        sa.Column("client_version", sa.String(length=400), nullable=True),
        sa.Column("accelerator", sa.String(length=10), nullable=True),
        sa.Column("memory_gib", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("identity", name=op.f("pk_devices")),
    )
    op.create_table(
        "invitations",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=True),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_invitations")),
    )
    op.create_table(
        "orders",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_orders")),
    )
    op.create_table(
        "rounds",
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("final", sa.Integer(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("round", name=op.f("pk_rounds")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["rounds.round"], name=op.f("fk_events_round_rounds")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_round_seq", "events", ["round", "seq"], unique=False)
    op.create_table(
        "results",
        sa.Column("cohort", sa.LargeBinary(length=16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["rounds.round"], name=op.f("fk_results_round_rounds")),
        sa.PrimaryKeyConstraint("cohort", name=op.f("pk_results")),
    )
    op.create_index(op.f("ix_results_round"), "results", ["round"], unique=False)


def downgrade() -> None:
    """Remove all tables."""
    op.drop_index(op.f("ix_results_round"), table_name="results")
    op.drop_table("results")
    op.drop_index("ix_events_round_seq", table_name="events")
    op.drop_table("events")
    op.drop_table("rounds")
    op.drop_table("orders")
    op.drop_table("invitations")
    op.drop_table("devices")
    op.drop_table("adapters")
