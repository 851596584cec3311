-- quote_span: the records of a CSV file that span several lines.
-- grain: one row per line that opens a quote and leaves it open.
-- inputs: quote_mark, refused_opener (lines whose quote is known never to close).
-- Each line maps the state before it (0 outside, 1 inside of quotes) to the state after it: it either sets the
-- state or swaps it or leaves it. So the state before a line is what the last setting line left, swapped as
-- often as lines between do.
-- never_closes: the quote is not followed by a line that closes it well. The lines behind it are then records of
-- their own; n_openers counts those of them that would open a quote, so that what follows is not known yet.
WITH mark AS (
    SELECT
        quote_mark.source_line,
        CASE WHEN refused_opener.source_line IS NULL THEN quote_mark.after_outside ELSE 0 END AS after_outside,
        CASE
            WHEN quote_mark.breaks AND refused_opener.source_line IS NOT NULL THEN 0
            ELSE quote_mark.after_inside
        END AS after_inside,
        quote_mark.breaks
    FROM quote_mark
    LEFT JOIN refused_opener ON quote_mark.source_line = refused_opener.source_line
),
counted AS (
    SELECT
        *,
        CAST(sum(CASE WHEN after_outside = 1 AND after_inside = 0 THEN 1 ELSE 0 END)
            OVER (ORDER BY source_line ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS BIGINT) AS n_swaps,
        CAST(sum(after_outside)
            OVER (ORDER BY source_line ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS BIGINT) AS n_opened,
        CAST(sum(after_outside) OVER () AS BIGINT) AS n_all_opened
    FROM mark
),
anchored AS (
    SELECT
        *,
        lag(n_swaps, 1, 0) OVER (ORDER BY source_line) AS n_swaps_before,
        last_value(CASE WHEN after_outside = after_inside THEN (after_outside + n_swaps) % 2 END IGNORE NULLS)
            OVER (ORDER BY source_line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS anchor
    FROM counted
),
placed AS (
    SELECT *, (coalesce(anchor, 0) + n_swaps_before) % 2 = 1 AS is_inside
    FROM anchored
),
turn AS (
    SELECT
        source_line,
        after_outside,
        n_opened,
        n_all_opened,
        is_inside AND breaks AS breaks,
        CASE WHEN is_inside THEN after_inside ELSE after_outside END = 1 AND (breaks OR NOT is_inside) AS opens
    FROM placed
    WHERE CASE WHEN is_inside THEN after_inside = 0 OR breaks ELSE after_outside = 1 END
),
paired AS (
    SELECT
        source_line AS first_line,
        lead(source_line) OVER (ORDER BY source_line) AS last_line,
        coalesce(lead(breaks) OVER (ORDER BY source_line), TRUE) AS never_closes,
        coalesce(lead(n_opened - after_outside) OVER (ORDER BY source_line), n_all_opened) - n_opened
            AS n_openers,
        opens
    FROM turn
)
SELECT first_line, last_line, never_closes, n_openers
FROM paired
WHERE opens
