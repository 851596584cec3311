-- interaction_event: what users did, in UTC.
-- grain: one row per user, item, event type and moment.
-- event_type is one of stream, follow, preview, intent_to_pay, skip; ingest_id is the order in which rows came in.
CREATE TABLE interaction_event (
    user_id        VARCHAR   NOT NULL,
    item_id        VARCHAR   NOT NULL,
    event_type     VARCHAR   NOT NULL,
    event_ts       TIMESTAMP NOT NULL,
    seconds_played DOUBLE,
    ingest_id      BIGINT    NOT NULL
)
