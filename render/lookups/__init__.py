"""Aliases of series from tables of other servers: a Redis hash, a query of PostgreSQL.

Which server, which query and which hashes is the operator's to say, in [lookup] of plumbago.toml. A target only
names one of them, and parts of series' names are bound as parameters: nothing of a target becomes part of a query.
"""
