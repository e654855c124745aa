"""Tables and signal containers of raw folders, read row by row and record by record."""
