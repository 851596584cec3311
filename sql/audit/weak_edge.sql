-- weak_edge: co-interactions with too few users, or with a weight outside (0, 1].
-- grain: one row per offending edge; empty means good.
-- in: co_interaction.  $min_users: the least number of users.
SELECT
    src,
    dst,
    n_users,
    weight
FROM co_interaction
WHERE n_users < $min_users
    OR weight <= 0
    OR weight > 1 + 1e-9
