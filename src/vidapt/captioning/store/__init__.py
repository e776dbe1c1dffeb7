"""A folder of captions that many processes write at once: one row for every clip, whatever dies on the way.

A job lists its clips once (`index`), cuts the list into shards, and captions them one by one: a shard belongs
to one process (`shard`), which adds rows to a sealed journal and puts them in place as one Parquet file when
all are there. Whoever brings the last shard joins them (`outputs`).
"""
