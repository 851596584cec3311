-- quote_mark: what each line with a quote does to the reader of a CSV file.
-- grain: one row per line of source_text that holds a double quote; lines without leave the reader as it is.
-- inputs: source_text.
-- parameters: $complete, $opens, $stays, $closes are regular expressions of a whole line: started outside of
--   quotes it ends outside or inside of them; started inside it stays inside or closes.
-- after_outside is 1 when a line that starts outside ends inside of quotes; after_inside the same for a line
-- that starts inside. breaks: started inside, it is no CSV, so the quote before it never closed.
WITH quoted AS (
    SELECT
        source_line,
        line,
        regexp_full_match(line, $opens) AND NOT regexp_full_match(line, $complete) AS opens,
        regexp_full_match(line, $stays) AS stays,
        regexp_full_match(line, $closes) AS closes
    FROM source_text
    WHERE contains(line, '"')
)
SELECT
    source_line,
    CAST(opens AS INTEGER) AS after_outside,
    CAST(stays OR (opens AND NOT closes) AS INTEGER) AS after_inside,
    NOT (stays OR closes) AS breaks
FROM quoted
