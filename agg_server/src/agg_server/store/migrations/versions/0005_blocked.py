"""What a blocked device was before: one that has left by itself is not let in again by being unblocked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Who is blocked already was active."""
    op.add_column("devices", sa.Column("before_block", sa.String(length=10), nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("devices", "before_block")
