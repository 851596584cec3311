-- event_before_published: items with events before $as_of that are published at or after it.
-- grain: one row per offending item; empty means good.
-- in: item_node.  $as_of: the moment.
-- They are not recommended: what is published is available from then on.
SELECT
    item_id,
    published_at
FROM item_node
WHERE has_events
    AND published_at >= $as_of
ORDER BY item_id
