-- event_but_few: the events, but of each item of one type only the newest few streams before a moment.
-- grain: one row per event.
-- in: interaction_event, item.  $item_type: the type; $per_item: streams kept of each of its items; $as_of: the moment.
WITH of_type AS (
    SELECT
        interaction_event.*,
        row_number() OVER (
            PARTITION BY interaction_event.item_id
            ORDER BY interaction_event.event_ts DESC, interaction_event.user_id
        ) AS place
    FROM interaction_event
    JOIN item ON item.item_id = interaction_event.item_id
    WHERE item.item_type = $item_type
        AND interaction_event.event_type = 'stream'
        AND interaction_event.event_ts < $as_of
)
SELECT user_id, item_id, event_type, event_ts, seconds_played, ingest_id
FROM of_type
WHERE place <= $per_item
UNION ALL
SELECT
    interaction_event.user_id,
    interaction_event.item_id,
    interaction_event.event_type,
    interaction_event.event_ts,
    interaction_event.seconds_played,
    interaction_event.ingest_id
FROM interaction_event
JOIN item ON item.item_id = interaction_event.item_id
WHERE item.item_type <> $item_type
