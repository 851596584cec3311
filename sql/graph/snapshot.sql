-- snapshot: what a version is built from, in one row; equal rows mean equal input.
-- grain: one row.
-- in: item_node, item, interaction_event, user_profile.  $as_of: the moment.
-- The digests are sums of row hashes, so the order of rows does not matter.
WITH events AS (
    SELECT
        count(*) AS n_events,
        CAST(coalesce(sum(hash(user_id, item_id, event_type, event_ts)), 0) AS VARCHAR) AS event_digest
    FROM interaction_event
    WHERE event_ts < $as_of
),
items AS (
    SELECT
        count(*) AS n_items,
        CAST(coalesce(sum(hash(item, item_node.is_available)), 0) AS VARCHAR) AS item_digest
    FROM item
    JOIN item_node ON item_node.item_id = item.item_id
),
users AS (
    SELECT CAST(coalesce(sum(hash(user_profile)), 0) AS VARCHAR) AS profile_digest
    FROM user_profile
)
SELECT
    events.n_events,
    events.event_digest,
    items.n_items,
    items.item_digest,
    users.profile_digest
FROM events
CROSS JOIN items
CROSS JOIN users
