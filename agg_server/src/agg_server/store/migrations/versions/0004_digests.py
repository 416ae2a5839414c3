"""Each event with a hash over itself and the round's events before it."""

import sqlalchemy as sa
from alembic import op

from agg_server.store.digests import chained

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ROWS = 200


def upgrade() -> None:
    """Add the column, and the hashes of what is there."""
    digest = sa.Column("digest", sa.LargeBinary(length=32), nullable=False, server_default=sa.text("''"))
    op.add_column("events", digest)
    connection = op.get_bind()
    events = sa.Table("events", sa.MetaData(), autoload_with=connection)
    heads: dict[int, bytes] = {}
    last = 0
    while rows := connection.execute(
        sa.select(events).where(events.c.seq > last).order_by(events.c.seq).limit(_ROWS)
    ).all():
        for row in rows:
            head = chained(heads.get(row.round, b""), row.round, row.time, row.kind, row.body)
            heads[row.round], last = head, row.seq
            connection.execute(sa.update(events).where(events.c.seq == row.seq).values(digest=head))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("events", "digest")
