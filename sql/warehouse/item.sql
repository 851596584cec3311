-- item: the catalogue, every item of every type.
-- grain: one row per item_id, which is unique across types.
-- Only the first two columns are never null; unknown is null, never empty text.
CREATE TABLE item (
    item_id      VARCHAR NOT NULL,
    item_type    VARCHAR NOT NULL,
    title        VARCHAR,
    description  VARCHAR,
    genres       VARCHAR[],
    language     VARCHAR,
    creator      VARCHAR,
    published_at TIMESTAMP,
    withdrawn_at TIMESTAMP,
    markets      VARCHAR[]
)
