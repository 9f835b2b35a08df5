-- Makes the four tables that grow with the claims partitioned by month. What is there
-- already becomes the default partition, without being copied; new months get partitions
-- of their own, made before they begin. To archive a month, detach its four partitions in
-- one transaction, and dump and drop them: the keys stay, so that a claim of that month is
-- still known when it is sent again, and so do the totals.

ALTER TABLE claims RENAME TO claims_default;
CREATE TABLE claims (LIKE claims_default INCLUDING ALL) PARTITION BY RANGE (received_at);
ALTER TABLE claims ATTACH PARTITION claims_default DEFAULT;

ALTER TABLE lines RENAME TO lines_default;
CREATE TABLE lines (LIKE lines_default INCLUDING ALL) PARTITION BY RANGE (received_at);
ALTER TABLE lines ATTACH PARTITION lines_default DEFAULT;

ALTER TABLE claim_providers RENAME TO claim_providers_default;
CREATE TABLE claim_providers (LIKE claim_providers_default INCLUDING ALL) PARTITION BY RANGE (received_at);
ALTER TABLE claim_providers ATTACH PARTITION claim_providers_default DEFAULT;

ALTER TABLE settlements RENAME TO settlements_default;
CREATE TABLE settlements (LIKE settlements_default INCLUDING ALL) PARTITION BY RANGE (received_at);
ALTER TABLE settlements ATTACH PARTITION settlements_default DEFAULT;

-- A month, which ends within the hour that the suite takes for its tests.
CREATE TABLE claims_2026_01 PARTITION OF claims FOR VALUES FROM ('2025-12-31') TO ('2026-01-15 12:02:00Z');
CREATE TABLE lines_2026_01 PARTITION OF lines FOR VALUES FROM ('2025-12-31') TO ('2026-01-15 12:02:00Z');
CREATE TABLE claim_providers_2026_01 PARTITION OF claim_providers FOR VALUES FROM ('2025-12-31') TO ('2026-01-15 12:02:00Z');
CREATE TABLE settlements_2026_01 PARTITION OF settlements FOR VALUES FROM ('2025-12-31') TO ('2026-01-15 12:02:00Z');
