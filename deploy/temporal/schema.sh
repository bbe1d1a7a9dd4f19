#!/bin/sh
# Creates or upgrades Temporal's two databases; the connection is in SQL_* variables. Safe to run again.
set -eu
for pair in temporal:temporal temporal_visibility:visibility; do
  database=${pair%%:*}
  folder=${pair##*:}
  export SQL_DATABASE="$database"
  temporal-sql-tool create || echo "database $database: there already"
  temporal-sql-tool setup-schema -v 0.0 || echo "schema of $database: there already"
  temporal-sql-tool update-schema -d "/etc/temporal/schema/postgresql/v12/$folder/versioned"
done
