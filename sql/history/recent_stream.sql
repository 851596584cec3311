-- recent_stream: what was streamed of late, by the country of the listeners; what users without a history are shown.
-- grain: one row per item and country; country is null for users whose country is not known.
-- in: item_node, interaction_event, user_profile.  $start (included) and $as_of (excluded) bound the events.
SELECT
    item_node.node,
    user_profile.country,
    CAST(count(*) AS BIGINT) AS n_streams
FROM interaction_event
JOIN item_node ON item_node.item_id = interaction_event.item_id
LEFT JOIN user_profile ON user_profile.user_id = interaction_event.user_id
WHERE interaction_event.event_type = 'stream'
    AND interaction_event.event_ts >= $start
    AND interaction_event.event_ts < $as_of
GROUP BY item_node.node, user_profile.country
ORDER BY item_node.node, user_profile.country
