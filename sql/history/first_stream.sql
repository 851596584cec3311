-- first_stream: when users first streamed each item.
-- grain: one row per user and item that the user streamed.
-- in: interaction_event.  $as_of (excluded) bounds it.
SELECT min(event_ts) AS event_ts
FROM interaction_event
WHERE event_type = 'stream' AND event_ts < $as_of
GROUP BY user_id, item_id
