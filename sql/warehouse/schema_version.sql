-- schema_version: the version of these tables; a program that does not know it refuses the warehouse.
-- grain: one row.
CREATE TABLE schema_version (
    version INTEGER NOT NULL
)
