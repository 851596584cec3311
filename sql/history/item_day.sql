-- item_day: streams of each item by day, counted backwards from $as_of.
-- grain: one row per item and day with streams; day 0 is the last 24 hours before $as_of.
-- in: item_node, interaction_event.
SELECT
    item_node.node,
    CAST((date_diff('microsecond', interaction_event.event_ts, $as_of) - 1) // 86400000000 AS INTEGER) AS days_ago,
    count(*) AS n_streams
FROM interaction_event
JOIN item_node ON item_node.item_id = interaction_event.item_id
WHERE interaction_event.event_type = 'stream' AND interaction_event.event_ts < $as_of
GROUP BY item_node.node, days_ago
ORDER BY item_node.node, days_ago
