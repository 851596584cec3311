-- rejected_reason: why rows of one source were rejected.
-- grain: one row per reason, the most frequent first.
-- inputs: new_rejected_row.
-- example_line is the first such line, and example its content.
WITH numbered AS (
    SELECT
        reason,
        source_line,
        content,
        count(*) OVER (PARTITION BY reason) AS n_rows,
        row_number() OVER (PARTITION BY reason ORDER BY source_line) AS place
    FROM new_rejected_row
)
SELECT
    reason,
    n_rows,
    source_line AS example_line,
    content AS example
FROM numbered
WHERE place = 1
ORDER BY n_rows DESC, reason
