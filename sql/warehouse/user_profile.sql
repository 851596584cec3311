-- user_profile: what is known of a user beside the events; optional.
-- grain: one row per user_id.
-- Ingest adds further VARCHAR columns; each is a categorical feature of the user tower.
CREATE TABLE user_profile (
    user_id  VARCHAR NOT NULL,
    country  VARCHAR,
    age_band VARCHAR
)
