"""From a record to tables, charts and one HTML page."""
