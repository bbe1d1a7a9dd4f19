"""The domain and its database: models, repositories, publication, search, change feed, migrations."""
