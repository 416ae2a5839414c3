"""Login links and sessions of operators at the dashboard; invitations can be revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the column."""
    op.add_column("invitations", sa.Column("revoked", sa.Float(), nullable=True))
    op.create_table(
        "login_links",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_login_links")),
    )
    op.create_table(
        "operator_sessions",
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_operator_sessions")),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("operator_sessions")
    op.drop_table("login_links")
    op.drop_column("invitations", "revoked")
