-- co_interaction_edge: the co-interactions as the outside sees them, by item_id.
-- grain: one row per ordered pair of items; both directions are there.
-- in: co_interaction, item_node.
SELECT
    src.item_id AS src_item_id,
    src.item_type AS src_type,
    dst.item_id AS dst_item_id,
    dst.item_type AS dst_type,
    CAST(co_interaction.n_users AS BIGINT) AS n_users,
    CAST(co_interaction.weight AS DOUBLE) AS weight
FROM co_interaction
JOIN item_node AS src ON src.node = co_interaction.src
JOIN item_node AS dst ON dst.node = co_interaction.dst
ORDER BY co_interaction.src, co_interaction.dst
