-- Gives the roles of internal/pgfile/roles.sql their passwords, from the environment of
-- psql (15 or newer), so that they stand in no file.

\set ON_ERROR_STOP on
\getenv claims_password POSTGRES_CLAIMS_PASSWORD
\getenv payments_password POSTGRES_PAYMENTS_PASSWORD

ALTER ROLE claimrail_claims PASSWORD :'claims_password';
ALTER ROLE claimrail_payments PASSWORD :'payments_password';
