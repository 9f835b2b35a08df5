-- Two roles, and a schema for each that the other can not look into. To be run once, by
-- whoever owns the database, before claimrail is first started; each role then makes its
-- own tables. Passwords are set afterwards, with \password in psql, so that they stand in
-- no file and in no log.

CREATE ROLE claimrail_claims LOGIN;
CREATE ROLE claimrail_payments LOGIN;

REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA claims AUTHORIZATION claimrail_claims;
CREATE SCHEMA payments AUTHORIZATION claimrail_payments;
