-- item_node: the items that are known at $as_of, numbered densely.
-- grain: one row per item; node counts from 0 in the order of item_id, type_index in the order of item_type.
-- in: item, interaction_event.  $as_of: the moment.
-- An item is known when its published_at (where known) or else its first event is before $as_of, when it has
-- an event before $as_of, or when it never had an event. It is available when it is known by the first or the
-- third of these and not withdrawn by then: only available items are recommended.
WITH first_event AS (
    SELECT item_id, min(event_ts) AS first_ts
    FROM interaction_event
    GROUP BY item_id
),
judged AS (
    SELECT
        item.item_id,
        item.item_type,
        item.language,
        item.genres,
        item.published_at,
        item.withdrawn_at,
        coalesce(first_event.first_ts < $as_of, FALSE) AS has_events,
        CASE
            WHEN item.published_at IS NOT NULL THEN item.published_at < $as_of
            WHEN first_event.first_ts IS NOT NULL THEN first_event.first_ts < $as_of
            ELSE TRUE
        END AS is_published,
        coalesce(item.withdrawn_at <= $as_of, FALSE) AS is_withdrawn
    FROM item
    LEFT JOIN first_event ON first_event.item_id = item.item_id
),
known AS (
    SELECT * FROM judged WHERE is_published OR has_events
)
SELECT
    CAST(row_number() OVER (ORDER BY item_id) - 1 AS INTEGER) AS node,
    item_id,
    item_type,
    CAST(dense_rank() OVER (ORDER BY item_type) - 1 AS INTEGER) AS type_index,
    language,
    genres,
    published_at,
    has_events,
    is_published AND NOT is_withdrawn AS is_available
FROM known
ORDER BY node
