"""Numbers of requests that were used, where several replicas serve."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, in PostgreSQL."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "nonces",
        sa.Column("nonce", sa.LargeBinary(length=48), nullable=False),
        sa.Column("used", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_nonces")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_nonces_used"), "nonces", ["used"], unique=False)


def downgrade() -> None:
    """Remove it."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(op.f("ix_nonces_used"), table_name="nonces")
        op.drop_table("nonces")
