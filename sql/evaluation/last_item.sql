-- last_item: what each user streamed last, of those who streamed two items or more; left out one by one.
-- grain: one row per user.
-- in: interaction_event.
WITH first_stream AS (
    SELECT user_id, item_id, min(event_ts) AS first_ts
    FROM interaction_event
    WHERE event_type = 'stream'
    GROUP BY user_id, item_id
),
placed AS (
    SELECT
        user_id,
        item_id,
        first_ts,
        row_number() OVER (PARTITION BY user_id ORDER BY first_ts DESC, item_id DESC) AS place_from_end,
        count(*) OVER (PARTITION BY user_id) AS n_items
    FROM first_stream
)
SELECT user_id, item_id, first_ts
FROM placed
WHERE place_from_end = 1 AND n_items >= 2
