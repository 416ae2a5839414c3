"""Alembic's environment: runs on the connection that :meth:`Database.migrate` passes."""

from alembic import context

from agg_server.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
