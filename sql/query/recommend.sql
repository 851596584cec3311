-- recommend: the $k best available items for a user, by the vector that the last refresh published.
-- grain: one row per item, by rank; none for a user without a published vector.
-- in: user_vector, retrieval, item, user_profile, interaction_event.
-- $user: a user_id; $k: rows; $item_type := NULL: only items of this type; $include_seen := FALSE: with TRUE also what
-- the user has streamed. The store's `recommend` reads events that came after the refresh as well.
WITH asked AS (
    SELECT
        user_vector.user_id,
        user_vector.vector,
        user_profile.country
    FROM user_vector
    LEFT JOIN user_profile ON user_profile.user_id = user_vector.user_id
    WHERE user_vector.user_id = $user
),
moment AS (
    SELECT max(interaction_event.event_ts) + INTERVAL '1' MICROSECOND AS as_of
    FROM interaction_event
),
seen AS (
    SELECT DISTINCT interaction_event.item_id
    FROM interaction_event
    WHERE interaction_event.user_id = $user AND interaction_event.event_type = 'stream' AND NOT $include_seen
),
scored AS (
    SELECT
        asked.user_id,
        retrieval.item_id,
        retrieval.item_type,
        retrieval.embedding_version,
        array_inner_product(retrieval.vector, asked.vector) AS score
    FROM retrieval
    CROSS JOIN asked
    CROSS JOIN moment
    LEFT JOIN item ON item.item_id = retrieval.item_id
    LEFT JOIN seen ON seen.item_id = retrieval.item_id
    WHERE seen.item_id IS NULL
        AND ($item_type IS NULL OR retrieval.item_type = $item_type)
        AND (item.withdrawn_at IS NULL OR item.withdrawn_at > moment.as_of)
        AND (
            asked.country IS NULL
            OR coalesce(array_length(item.markets), 0) = 0
            OR array_contains(item.markets, asked.country)
        )
)
SELECT
    scored.user_id,
    row_number() OVER (ORDER BY scored.score DESC, scored.item_id) AS rank,
    scored.item_id,
    scored.item_type,
    scored.score,
    scored.embedding_version
FROM scored
ORDER BY rank
LIMIT $k
