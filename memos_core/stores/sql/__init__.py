"""The truth: one relational database for items, versions, vectors, links, audit, jobs and grants."""
