"""How a unit is stored: pictures as files, in the Parquet, or in tar shards."""
