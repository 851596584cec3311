-- similar_items: the $k available items most similar to an item, as `store.similar_items` gives them.
-- grain: one row per item, by rank.
-- in: item_search, item, interaction_event.
-- $item: an item_id that is available; $k: rows; $item_type := NULL: only items of this type.
-- The score is the dot product without the padding dimension, which is the last one.
WITH asked AS (
    SELECT
        item_search.item_id,
        item_search.vector,
        item_search.vector[-1] AS padding
    FROM item_search
    WHERE item_search.item_id = $item
),
moment AS (
    SELECT max(interaction_event.event_ts) + INTERVAL '1' MICROSECOND AS as_of
    FROM interaction_event
),
scored AS (
    SELECT
        item_search.item_id,
        item_search.item_type,
        item_search.embedding_version,
        array_inner_product(item_search.vector, asked.vector) - item_search.vector[-1] * asked.padding AS score
    FROM item_search
    JOIN asked ON asked.item_id <> item_search.item_id
    LEFT JOIN item ON item.item_id = item_search.item_id
    CROSS JOIN moment
    WHERE ($item_type IS NULL OR item_search.item_type = $item_type)
        AND (item.withdrawn_at IS NULL OR item.withdrawn_at > moment.as_of)
)
SELECT
    $item AS query_item_id,
    row_number() OVER (ORDER BY scored.score DESC, scored.item_id) AS rank,
    scored.item_id,
    scored.item_type,
    scored.score,
    scored.embedding_version
FROM scored
ORDER BY rank
LIMIT $k
