"""Jobs: the records, the table that stores them, and the checks that recover them."""
