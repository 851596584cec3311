-- graph_interaction: which users touched which items inside the window, their newest items only.
-- grain: one row per user and item.
-- in: item_node, interaction_event.
-- $as_of: end of the window (excluded); $window_start: its begin (included); $edge_signals: list of event types;
-- $newest_items_per_user: bounds the pairs that one user can make; $folds: 2, 4, 8 or 16.
-- fold: users are dealt into folds by a hash of their id, the same in every table and at every moment.
WITH touched AS (
    SELECT
        interaction_event.user_id,
        item_node.node,
        item_node.type_index,
        max(interaction_event.event_ts) AS last_ts
    FROM interaction_event
    JOIN item_node ON item_node.item_id = interaction_event.item_id
    WHERE interaction_event.event_ts >= $window_start
        AND interaction_event.event_ts < $as_of
        AND list_contains($edge_signals, interaction_event.event_type)
    GROUP BY interaction_event.user_id, item_node.node, item_node.type_index
),
ranked AS (
    SELECT
        user_id,
        node,
        type_index,
        row_number() OVER (PARTITION BY user_id ORDER BY last_ts DESC, node) AS newest
    FROM touched
)
SELECT
    CAST(dense_rank() OVER (ORDER BY user_id) - 1 AS INTEGER) AS user_index,
    CAST(strpos('0123456789abcdef', substr(md5(user_id), 1, 1)) % $folds AS TINYINT) AS fold,
    node,
    type_index
FROM ranked
WHERE newest <= $newest_items_per_user
