-- co_interaction: the edges between item nodes, in both directions, by dense number.
-- grain: one row per ordered pair of nodes.
-- in: graph_interaction.
-- $min_users: users that must share both ends; $strongest_neighbours: kept per node and type of the other end.
-- $left_out_fold: the users of this fold are left out; -1 leaves nobody out.
-- weight is n_users over the geometric mean of both ends' users (cosine), in (0, 1]. An edge stays when either
-- end keeps it, so both directions are always there.
WITH touched AS (
    SELECT user_index, node, type_index
    FROM graph_interaction
    WHERE fold <> $left_out_fold
),
item_users AS (
    SELECT node, count(*) AS n_users
    FROM touched
    GROUP BY node
),
pair AS (
    SELECT
        a.node AS low,
        b.node AS high,
        min(a.type_index) AS low_type,
        min(b.type_index) AS high_type,
        count(*) AS n_users
    FROM touched AS a
    JOIN touched AS b ON b.user_index = a.user_index AND b.node > a.node
    GROUP BY a.node, b.node
    HAVING count(*) >= $min_users
),
weighted AS (
    SELECT
        pair.low,
        pair.high,
        pair.low_type,
        pair.high_type,
        pair.n_users,
        pair.n_users / sqrt(CAST(low_end.n_users AS DOUBLE) * CAST(high_end.n_users AS DOUBLE)) AS weight
    FROM pair
    JOIN item_users AS low_end ON low_end.node = pair.low
    JOIN item_users AS high_end ON high_end.node = pair.high
),
directed AS (
    SELECT low AS src, high AS dst, low_type AS src_type, high_type AS dst_type, n_users, weight FROM weighted
    UNION ALL
    SELECT high AS src, low AS dst, high_type AS src_type, low_type AS dst_type, n_users, weight FROM weighted
),
ranked AS (
    SELECT
        src,
        dst,
        row_number() OVER (PARTITION BY src, dst_type ORDER BY weight DESC, n_users DESC, dst) AS strength
    FROM directed
),
kept AS (
    SELECT DISTINCT least(src, dst) AS low, greatest(src, dst) AS high
    FROM ranked
    WHERE strength <= $strongest_neighbours
)
SELECT
    directed.src,
    directed.dst,
    directed.src_type,
    directed.dst_type,
    directed.n_users,
    directed.weight
FROM directed
JOIN kept ON kept.low = least(directed.src, directed.dst) AND kept.high = greatest(directed.src, directed.dst)
ORDER BY directed.src, directed.dst_type, directed.dst
