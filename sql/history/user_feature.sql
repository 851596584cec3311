-- user_feature: what is known of each user beside the events; every column but user_index is categorical.
-- grain: one row per user of user_node, in the order of user_index.
-- in: user_node, user_profile.
WITH profile AS (
    SELECT *
    FROM user_profile
    WHERE user_profile.user_id IN (SELECT user_node.user_id FROM user_node)
)
SELECT
    user_node.user_index,
    profile.* EXCLUDE (user_id)
FROM user_node
LEFT JOIN profile ON profile.user_id = user_node.user_id
ORDER BY user_node.user_index
