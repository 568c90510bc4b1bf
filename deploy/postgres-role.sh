# The role that the shop of compose.yaml connects as: it owns its database and may do nothing else. Run once, by the image of Postgres.
# shellcheck shell=bash
psql --no-psqlrc --set ON_ERROR_STOP=1 --set password="$MERX_DATABASE_PASSWORD" --username "$POSTGRES_USER" --dbname postgres <<'SQL'
create role merx login nosuperuser nocreatedb nocreaterole noreplication password :'password';
create database merx owner merx;
SQL
