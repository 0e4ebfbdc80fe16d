"""The op table's records, one file per family: each defines RECORDS, a list of OpRecord."""
