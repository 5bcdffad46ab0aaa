#!/bin/sh
# Runs once, when the data volume is empty: one role for each user, one database for each of ledger, Dagster and
# Druid, closed to everybody else. Tables and row-level security are the migrations' work.
set -eu

psql --username "$POSTGRES_USER" --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set owner="$LEDGER_OWNER_PASSWORD" \
    --set pipeline="$LEDGER_PIPELINE_PASSWORD" \
    --set api="$LEDGER_API_PASSWORD" \
    --set dagster="$DAGSTER_DB_PASSWORD" \
    --set druid="$DRUID_DB_PASSWORD" <<'SQL'
CREATE ROLE owner    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'owner';
CREATE ROLE pipeline LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'pipeline';
CREATE ROLE api      LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'api';
CREATE ROLE dagster  LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'dagster';
CREATE ROLE druid    LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'druid';

CREATE DATABASE ingestion OWNER owner;
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE druid OWNER druid TEMPLATE template0 ENCODING 'UTF8';

REVOKE ALL ON DATABASE ingestion, dagster, druid, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE ingestion TO pipeline, api;
SQL
