#!/bin/sh
# The namespace and the search attributes that our workflows set. Safe to run again.
set -eu
temporal operator namespace describe -n default >/dev/null 2>&1 \
  || temporal operator namespace create -n default --retention 168h
for name in VersionsCampaign VersionsSource VersionsState; do
  temporal operator search-attribute create --namespace default --name "$name" --type Keyword || true
done
