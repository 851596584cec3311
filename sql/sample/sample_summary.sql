-- sample_summary: what the made world holds, for the line that the job prints.
-- grain: one row per item type, the one with the most events first.
-- inputs: item, interaction_event.
WITH event_count AS (
    SELECT
        item.item_type,
        count(*) AS n_events,
        count(*) FILTER (WHERE event.event_type = 'stream') AS n_streams,
        count(DISTINCT event.user_id) AS n_users,
        min(event.event_ts) AS first_event,
        max(event.event_ts) AS last_event
    FROM interaction_event AS event
    INNER JOIN item ON event.item_id = item.item_id
    GROUP BY item.item_type
),

item_count AS (
    SELECT
        item_type,
        count(*) AS n_items
    FROM item
    GROUP BY item_type
)

SELECT
    item_count.item_type,
    item_count.n_items,
    CAST(coalesce(event_count.n_events, 0) AS BIGINT) AS n_events,
    CAST(coalesce(event_count.n_streams, 0) AS BIGINT) AS n_streams,
    CAST(coalesce(event_count.n_users, 0) AS BIGINT) AS n_users,
    event_count.first_event,
    event_count.last_event
FROM item_count
LEFT JOIN event_count ON item_count.item_type = event_count.item_type
ORDER BY n_events DESC, item_count.item_type
