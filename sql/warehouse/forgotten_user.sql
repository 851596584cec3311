-- forgotten_user: users who were forgotten, by a salted hash; ingest refuses them.
-- grain: one row per forgotten user; all rows have the same salt.
-- user_hash is SHA-256 of salt and user_id together, in hex.
CREATE TABLE forgotten_user (
    user_hash    VARCHAR   NOT NULL,
    salt         VARCHAR   NOT NULL,
    forgotten_at TIMESTAMP NOT NULL
)
