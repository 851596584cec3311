-- neighbours: the items that share users with an item, the closest first.
-- grain: one row per neighbour of $item.
-- in: co_interaction_edge, item.  $item: an item_id.
SELECT
    edge.dst_item_id AS item_id,
    edge.dst_type AS item_type,
    item.title,
    edge.n_users,
    edge.weight
FROM co_interaction_edge AS edge
LEFT JOIN item ON item.item_id = edge.dst_item_id
WHERE edge.src_item_id = $item
ORDER BY edge.weight DESC, edge.n_users DESC, edge.dst_item_id
