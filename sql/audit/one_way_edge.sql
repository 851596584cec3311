-- one_way_edge: co-interactions whose reverse is missing or differs, or that join an item to itself.
-- grain: one row per offending edge; empty means good.
-- in: co_interaction.
SELECT
    forth.src,
    forth.dst,
    forth.n_users
FROM co_interaction AS forth
LEFT JOIN co_interaction AS back ON back.src = forth.dst AND back.dst = forth.src
WHERE back.src IS NULL
    OR back.n_users <> forth.n_users
    OR back.weight <> forth.weight
    OR forth.src = forth.dst
