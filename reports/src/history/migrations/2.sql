-- What a figure rests on, as far as it matters for a comparison of runs (JSON). It is null for
-- figures whose run did not say, or was added before this column was there; the `digest` of such a
-- row leaves it out.

ALTER TABLE metric ADD COLUMN basis TEXT;
