-- left_out_target: each user's last item, where it is known without that user; the labels of leave-one-out.
-- grain: one row per user.
-- in: last_item, item_node.  node is by item_node; first_ts orders targets.
SELECT
    last_item.user_id,
    item_node.node,
    last_item.first_ts
FROM last_item
JOIN item_node ON item_node.item_id = last_item.item_id
ORDER BY last_item.user_id
