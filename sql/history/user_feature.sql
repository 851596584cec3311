-- user_feature: what is known of each user beside the events; every column but user_index is categorical.
-- grain: one row per user of user_node, in the order of user_index.
-- in: user_node, user_profile.
SELECT
    user_node.user_index,
    user_profile.* EXCLUDE (user_id)
FROM user_node
LEFT JOIN user_profile ON user_profile.user_id = user_node.user_id
ORDER BY user_node.user_index
