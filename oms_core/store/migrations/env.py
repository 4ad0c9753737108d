"""Run by Alembic: apply the steps on the connection that `Database.upgrade` hands over."""

from __future__ import annotations

from alembic import context

from oms_core.store.tables import STATE_SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=STATE_SCHEMA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
