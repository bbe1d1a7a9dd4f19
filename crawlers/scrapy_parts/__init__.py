"""The parts that plug into Scrapy: scheduler, spider, download handlers, settings."""
