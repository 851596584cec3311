-- event_verdict: what becomes of each row of an events source.
-- grain: one row per row of given_event.
-- inputs: given_event, event_kind, item, interaction_event, refused_user.
-- parameters: $latest, events after this moment (UTC) are refused.
-- outcome is new, stored (the same event is there already) or rejected; reason says why it is rejected. Of the
-- same event given twice the first line counts.
WITH resolved AS (
    SELECT
        given.source_line,
        given.user_id,
        given.item_id,
        given.event_type AS given_type,
        event_kind.event_type,
        given.event_ts,
        given.has_event_ts,
        given.seconds_played,
        given.has_seconds_played,
        item.item_id IS NOT NULL AS is_known_item,
        refused_user.user_id IS NOT NULL AS is_forgotten
    FROM given_event AS given
    LEFT JOIN refused_user ON given.user_id = refused_user.user_id
    LEFT JOIN event_kind ON given.event_type = event_kind.given_type
    LEFT JOIN item ON given.item_id = item.item_id
),
judged AS (
    SELECT
        *,
        CASE
            WHEN user_id IS NULL THEN 'missing user_id'
            WHEN is_forgotten THEN 'forgotten user'
            WHEN item_id IS NULL THEN 'missing item_id'
            WHEN given_type IS NULL THEN 'missing event_type'
            WHEN event_type IS NULL THEN 'unknown event type'
            WHEN NOT has_event_ts THEN 'missing event_ts'
            WHEN event_ts IS NULL THEN 'unparsable event_ts'
            WHEN event_ts > $latest THEN 'event_ts in the future'
            WHEN event_ts < TIMESTAMP '1900-01-01' THEN 'event_ts before 1900'
            WHEN has_seconds_played AND seconds_played IS NULL THEN 'unparsable seconds_played'
            WHEN isnan(seconds_played) THEN 'NaN seconds_played'
            WHEN seconds_played < 0 THEN 'negative seconds_played'
            WHEN isinf(seconds_played) THEN 'unparsable seconds_played'
            WHEN NOT is_known_item THEN 'unknown item'
        END AS reason
    FROM resolved
),
good AS (
    SELECT
        source_line,
        user_id,
        item_id,
        event_type,
        event_ts,
        seconds_played,
        row_number() OVER (
            PARTITION BY user_id, item_id, event_type, event_ts ORDER BY source_line
        ) AS occurrence
    FROM judged
    WHERE reason IS NULL
)
SELECT
    good.source_line,
    good.user_id,
    good.item_id,
    good.event_type,
    good.event_ts,
    good.seconds_played,
    CASE
        WHEN good.occurrence > 1 THEN 'rejected'
        WHEN stored.user_id IS NOT NULL THEN 'stored'
        ELSE 'new'
    END AS outcome,
    CASE WHEN good.occurrence > 1 THEN 'duplicate' END AS reason
FROM good
LEFT JOIN interaction_event AS stored
    ON good.user_id = stored.user_id
    AND good.item_id = stored.item_id
    AND good.event_type = stored.event_type
    AND good.event_ts = stored.event_ts
UNION ALL
SELECT
    source_line,
    user_id,
    item_id,
    event_type,
    event_ts,
    seconds_played,
    'rejected' AS outcome,
    reason
FROM judged
WHERE reason IS NOT NULL
